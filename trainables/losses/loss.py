"""What a loss is to the loop, and the sums and weights from which the loop takes its mean."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor

Loss = Callable[["Tensor", "Tensor"], "Tensor"]
"""(output [B, ...], target [B, ...]) -> one value a sample [B, ...], or their mean, a scalar. torch.nn.functional's fit."""


@runtime_checkable
class Weighing(Protocol):
    """A loss whose mean is over something else than samples: class weights, tokens that are not ignored, sample weights.

    The loop divides the sum of the values over the whole effective batch by the sum of the weights over the whole effective batch.
    That is exact for every micro-batch, for a last batch that is smaller, and over workers, where a mean taken inside each
    micro-batch would be wrong.
    """

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        """Each sample's weighted sum [B], not divided; 0, with a gradient of 0, for a sample of weight 0."""
        ...

    def weights(self, target: Tensor) -> Tensor:
        """What each sample counts [B], at least 0; from the target alone, so that it is known before the forward pass."""
        ...


@runtime_checkable
class Even(Protocol):
    """A loss that can tell without asking the device that all samples of a batch count alike."""

    def each(self, target: Tensor) -> float | None:
        """What every sample of this target counts, from its shape; None where samples may differ."""
        ...


@runtime_checkable
class Totalling(Protocol):
    """A loss that has its sum over a batch in one kernel."""

    def total(self, output: Tensor, target: Tensor) -> Tensor:
        """The sum over the samples of what calling it gives, a scalar at least in single precision."""
        ...


@runtime_checkable
class Sizing(Protocol):
    """A loss that knows better than the target's shape how many outputs a model must have."""

    def outputs(self, targets: Sequence[Tensor]) -> int:
        """The number of outputs for the targets of all sets, each [N, ...]."""
        ...


@runtime_checkable
class Settings(Protocol):
    """A loss that can say what is wrong with it."""

    def conflicts(self) -> Iterator[str]:
        """Each conflict as a sentence."""
        ...


def weighed(loss: Loss, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """The loss summed over the samples of a batch, and what it is to be divided by: two scalars.

    The sum is at least in single precision, the weight in double. Where nothing counts both are 0; ``mean`` makes 0 of that, not
    NaN. Raises ValueError for a number of values that is not the number of samples, such as flattened tokens.
    """
    return summed(loss, output, target), weight(loss, target)


def summed(loss: Loss, output: Tensor, target: Tensor) -> Tensor:
    """The first of the two alone, for who knows the weight of the whole batch already."""
    if totals(loss):
        return loss.total(output, target)
    value = wide(loss(output, target))
    if value.ndim == 0 and not weighs(loss):
        return value * len(target)
    return by_sample(value, len(target)).sum()


def weight(loss: Loss, target: Tensor) -> Tensor:
    """What the sum over these targets [B, ...] is divided by: their number, or the sum of what they count; a scalar in float64."""
    import torch

    alike = each(loss, target)
    if alike is None and weighs(loss):
        return loss.weights(target).sum(dtype=torch.float64)
    return torch.full((), (alike or 0.0) * len(target), dtype=torch.float64, device=target.device)


def each(loss: Loss, target: Tensor) -> float | None:
    """What every sample of this target counts; None where the target's values must be asked."""
    if not weighs(loss):
        return 1.0
    return loss.each(target) if _even(type(loss)) else None  # type: ignore[attr-defined]


def mean(summed: Tensor, weight: Tensor) -> Tensor:
    """The loss of a whole batch from its two sums, scalars; 0 where nothing counts, as in a batch of ignored tokens alone."""
    return summed / weight.where(weight > 0, 1.0)


def outputs(loss: Loss, targets: Sequence[Tensor]) -> int:
    """How many outputs a model needs for the targets of all sets, each [N, ...].

    Unless the loss knows better, whole numbers are classes 0..C-1 and floating ones are met value by value.
    """
    if isinstance(loss, Sizing):
        return loss.outputs(targets)
    return values_of(targets) if targets[0].is_floating_point() else classes_of(targets)


def conflicts_of(loss: Loss) -> Iterator[str]:
    """What is wrong with a loss inside another one; a plain function has no settings."""
    if isinstance(loss, Settings):
        yield from loss.conflicts()
    elif not callable(loss):
        yield f"the loss {loss!r} cannot be called; give a part such as CrossEntropy(), or a function of (output, target)"


def counted(loss: Loss, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Each sample's value, multiplied by what it counts, and what it counts: both [B].

    Raises ValueError for a loss that gives nothing but the mean over its batch.
    """
    import torch

    value = wide(loss(output, target))
    if value.ndim == 0:
        raise ValueError(
            f"the loss {loss!r} gives the mean of a batch where one value a sample is needed; "
            'take a part such as MeanSquaredError(), or a function called with reduction="none"'
        )
    values = by_sample(value, len(target))
    return values, loss.weights(target) if weighs(loss) else torch.ones_like(values)


def by_sample(value: Tensor, samples: int) -> Tensor:
    """One value a sample [B] of several [B, ...]: their mean. Raises ValueError for another number of samples."""
    if value.ndim == 0 or len(value) != samples:
        raise ValueError(
            f"a loss or metric gave {tuple(value.shape)} for {samples} samples; give one value a sample, or their mean"
        )
    return value if value.ndim == 1 else value.reshape(samples, -1).mean(dim=1)


def wide(value: Tensor) -> Tensor:
    """The values at least in single precision: a sum in float16 ends at 65504."""
    return value.float() if value.is_floating_point() and value.element_size() < 4 else value


def weighs(loss: Loss) -> TypeGuard[Weighing]:
    """True for a loss with weights of its own."""
    kind: Any = type(loss)
    return _weighs(kind)


def totals(loss: Loss) -> TypeGuard[Totalling]:
    """True for a loss that sums by itself."""
    kind: Any = type(loss)
    return _totals(kind)


@cache  # asked in every step, where isinstance with a protocol takes 6 µs
def _weighs(kind: type[object]) -> bool:
    return issubclass(kind, Weighing)


@cache
def _even(kind: type[object]) -> bool:
    return issubclass(kind, Even)


@cache
def _totals(kind: type[object]) -> bool:
    return issubclass(kind, Totalling)


def classes_of(targets: Sequence[Tensor]) -> int:
    """One more than the largest class. Raises ValueError where there is none."""
    found = [int(target.max()) for target in targets if target.numel()]
    if not found:
        raise ValueError("no target holds a class; check the data, and the loss's ignore")
    return 1 + max(found)


def values_of(targets: Sequence[Tensor]) -> int:
    """Values of one sample's target."""
    return max(1, targets[0][0].numel())
