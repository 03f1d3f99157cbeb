"""Running several jobs at once in the process at hand, and alone what cannot be trained so."""

from __future__ import annotations

import platform
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from analysis.records import Stage, Status
from sweeps.engine.job import Job
from sweeps.engine.machine import hardware
from sweeps.engine.trial import Message, Runner, failure, own_rows

if TYPE_CHECKING:
    from trainables.fused.program import Program
    from trainables.run import Run
    from trainables.train import Trained

TellAll = Callable[[Mapping[str, Message]], Collection[str]]
"""Hands messages to the driver, by the jobs' ids; the ids come back of those that should stop."""


@dataclass(kw_only=True)
class PackRunner:
    """Runs jobs that have one structure as far as their recipes tell; everything goes through ``tell``, no Exception leaves.

    What data or module make impossible to train together is trained one after the other, and says why. ``programs`` are those of
    the last packs, by structure: the next one of that structure plays back what they have recorded.
    """

    runner: Runner
    programs: dict[str, Program] = field(default_factory=dict)

    def __call__(self, jobs: Sequence[Job], tell: TellAll) -> None:
        """Run all to their ends."""
        from trainables.fused.built import shapes, unfit_run
        from trainables.fused.dry import refused
        from trainables.fused.train import Member
        from trainables.slate import clean

        clean(self.runner.threads, "pack", *(job.id for job in jobs))
        drawn = {job.seeds.split for job in jobs}  # members that draw the same have the same
        if len(jobs) == 1:
            self._alone(jobs[0], tell, None)
            return
        packs: dict[Any, _Pack] = {}
        for job in jobs:
            try:
                member = Member(
                    name=job.id,
                    recipe=self.runner.sweep.resolved(job.point, job.seeds),
                    folder=self.runner.folder / job.id,
                    splits=self.runner.data(job.seeds.split, beside=drawn),
                    best=job.stage is Stage.FINAL,
                )
                run = member.run(self.runner.sweep.task, self.runner.device())
            except Exception as error:
                tell({job.id: {**self._last(error), "hopeless": True}})
                continue
            packs.setdefault(shapes(run), _Pack()).add(job, member, run)
        for pack in packs.values():
            first = next(iter(pack.runs.values()))
            why = next(unfit_run(first), None) or refused(first)
            if why is not None or len(pack.jobs) == 1:
                for job in pack.jobs.values():
                    self._alone(job, tell, None if why is None else f"not fused, {why}")
            else:
                self._together(pack, tell)

    def _together(self, pack: _Pack, tell: TellAll) -> None:
        """Train a pack; where that fails, those that have not ended go on alone."""
        from trainables.fused.structure import structure
        from trainables.fused.train import program_for, train_together

        sent = dict.fromkeys(pack.jobs, 0)
        waiting: dict[str, Message] = {}
        over: set[str] = set()

        def report(histories: Mapping[str, Sequence[Mapping[str, Any]]]) -> Collection[str]:
            said = dict(waiting)
            waiting.clear()
            for name, history in histories.items():
                said[name] = {"rows": own_rows(pack.jobs[name], history, sent[name]), "node": platform.node()}
                sent[name] = len(history)
            return tell(said)

        def ended(name: str, trained: Trained) -> None:
            over.add(name)
            rows = own_rows(pack.jobs[name], trained.history, sent[name])
            waiting[name] = {
                **self._last(None),
                "rows": rows,
                "status": Status(trained.ending.value).value,
                "reason": trained.reason,
            }

        first = next(iter(pack.runs.values()))
        alike = structure(self.runner.sweep.task, first.recipe)
        failed: Exception | None = None
        try:
            program = self.programs[alike] = program_for(first, self.programs.get(alike))
            train_together(self.runner.sweep.task, pack.runs, pack.members, report=report, ended=ended, program=program)
        except Exception as error:
            failed = error
        if waiting:
            tell(waiting)
        for name, job in pack.jobs.items():
            if failed is not None and name not in over:
                _, said, _ = failure(failed)
                self._alone(job, tell, f"trained alone after its pack had failed ({said})")

    def _alone(self, job: Job, tell: TellAll, remark: str | None) -> None:
        """As in the lane of single trials."""

        def one(message: Message) -> bool:
            rows = [{**row, "remark": remark} if remark and "remark" not in row else row for row in message["rows"]]
            return job.id in tell({job.id: {**message, "rows": rows, "lane": "solo"}})

        self.runner(job, one)

    def _last(self, error: Exception | None) -> dict[str, Any]:
        """The last message of a job that raised, or of one that did not."""
        status, reason, trace = failure(error) if error is not None else (Status.COMPLETED, None, None)
        return {
            "rows": [],
            "node": platform.node(),
            "hardware": hardware(self.runner.device()),
            "status": status.value,
            "reason": reason,
            "error": trace,
        }


@dataclass(slots=True)
class _Pack:
    """Jobs that are trained together."""

    jobs: dict[str, Job] = field(default_factory=dict)
    members: dict[str, Any] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)

    def add(self, job: Job, member: Any, run: Run) -> None:
        self.jobs[job.id], self.members[job.id], self.runs[job.id] = job, member, run
