"""What the settings of all architectures share: sizes, limits, and the words where they are wrong."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal, get_args

from trainables.errors import ConflictError

if TYPE_CHECKING:
    from trainables.recipe import Part
    from trainables.task import Shape

Pool = Literal["last", "mean"]
"""What a sequence model's head reads: the last step, or the mean over all steps."""


def counted(owner: str, name: str, value: int | tuple[int, ...] | None, usual: object) -> Iterator[str]:
    """A conflict where a size (or one of several) is not a whole number from 1; None is a size not given yet."""
    if value is None:
        return
    if isinstance(value, list):
        yield f"{owner} {name} {value} is a list; write it as a tuple, {tuple(value)}"
        return
    given, rule = (value, "must all be") if isinstance(value, tuple) else ((value,), "must be")
    if not all(isinstance(one, int) and one >= 1 for one in given):
        yield f"{owner} {name} {value} {rule} at least 1, in whole numbers; {usual} is usual"


def shared(owner: str, name: str, value: float) -> Iterator[str]:
    """A conflict where a dropout rate does not lie in [0, 1)."""
    if not 0 <= value < 1:
        yield f"{owner} {name} {value} must lie in [0, 1): it is the share of values set to zero; 0.1 is usual, 0 is off"


def named(owner: str, name: str, value: object, known: Sequence[str]) -> Iterator[str]:
    """A conflict where a word is not one of those known."""
    if value not in known:
        yield f"{owner} {name} {value!r} is not known; write one of {', '.join(map(repr, known))}"


def fitted(owner: str, inputs: int | None, outputs: int | None) -> Iterator[str]:
    """Conflicts of the sizes that are usually left to the data."""
    for name, value in (("inputs", inputs), ("outputs", outputs)):
        yield from counted(owner, name, value, "None, which reads it off the data,")


def sequential(owner: str, steps: int | None, inputs: int | None, outputs: int | None, pool: Pool) -> Iterator[str]:
    """Conflicts of the settings that every sequence model has."""
    yield from counted(owner, "steps", steps, "None, which takes the data as it lies,")
    yield from fitted(owner, inputs, outputs)
    yield from named(owner, "pool", pool, get_args(Pool))


def sizes(model: Part, inputs: int | None, outputs: int | None) -> tuple[int, int]:
    """Both sizes, once nothing is in conflict. Raises ValueError with all conflicts, or when a size is missing."""
    conflicts = list(model.conflicts())
    if conflicts:
        raise ValueError("; ".join(conflicts))
    if inputs is None or outputs is None:
        raise ValueError(f"{model} lacks inputs or outputs; give both, or let a task fill them in")
    return inputs, outputs


def series(owner: str, shape: Shape, steps: int | None) -> tuple[int, int]:
    """Steps and features [T, F] of one sample.

    [T] is T steps of one feature, [T, ...] has all that follows as features; ``steps`` cuts a sample of any shape into that many
    steps of equal length. Raises ConflictError where it cannot be cut.
    """
    values = math.prod(shape.inputs)
    if steps is None:
        if not shape.inputs:
            raise ConflictError(owner, ["a sample is a single number, not a sequence; use an MLP"])
        return shape.inputs[0], values // shape.inputs[0]
    if steps < 1 or values % steps:
        fitting = [count for count in range(1, values + 1) if values % count == 0]
        raise ConflictError(
            owner,
            [
                f"steps {steps} does not divide the {values} values of a sample {shape.inputs}; those that do are {fitting}"
            ],
        )
    return steps, values // steps
