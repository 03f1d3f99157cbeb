"""Samples that count more or less than others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainables.losses.loss import Loss, conflicts_of, counted, outputs, weighs

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class SampleWeighted:
    """Another loss, each sample's value multiplied by the sample's own weight, and the mean taken over these weights.

    Targets are floating, [B, K + 1]: ``torch.column_stack((target, weight))``. The last column is the weight, at least 0; the
    others are what ``loss`` is given, [B] where there is one and [B, K] where there are more, as whole numbers with ``classes``.
    A model never sees the weights. Metrics of such a task are written ``Unweighted(accuracy)``.

    Calling it raises ValueError for a loss that gives nothing but the mean over its batch.
    """

    loss: Loss
    classes: bool = True

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        """Each sample's weighted value, [B]."""
        values, _ = counted(self.loss, output, unpacked(target, classes=self.classes))
        return values * target[:, -1].to(values.dtype)

    def weights(self, target: Tensor) -> Tensor:
        """The samples' weights, [B], times what they count in ``loss``."""
        own = target[:, -1].double()
        return own * self.loss.weights(unpacked(target, classes=self.classes)) if weighs(self.loss) else own

    def outputs(self, targets: Sequence[Tensor]) -> int:
        """As many as ``loss`` needs for the targets without their weights."""
        return outputs(self.loss, [unpacked(target, classes=self.classes) for target in targets])

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the loss inside."""
        yield from conflicts_of(self.loss)


@dataclass(frozen=True, slots=True)
class Unweighted:
    """A metric of targets that carry weights in their last column: it sees the targets without, and all samples count alike."""

    metric: Callable[[Tensor, Tensor], Tensor]
    classes: bool = True

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        """What the metric gives."""
        return self.metric(output, unpacked(target, classes=self.classes))


def unpacked(target: Tensor, *, classes: bool) -> Tensor:
    """The targets [B] or [B, K] of [B, K + 1]; as whole numbers if they are ``classes``. Raises ValueError without weights."""
    if target.ndim != 2 or target.shape[1] < 2 or not target.is_floating_point():
        raise ValueError(
            f"targets {tuple(target.shape)} of {target.dtype} carry no weights; "
            "give torch.column_stack((target, weight)) in floating point"
        )
    bare = target[:, 0] if target.shape[1] == 2 else target[:, :-1]
    return bare.long() if classes else bare
