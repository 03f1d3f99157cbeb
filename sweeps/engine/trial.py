"""Running one job in the process at hand, whatever lane that process belongs to."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.records import Status
from sweeps.engine.job import Job
from trainables.seeds import Seeds

if TYPE_CHECKING:
    from sweeps.engine.spec import Sweep
    from trainables import Splits

Message = Mapping[str, Any]
"""What a trial tells the driver: ``rows`` not told before; at its end also ``status``, ``reason`` and ``error``."""

Tell = Callable[[Message], bool]
"""Hands a message to the driver; True asks the trial to stop."""

ATTEMPTS = 2
"""How often a trial that raises is tried, going on from its checkpoint: once more heals what passes."""


@dataclass(kw_only=True)
class Runner:
    """Runs jobs of one sweep, one after the other; the splits of the last seed are kept, since finals share them.

    Checkpoints lie in ``folder`` under the job's id, so the same job goes on from there in any process.
    """

    sweep: Sweep
    folder: Path
    threads: int
    splits: tuple[int, Splits] | None = None

    def __call__(self, job: Job, tell: Tell) -> None:
        """Run to the end; everything, also the reason of a failure, goes through ``tell``; no Exception leaves."""
        import torch

        torch.set_num_threads(self.threads)
        sent = 0
        history: Sequence[Mapping[str, Any]] = ()

        def report(rows: Sequence[Mapping[str, Any]]) -> bool:
            nonlocal sent, history
            history = rows
            fresh, sent = list(rows[sent:]), len(rows)
            return tell({"rows": fresh})

        for attempt in range(1, ATTEMPTS + 1):
            try:
                status, reason, history = self._train(job, report)
                error = None
            except Exception as raised:
                status, reason, error = _failure(raised)
                if attempt < ATTEMPTS and status is Status.FAILED:
                    continue
                if attempt > 1:
                    reason = f"{reason} (in {attempt} attempts)"
            break
        if attempt > 1 and error is None:
            reason = f"{reason}; went on after an exception" if reason else "went on after an exception"
        tell({"rows": list(history[sent:]), "status": status.value, "reason": reason, "error": error})

    def _train(
        self, job: Job, report: Callable[[Sequence[Mapping[str, Any]]], bool]
    ) -> tuple[Status, str | None, Sequence[Mapping[str, Any]]]:
        from trainables.train import train

        recipe = self.sweep.resolved(job.point, job.seeds)
        trained = train(
            self.sweep.task,
            recipe,
            folder=self.folder / job.id,
            report=report,
            splits=self._splits(job.seeds),
            device=self._device(),
        )
        return Status(trained.ending.value), trained.reason, trained.history

    def _splits(self, seeds: Seeds) -> Splits:
        if self.splits is None or self.splits[0] != seeds.split:
            self.splits = (seeds.split, self.sweep.task.load(seeds.split))
        return self.splits[1]

    def _device(self) -> str:
        import torch

        return "cuda" if self.sweep.resources.gpus != 0 and torch.cuda.is_available() else "cpu"


def _failure(raised: Exception) -> tuple[Status, str, str]:
    """How an exception is recorded: the status, one line, and the traceback."""
    import torch

    said = str(raised)
    memory = isinstance(raised, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in said
    line = said.strip().splitlines()[0] if said.strip() else ""
    reason = f"{type(raised).__name__}: {line}"[:300] if line else type(raised).__name__
    trace = "".join(traceback.format_exception(raised))
    return (Status.OUT_OF_MEMORY if memory else Status.FAILED), reason, trace
