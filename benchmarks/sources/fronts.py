"""A frozen front in every step, against its outputs computed once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import trainables as t
from benchmarks.figures import Spread
from benchmarks.sources.work import BATCH, CLASSES, STEPS, WIDTH, recipe
from benchmarks.sources.work import task as plain_task
from trainables.fit import Epoch, fit
from trainables.models import MLP
from trainables.seeds import generator

EMBEDDED = 128


@dataclass(frozen=True, kw_only=True, slots=True)
class Front:
    """A front by the widths of its layers before the last, which has 128."""

    name: str
    widths: tuple[int, ...]

    def model(self) -> MLP:
        """It as a part."""
        return MLP(widths=self.widths, inputs=WIDTH, outputs=EMBEDDED)


FRONTS = (
    Front(name="small", widths=(64,)),
    Front(name="middle", widths=(256, 256)),
    Front(name="large", widths=(1024, 1024, 1024)),
)
HEAD = MLP(widths=(128, 128))
SAME = 1e-4
"""How far the losses may be off, relatively: the front rounds in another order over other batches."""


def measured(front: Front, rounds: int, turns: int, folder: Path) -> dict[str, Any]:
    """Both side by side, epoch by epoch; the first epoch of each is not counted."""
    task, epochs = plain_task(), rounds * turns + 1
    stacked = recipe(epochs, model=t.Stacked(front=front.model(), head=HEAD), freeze=("front.*",))
    data = t.Embedded(data=task.data, front=front.model(), cache=folder / front.name, batch_size=1024)
    begun = time.process_time()
    splits = data(0)
    once = time.process_time() - begun
    runs = {
        "every_step": fit(task, stacked),
        "once": fit(replace(task, data=lambda _: splits), recipe(epochs, model=HEAD)),
    }
    losses = {name: next(epochs).metrics["train/loss"] for name, epochs in runs.items()}
    laps = [{name: _cpu(epochs, losses, name) for name, epochs in runs.items()} for _ in range(rounds * turns)]
    grouped = [laps[number * turns : (number + 1) * turns] for number in range(rounds)]
    saved = median(lap["every_step"] - lap["once"] for lap in laps)
    off = abs(losses["every_step"] / losses["once"] - 1)
    return {
        "widths": [WIDTH, *front.widths, EMBEDDED],
        "share_of_forward": _share(front),
        "speed_up": Spread.of(median(lap["every_step"] / lap["once"] for lap in group) for group in grouped).to_json(),
        **{
            f"{name}_cpu_milliseconds_per_step": Spread.of(
                1e3 * median(lap[name] for lap in group) / STEPS for group in grouped
            ).to_json()
            for name in runs
        },
        "once_cpu_seconds": once,
        "pays_after_epochs": once / saved if saved > 0 else None,
        "losses": losses,
        "same_training": off <= SAME,
    }


def _cpu(epochs: Iterator[Epoch], losses: dict[str, float], name: str) -> float:
    begun = time.process_time()
    losses[name] = next(epochs).metrics["train/loss"]
    return time.process_time() - begun


def _share(front: Front) -> float:
    """The front's part of the forward pass's CPU time, on batches of the benchmark's size."""
    import torch

    inputs = torch.randn(BATCH, WIDTH, generator=generator("share"))
    first, head = front.model().build(), replace(HEAD, inputs=EMBEDDED, outputs=CLASSES).build()
    times: list[tuple[float, float]] = []
    with torch.inference_mode():
        for _ in range(200):
            marks = [time.perf_counter()]
            found = first(inputs)
            marks.append(time.perf_counter())
            head(found)
            marks.append(time.perf_counter())
            times.append((marks[1] - marks[0], marks[2] - marks[1]))
    early, late = (median(column) for column in zip(*times, strict=True))
    return float(early / (early + late))
