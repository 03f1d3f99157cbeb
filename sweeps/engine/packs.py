"""Running several jobs at once in the process at hand, and alone what cannot be trained so."""

from __future__ import annotations

import platform
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, Self

from analysis.records import Stage, Status
from sweeps.engine.job import Job
from sweeps.engine.machine import hardware
from sweeps.engine.trial import Message, Runner, one_line, own_rows
from trainables.preparing import PreparedOnce

if TYPE_CHECKING:
    from trainables.fused.program import Program
    from trainables.run import Run
    from trainables.train import Trained


@dataclass(frozen=True, kw_only=True, slots=True)
class Word:
    """What the driver says to a pack: the ids of jobs that should ``stop``, and others that may ``join`` in their places."""

    stop: Collection[str] = ()
    join: Sequence[Job] = ()

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Self:
        """As it comes from the driver."""
        return cls(stop=said["stop"], join=[Job.from_json(text) for text in said["join"]])

    def to_json(self) -> dict[str, Any]:
        """As it travels to a worker."""
        return {"stop": list(self.stop), "join": [job.to_json() for job in self.join]}


class TellAll(Protocol):
    """Hands messages to the driver, by the jobs' ids; others may join so many ``members``, none where that is None."""

    def __call__(self, said: Mapping[str, Message], *, members: int | None = None) -> Word: ...


PROGRAMS = 16
"""Structures of which a worker keeps what packs have recorded."""


