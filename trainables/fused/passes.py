"""Validation and test of all members of a pack at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from trainables.batches import split
from trainables.data.source import count
from trainables.evaluate import total
from trainables.fused.feed import place
from trainables.fused.steady import same_always
from trainables.losses import weighed
from trainables.metrics import WholeSet
from trainables.validation.passes import evaluated

if TYPE_CHECKING:
    from trainables.fused.program import Program
    from trainables.fused.rows import Rows
    from trainables.losses import Loss
    from trainables.run import Run
    from trainables.task import Tensors


class Sets:
    """A set of every member, by its name; where all have the same it is held once."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self._runs = runs
        self._stacked: dict[str, Tensors] = {}

    def shared(self, name: str) -> bool:
        """True when all members have the same samples."""
        return len({place(run.splits.named()[name]) for run in self._runs}) == 1

    def alike(self, name: str) -> bool:
        """True when all members have as many samples."""
        return len({count(run.splits.named()[name]) for run in self._runs}) == 1

    def __getitem__(self, name: str) -> Tensors:
        """The samples, [N, ...], or [K, N, ...] where members have their own."""
        if self.shared(name):
            found: Tensors = self._runs[0].splits.named()[name]
            return found
        if name not in self._stacked:
            own = [run.splits.named()[name] for run in self._runs]
            self._stacked[name] = tuple(torch.stack(parts) for parts in zip(*own, strict=True))
        return self._stacked[name]


class Passes:
    """Passes over the sets of all members; member by member where a metric cannot be taken for all at once."""

    def __init__(self, runs: Sequence[Run], program: Program) -> None:
        self._runs, self._program, self._sets = runs, program, Sets(runs)
        self._together = not any(isinstance(metric, WholeSet) for metric in runs[0].task.metrics.values())

    def over(
        self, name: str, rows: Rows, held: Mapping[str, Tensor], own: Mapping[str, Tensor], *, raw: bool = False
    ) -> list[dict[str, float]]:
        """Loss and metrics of each member over its set ``name``, by the names of a history's row.

        ``rows`` hold the weights that would be used, or the ``raw`` ones.
        """
        if self._together and self._sets.alike(name):
            try:
                return self._at_once(name, rows, held, own, raw=raw)
            except Exception:
                # A metric that asks for a number, or hands its tensors to another library, is for one member at a time.
                self._together = False
        return self.one_by_one(name, raw=raw)

    def one_by_one(self, name: str, *, raw: bool = False) -> list[dict[str, float]]:
        """The same as each run does it alone."""
        return [evaluated(run, name, run.splits.named()[name], raw=raw) for run in self._runs]

    def _at_once(
        self, name: str, rows: Rows, held: Mapping[str, Tensor], own: Mapping[str, Tensor], *, raw: bool
    ) -> list[dict[str, float]]:
        run = self._runs[0]
        metrics = run.task.metrics

        def then(loss: Loss, output: Tensor, target: Tensor) -> Tensor:
            values = [total(metric(output, target), len(target)) for metric in metrics.values()]
            return torch.stack([value.double() for value in (*values, *weighed(loss, output, target))])

        # Metrics of one's own may go by more than their tensors.
        kind = tuple(metrics.values()) if all(same_always(metric) for metric in metrics.values()) else None
        samples, shared = self._sets[name], self._sets.shared(name)
        sums = torch.zeros(len(rows), 2 + len(metrics), dtype=torch.float64, device=run.device)
        for batch in split(samples if shared else tuple(t.transpose(0, 1) for t in samples), run.evaluation_batch):
            inputs = batch if shared else tuple(tensor.transpose(0, 1) for tensor in batch)
            if kind is None or not self._program.reads_only:
                inputs = tuple(tensor.clone() for tensor in inputs)
            sums += self._program.outputs(rows, inputs, held=held, own=own, shared=shared, then=then, kind=kind)
        number, ending = count(run.splits.named()[name]), "_raw" if raw else ""
        found = []
        for *totals, lost, weight in sums.tolist():
            values = {metric: value / number for metric, value in zip(metrics, totals, strict=True)}
            measured = {"loss": lost / weight if weight else 0.0, **values}
            found.append({f"{name}/{metric}{ending}": value for metric, value in measured.items()})
        return found
