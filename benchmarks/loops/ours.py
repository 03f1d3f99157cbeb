"""The product's loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.loops.work import CLIP, DECAY, LR, SEED, WARMUP, Lap, Scores, Work

if TYPE_CHECKING:
    from trainables import Task


def task(work: Work) -> Task:
    """The work's data, with accuracy measured."""
    from trainables import Maximise, Task, accuracy

    splits = work.data()
    return Task(
        name=work.name,
        data=lambda seed: splits,  # noqa: ARG005
        metrics={"accuracy": accuracy},
        goal=Maximise("accuracy"),
    )


def run(work: Work, epochs: int, lap: Lap) -> Scores:
    """``fit`` with everything on."""
    from trainables import EMA, AdamW, ClipNorm, Cosine, Recipe
    from trainables.fit import fit

    recipe = Recipe(
        model=work.model,
        batch_size=work.batch,
        micro_batch=work.micro,
        epochs=epochs,
        optimizer=AdamW(lr=LR, decay_vectors=True),
        schedule=Cosine(warmup=WARMUP),
        average=EMA(decay=DECAY, warmup=False),
        clip=ClipNorm(CLIP),
        seed=SEED,
    )
    metrics = None
    for epoch in fit(task(work), recipe):
        metrics = epoch.metrics
        lap()
    assert metrics is not None
    return Scores(train_loss=metrics["train/loss"], val_loss=metrics["val/loss"], accuracy=metrics["val/accuracy"])