@dataclass(kw_only=True)
class PackRunner:
    """Runs jobs that have one structure as far as their recipes tell; everything goes through ``tell``, no Exception leaves.

    What data, module or checkpoint make impossible to train together is trained one after the other, and says why. ``programs`` are
    those of the last packs, by structure: the next one of that structure plays back what they have recorded. ``prepare`` holds the
    data that members have in common.
    """

    runner: Runner
    programs: dict[str, Program] = field(default_factory=dict)
    prepare: PreparedOnce = field(default_factory=PreparedOnce)

    def __call__(self, jobs: Sequence[Job], tell: TellAll) -> None:
        """Run all to their ends."""
        import trainables.fused.train  # noqa: F401  # what it imports is many objects, which a clean slate passes over
        from trainables.slate import clean

        clean(self.runner.threads, "pack", *(job.id for job in jobs))
        if len(jobs) == 1:
            self._alone(jobs[0], tell, None)
            return
        packs, alone = self._sorted(jobs)
        for pack in packs:
            pack.open = len(packs) == 1 and not alone
            alone += self._together(pack, tell)
        for job, why in alone:
            self._alone(job, tell, why)

    def _sorted(self, jobs: Sequence[Job]) -> tuple[list[_Pack], list[_Single]]:
        """The packs that the jobs make as they are built, and those that are trained alone."""
        from trainables.fused.built import apart

        packs, alone = self._built(jobs)
        several = [pack for pack in packs.values() if len(pack.jobs) > 1]
        for pack in packs.values():
            if len(pack.jobs) == 1:
                ((name, job),) = pack.jobs.items()
                beside = next(
                    (run for other in packs.values() if other is not pack for run in other.runs.values()), None
                )
                differs = apart(pack.runs[name], beside) if beside is not None else None
                alone.append((job, differs and f"not fused, it is not built as others are: {differs}"))
        return several, alone

    def _built(self, jobs: Sequence[Job], *, beside: Collection[Job] = ()) -> tuple[dict[Any, _Pack], list[_Single]]:
        """The runs of jobs as they stand on disk, by their shapes, and the jobs that no pack can train; the data of those
        ``beside`` is kept.
        """
        from trainables.fused.built import shapes, unfit_run
        from trainables.fused.train import Member

        drawn = {job.seeds.split for job in (*jobs, *beside)}  # members that draw the same have the same
        packs: dict[Any, _Pack] = {}
        alone: list[_Single] = []
        for job in jobs:
            try:
                member = Member(
                    name=job.id,
                    recipe=self.runner.sweep.resolved(job.point, job.seeds),
                    folder=self.runner.folder / job.id,
                    splits=self.runner.data(job.seeds.split, beside=drawn),
                    best=job.stage is Stage.FINAL,
                    tested=job.tested,
                )
                run = member.run(self.runner.sweep.task, self.runner.device(), self.prepare)
                why, alike = next(unfit_run(run), None), shapes(run)
            except Exception:  # what is wrong is told by the run alone, which has more room, and tries it twice
                alone.append((job, None))
                continue
            if why is not None:
                alone.append((job, f"not fused, {why}"))
            else:
                packs.setdefault(alike, _Pack(shapes=alike)).add(job, member, run)
        return packs, alone

    def _together(self, pack: _Pack, tell: TellAll) -> list[_Single]:
        """Train a pack; those come back that it cannot train, or that had not ended when it failed."""
        from trainables.micro_batch import release

        why = None
        try:
            program = self._program(next(iter(pack.runs.values())))
            if isinstance(program, str):
                why = program
            else:
                self._trained(pack, program, tell)
        except Exception as error:
            why = f"trained alone after its pack had failed ({one_line(error)})"
            self.programs.clear()
        if pack.runs:  # what is left takes the room that those alone need
            pack.runs.clear()
            release()
        return [*pack.alone, *((job, why) for job in pack.jobs.values())]

    def _program(self, run: Run) -> Program | str:
        """What a pack of runs like this one computes by, or why it cannot; what an earlier pack had needs no dry step."""
        from trainables.fused.dry import refused
        from trainables.fused.structure import structure
        from trainables.fused.train import program_for
        from trainables.fused.varied import common

        alike = structure(self.runner.sweep.task, run.recipe)
        program = self.programs.pop(alike, None)
        if program is None or not program.fits(run.module, common(run.loss)):
            refusal = refused(run)
            if refusal is not None:
                return f"not fused, {refusal}"
            program = program_for(run)
        self.programs[alike] = program
        for oldest in [*self.programs][:-PROGRAMS]:
            del self.programs[oldest]
        return program

    def _trained(self, pack: _Pack, program: Program, tell: TellAll) -> None:
        """Train a pack, and the jobs that join it while it is open."""
        from trainables.fused.train import train_together

        sent = dict.fromkeys(pack.jobs, 0)
        waiting: dict[str, Message] = {}

        def taken() -> dict[str, Message]:
            said = dict(waiting)
            waiting.clear()
            return said

        def report(histories: Mapping[str, Sequence[Mapping[str, Any]]]) -> Collection[str]:
            said = taken()
            for name, history in histories.items():
                said[name] = {"rows": own_rows(pack.jobs[name], history, sent[name]), "node": platform.node()}
                sent[name] = len(history)
            return tell(said).stop

        def ended(name: str, trained: Trained) -> None:
            job, splits = pack.jobs.pop(name), pack.members.pop(name).splits
            waiting[name] = {
                "rows": own_rows(job, trained.history, sent[name]),
                "node": platform.node(),
                "hardware": hardware(self.runner.device()),
                "data": self.runner.digest(job, splits),
                "status": Status(trained.ending.value).value,
                "reason": trained.reason,
                "error": None,
            }

        def joined() -> Collection[str]:
            if (
                not pack.open or not pack.runs
            ):  # one that is empty is over: what comes next is dealt evenly over all who work
                return ()
            # How those that left have ended is told first: a search that learns is to have heard of it.
            names = self._joined(pack, tell(taken(), members=len(pack.runs)).join)
            sent.update(dict.fromkeys(names, 0))
            return names

        try:
            train_together(
                self.runner.sweep.task,
                pack.runs,
                pack.members,
                report=report,
                ended=ended,
                joined=joined,
                program=program,
            )
        finally:
            if waiting:
                tell(waiting)

    def _joined(self, pack: _Pack, jobs: Sequence[Job]) -> list[str]:
        """Let jobs join a pack; the names come back of those that have. One that does not fit waits for its end, and closes it."""
        packs, pack.alone = self._built(jobs, beside=pack.jobs.values())
        fit = packs.pop(pack.shapes, _Pack(shapes=pack.shapes))
        pack.jobs.update(fit.jobs)
        pack.members.update(fit.members)
        pack.runs.update(fit.runs)
        others = [job for other in packs.values() for job in other.jobs.values()]
        pack.alone += [(job, "not fused, it is not built as others are") for job in others]
        pack.open = not pack.alone
        return list(fit.jobs)

    def _alone(self, job: Job, tell: TellAll, remark: str | None) -> None:
        """As in the lane of single trials."""

        def one(message: Message) -> bool:
            rows = [{**row, "remark": remark} if remark and "remark" not in row else row for row in message["rows"]]
            return job.id in tell({job.id: {**message, "rows": rows, "lane": "solo"}}).stop

        self.runner(job, one)


_Single = tuple[Job, str | None]
"""A job that is trained alone, and why, where there is a reason to tell."""


@dataclass(slots=True)
class _Pack:
    """Jobs that are trained together, of runs of these ``shapes``, until each has ended.

    While it is ``open`` others may join it; ``alone`` are those that were to, and could not.
    """

    shapes: Any
    open: bool = False
    alone: list[_Single] = field(default_factory=list)
    jobs: dict[str, Job] = field(default_factory=dict)
    members: dict[str, Any] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)

    def add(self, job: Job, member: Any, run: Run) -> None:
        self.jobs[job.id], self.members[job.id], self.runs[job.id] = job, member, run
