"""Recipes to start from, by what they are for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

from trainables.averages import EMA
from trainables.clip import ClipNorm
from trainables.compiled import Compile
from trainables.errors import ConflictError
from trainables.micro_batch import Auto
from trainables.models import CNN, GRU, LSTM, MLP, TCN, MultiPlasticity, ResidualMLP, StateSpace, Transformer
from trainables.optimizers import SGD, AdamW
from trainables.precision import BF16, FP32
from trainables.recipe import Recipe
from trainables.scaling import SquareRootScaling
from trainables.schedules import Cosine, OneCycle
from trainables.stopping import EarlyStopping

if TYPE_CHECKING:
    from trainables.recipe import Model

Purpose = Literal["quick", "best", "memory", "speed"]

RECURRENT = (LSTM, GRU, MultiPlasticity)
SHIPPED = (MLP, ResidualMLP, CNN, *RECURRENT, TCN, Transformer, StateSpace)
REFERENCE = 64
"""The batch size for which the learning rates are meant."""


def preset(purpose: Purpose, model: Model, *, device: Literal["cpu", "cuda"] = "cpu") -> Recipe:
    """A whole recipe for this model: a place to start, not a tuned one; ``dataclasses.replace`` changes what you know better.

    ``quick`` sees in a few epochs whether something is learned. ``best`` takes its time: averaged weights, a long cosine, an end
    when validation no longer improves. ``memory`` holds as few samples, activations and optimizer states as it can. ``speed``
    takes large batches and few epochs, on a GPU in bfloat16 and compiled. Recurrent models and transformers are clipped; learning
    rates go by the kind of model. Raises ConflictError for a purpose that is none of these.
    """
    if purpose not in get_args(Purpose):
        raise ConflictError("preset", [f"purpose {purpose!r} is none of {', '.join(get_args(Purpose))}"])
    gpu = device == "cuda"
    peak = _peak(model)
    clip = ClipNorm(1.0) if isinstance(model, (*RECURRENT, Transformer)) else None
    precision = BF16() if gpu and not isinstance(model, StateSpace) else FP32()
    if purpose == "quick":
        return Recipe(
            model=model, batch_size=64, epochs=10, optimizer=AdamW(lr=peak), schedule=Cosine(warmup=0.1), clip=clip
        )
    if purpose == "best":
        return Recipe(
            model=model,
            batch_size=64,
            epochs=60,
            optimizer=AdamW(lr=peak, weight_decay=0.05),
            schedule=Cosine(warmup=0.1, floor=0.01),
            average=EMA(decay=0.998),
            clip=clip or ClipNorm(5.0),
            stop=EarlyStopping(patience=15),
            precision=precision,
        )
    if purpose == "memory":
        return Recipe(
            model=model,
            batch_size=64,
            micro_batch=Auto(first=16),
            epochs=20,
            optimizer=SGD(lr=20 * peak, momentum=0.9, nesterov=True),  # one state a parameter instead of two
            schedule=Cosine(warmup=0.1),
            clip=clip or ClipNorm(1.0),
            recompute=("blocks.*",) if isinstance(model, SHIPPED) else (),
            precision=precision,
        )
    batch = 1024 if gpu else 256
    # Recurrent layers and complex numbers are what torch cannot compile, or not to any use.
    compiled = gpu and isinstance(model, SHIPPED) and not isinstance(model, (*RECURRENT, StateSpace))
    return Recipe(
        model=model,
        batch_size=batch,
        epochs=10,
        optimizer=AdamW(lr=peak),
        scaling=SquareRootScaling(REFERENCE),
        schedule=OneCycle(),
        clip=clip,
        precision=precision,
        compile=Compile() if compiled else None,
    )


def _peak(model: Model) -> float:
    """AdamW's learning rate for models of this kind at the reference batch."""
    match model:
        case LSTM() | GRU() | MultiPlasticity():
            return 5e-3
        case Transformer():
            return 2e-3
        case MLP() | ResidualMLP() | CNN() | TCN() | StateSpace():
            return 3e-3
        case _:
            return 1e-3
