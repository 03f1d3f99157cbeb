"""Rare classes more often."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainables.data.source import by_sample, every_target
from trainables.errors import ConflictError
from trainables.seeds import generator

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from trainables.data.source import Set
    from trainables.task import Tensors


@dataclass(frozen=True, kw_only=True, slots=True)
class Balanced:
    """Epochs in which rare groups come more often than they are: a sample's weight is its group's size to the power of -``power``.

    With 1 every group has as many samples of an epoch as any other, with 0.5 half-way there by ratio, with 0 nothing changes. The
    group is the class, or what ``groups`` gives for each sample of (input…, target), [N] whole numbers, such as the character that
    is played. An epoch has as many samples as without it: the expected counts of
    ``torch.utils.data.WeightedRandomSampler``, but met exactly and not on average, and no sample a second time before its group is
    through. For ``groups`` every epoch begins with a pass over the whole set; classes are known without one.
    """

    power: float = 1.0
    groups: Callable[[Tensors], Tensor] | None = None

    def blocks(self, train: Set, *seed: int) -> Iterator[Tensor]:
        """All numbers at once. Raises ConflictError for targets that are no classes."""
        import torch

        values = (every_target(train) if self.groups is None else by_sample(train, self.groups)).cpu()
        if values.ndim != 1 or values.is_floating_point():
            raise ConflictError(
                "sampling",
                [
                    f"Balanced groups are {values.dtype} of shape {tuple(values.shape)}; give groups=..., "
                    "a function of (input..., target) with one whole number a sample"
                ],
            )
        drawn = generator(*seed)
        _, of = torch.unique(values, return_inverse=True)
        members = of.argsort(stable=True).split(of.bincount().tolist())
        counts = quotas([len(group) for group in members], self.power)
        parts = [_rounds(group, count, drawn) for group, count in zip(members, counts, strict=True)]
        yield torch.cat(parts)[torch.randperm(len(values), generator=drawn)]

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        if not 0 <= self.power <= 1:
            yield f"Balanced power {self.power} must lie between 0 (as they are) and 1 (all groups alike); 1 is usual"


def quotas(sizes: list[int], power: float) -> list[int]:
    """Samples of an epoch by group: in proportion to its size to the power of 1 - ``power``, by largest remainder."""
    weights = [size ** (1 - power) for size in sizes]
    exact = [weight / sum(weights) * sum(sizes) for weight in weights]
    found = [math.floor(value) for value in exact]
    left = sorted(range(len(sizes)), key=lambda place: found[place] - exact[place])
    for place in left[: sum(sizes) - sum(found)]:
        found[place] += 1
    return found


def _rounds(group: Tensor, count: int, drawn: torch.Generator) -> Tensor:
    """``count`` of the group's samples: as often as possible all of them, each time in another order."""
    import torch

    times = math.ceil(count / len(group))
    rounds = [group[torch.randperm(len(group), generator=drawn)] for _ in range(times)]
    return torch.cat(rounds)[:count] if rounds else group[:0]
