"""Cross-entropy over classes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainables.losses.loss import classes_of, wide

if TYPE_CHECKING:
    from torch import Tensor

NO_CLASS = -(2**62)
"""Stands where no class is ignored: torch's own default, -100, would pass over a wrong target in silence."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CrossEntropy:
    """Cross-entropy of logits [B, C, ...] against classes [B, ...], in nats; a value a sample [B], summed over its positions.

    Its mean is that of ``torch.nn.functional.cross_entropy``: over positions, each counting the weight of its class.
    ``smoothing`` moves this share of the target's mass evenly to all classes (Szegedy et al., 2016); with ``class_weights``, one
    for each class, torch divides by the weights of the true classes all the same. Positions whose target is ``ignore`` count
    nothing, and neither does a sample or a batch that holds no other. Floating targets [B, C, ...] are the probabilities of the
    classes, of which every position counts 1 whatever the class weights.

    Calling it raises ValueError when there are not as many class weights as classes.
    """

    smoothing: float = 0.0
    class_weights: tuple[float, ...] | None = None
    ignore: int | None = None

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        """Each sample's weighted sum over its positions, [B]."""
        values = self._values(output, target, "none")
        return values if values.ndim == 1 else values.flatten(1).sum(1)

    def total(self, output: Tensor, target: Tensor) -> Tensor:
        """The sum over all samples and positions, a scalar."""
        return self._values(output, target, "sum")

    def _values(self, output: Tensor, target: Tensor, reduction: str) -> Tensor:
        from torch.nn import functional

        output = wide(output)
        table = None if self.class_weights is None else self._table(target).to(output.dtype)
        if table is not None and len(table) != output.shape[1]:
            raise ValueError(
                f"CrossEntropy class_weights has {len(table)} weights for {output.shape[1]} outputs; give one a class"
            )
        ignored = NO_CLASS if self.ignore is None else self.ignore

        def smoothed(share: float) -> Tensor:
            return functional.cross_entropy(
                output, target, weight=table, ignore_index=ignored, reduction=reduction, label_smoothing=share
            )

        if isinstance(self.smoothing, float | int):
            return smoothed(self.smoothing)
        sharp = smoothed(0.0)  # linear in the share, of which each member of a pack has its own
        return sharp + self.smoothing * (smoothed(1.0) - sharp)

    def each(self, target: Tensor) -> float | None:
        """The number of a sample's positions, unless classes weigh differently or are ignored."""
        if target.is_floating_point():
            return float(math.prod(target.shape[2:]))
        if self.ignore is None and self.class_weights is None:
            return float(math.prod(target.shape[1:]))
        return None

    def weights(self, target: Tensor) -> Tensor:
        """The sum of the class weights of each sample's positions, [B]; ignored ones count 0."""
        import torch

        alike = self.each(target)
        if alike is not None:
            return torch.full((len(target),), alike, dtype=torch.float64, device=target.device)
        kept = target != self.ignore if self.ignore is not None else torch.ones_like(target, dtype=torch.bool)
        counts = kept.double()
        if self.class_weights is not None:
            counts = counts * self._table(target)[target.where(kept, 0)]
        return counts if counts.ndim == 1 else counts.flatten(1).sum(1)

    def outputs(self, targets: Sequence[Tensor]) -> int:
        """One for each class; the ignored one is none."""
        if self.class_weights is not None:
            return len(self.class_weights)
        if targets[0].is_floating_point():
            return targets[0].shape[1]
        return classes_of(targets if self.ignore is None else [target[target != self.ignore] for target in targets])

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        if not 0 <= self.smoothing <= 1:
            yield f"CrossEntropy smoothing {self.smoothing} must lie in [0, 1]: it is a share of the target, 0.1 is usual"
        if self.class_weights is not None:
            yield from weights_conflicts("CrossEntropy class_weights", self.class_weights)
        if self.ignore is not None and (not isinstance(self.ignore, int) or isinstance(self.ignore, bool)):
            yield f"CrossEntropy ignore {self.ignore!r} must be a class, a whole number such as -100; None ignores nothing"

    def _table(self, target: Tensor) -> Tensor:
        import torch

        return torch.tensor(self.class_weights, dtype=torch.float64, device=target.device)


def weights_conflicts(name: str, weights: tuple[float, ...]) -> Iterator[str]:
    """What is wrong with one weight a class."""
    if len(weights) < 2:
        yield f"{name} {weights} must hold one weight for each of at least two classes; None weighs all alike"
    elif not all(0 <= weight < math.inf for weight in weights) or not any(weights):
        yield f"{name} {weights} must be finite, none negative and not all 0; 1.0 for each weighs all alike"
