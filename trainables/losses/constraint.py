"""Rules of the kind "all different" as a loss."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainables.losses.loss import wide

if TYPE_CHECKING:
    from torch import Tensor

Groups = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Constraint:
    """How far a grid is from holding every digit once in every group: a value a sample [B].

    Logits [B, C, cells] (more dimensions are cells too, row by row) of C digits; each group names C cells, from 0. The value is
    (expected number of a digit in a group - 1)^2 by the cells' softmax, averaged over digits and groups: a quadratic penalty in
    place of the rule. The targets are not looked at. A grid of evenly spread digits breaks no rule, so alone it teaches nothing:
    ``Sum(CrossEntropy(), Constraint(groups=sudoku()), weight=0.5)``.

    Calling it raises ValueError when a group has not as many cells as there are digits.
    """

    groups: Groups

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        """Each sample's mean over digits and groups, [B]."""
        import torch

        size, digits = len(self.groups[0]), output.shape[1]
        if size != digits:
            raise ValueError(f"Constraint groups have {size} cells for {digits} digits; each digit must fit once")
        groups = torch.tensor(self.groups, device=target.device)
        probabilities = wide(output).flatten(2).softmax(1)
        expected = probabilities[:, :, groups].sum(-1)
        return (expected - 1).square().mean((1, 2))

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        if not self.groups:
            yield "Constraint groups is empty; name the cells of each group, or take sudoku()"
            return
        sizes = sorted({len(group) for group in self.groups})
        if len(sizes) > 1 or sizes[0] < 2:
            yield f"Constraint groups have {sizes} cells; all must have the same number of them, at least 2"
        for group in self.groups:
            if len(set(group)) < len(group) or min(group, default=0) < 0:
                yield f"Constraint group {group} must name different cells, counted from 0"
                return


def sudoku(box: int = 3) -> Groups:
    """The rows, columns and boxes of a Sudoku of ``box`` x ``box`` boxes, whose cells are counted row by row."""
    side = box * box
    rows = [tuple(side * row + column for column in range(side)) for row in range(side)]
    columns = list(zip(*rows, strict=True))
    boxes = [
        tuple(side * (box * down + i) + box * across + j for i in range(box) for j in range(box))
        for down in range(box)
        for across in range(box)
    ]
    return (*rows, *columns, *boxes)
