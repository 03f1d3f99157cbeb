"""Metrics: functions of (output, target) that give one value a sample; the loop takes the mean over the set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class WholeSet:
    """A metric that is no mean over samples, F1, AUC or a correlation say: it is given a whole set at once, on the CPU.

    ``metric(output, target)`` gets what the model gave for all samples, [N, ...], in single precision at least, and their targets,
    [N, ...]; it gives a number. The samples lie as in the set, unless several workers train together. The outputs of a set must fit
    into memory. Trials with such a metric are validated one by one in a pack.
    """

    metric: Callable[[Any, Tensor], Any]

    def __call__(self, output: Any, target: Tensor) -> Tensor:
        """The number, in double precision. Raises ValueError where it is more than one."""
        import torch

        value = torch.as_tensor(self.metric(output, target), dtype=torch.float64)
        if value.numel() != 1:
            raise ValueError(f"a metric of a whole set gave {tuple(value.shape)}; give one number")
        return value.reshape(())


Part = tuple[Any, "Tensor"]
"""What a model gave for some samples, and their targets."""


def kept(output: Any, target: Tensor) -> Part:
    """A part of what a metric of a whole set is given."""
    from torch.utils._pytree import tree_map

    return tree_map(_held, output), target.cpu()


def _held(value: Any) -> Any:
    import torch

    if not isinstance(value, torch.Tensor):
        return value
    value = value.detach().cpu()
    return value.float() if value.is_floating_point() and value.element_size() < 4 else value


def whole(parts: Sequence[Part]) -> Part:
    """The parts as one."""
    import torch
    from torch.utils._pytree import tree_map

    outputs, targets = zip(*parts, strict=True)
    return tree_map(lambda *values: torch.cat(values), *outputs), torch.cat(targets)


def accuracy(output: Tensor, target: Tensor) -> Tensor:
    """1 where the largest logit [B, C] is the class [B], else 0. Ties go to the lower class."""
    return (output.argmax(dim=-1) == target).double()


def absolute_error(output: Tensor, target: Tensor) -> Tensor:
    """Absolute error [B], averaged over the values of a sample, in the target's units."""
    return (
        (output.reshape(target.shape) - target)
        .abs()
        .flatten(1 if target.ndim > 1 else 0)
        .reshape(len(target), -1)
        .mean(1)
    )


def no_mean(metric: Callable[[Any, Tensor], Tensor], output: Tensor, target: Tensor) -> tuple[float, float] | None:
    """What a metric gives for some samples, and as the mean over two parts of them, where the two differ; else None.

    Sets are measured batch by batch, which is right for a mean over samples alone. The metric is asked about outputs that are
    drawn, shaped like these, [B, ...], since a model which has learned nothing may say the same of all samples, and about parts in
    which targets, [B, ...], are more or less frequent. Nothing is known of one that raises, or gives what is not a number.
    """
    import warnings

    import torch

    from trainables.seeds import generator

    samples, cut = len(target), len(target) // 3
    if cut == 0:
        return None
    heights = target.detach().reshape(samples, -1).double().mean(1)
    for number in range(DRAWS):
        source = generator("metric", number)
        drawn = torch.randn(output.shape, generator=source).to(output)
        noise = torch.randn(samples, generator=source, dtype=torch.float64)
        order = (heights + noise * heights.std()).argsort()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of classes that are missing
                values = [metric(drawn[part], target[part]) for part in (order, order[:cut], order[cut:])]
        except Exception:
            return None
        if any(value.ndim for value in values):
            return None
        every, first, second = [float(value) for value in values]
        mean = (cut * first + (samples - cut) * second) / samples
        if abs(mean - every) > FAR * max(abs(every), abs(mean)):
            return every, mean
    return None


DRAWS = 3
"""How often a metric is asked: what differs may do so by little once."""

FAR = 1e-3
"""How far a mean over parts may be off one over all, relatively, by rounding."""
