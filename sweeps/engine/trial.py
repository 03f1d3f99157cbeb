"""Running one job in the process at hand, whatever lane that process belongs to."""

from __future__ import annotations

import json
import platform
import traceback
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.records import Status
from sweeps.engine.job import Job
from sweeps.engine.machine import hardware
from sweeps.engine.place import own_frame, short
from trainables.errors import ConflictError

if TYPE_CHECKING:
    import torch

    from sweeps.engine.spec import Sweep
    from trainables import Splits
    from trainables.course import Course
    from trainables.world import World

Message = Mapping[str, Any]
"""What a trial tells the driver: ``rows`` not told before, and its ``node``; at its end also ``status``, ``reason``, ``error``, its
``hardware`` and the digest of its ``data``, and whether it is ``hopeless`` to try once more."""

Tell = Callable[[Message], bool]
"""Hands a message to the driver; True asks the trial to stop."""

SUMS = ("step", "samples", "seconds", "wall_seconds", "cpu_seconds", "gpu_seconds", "joules")
"""What a row holds as sums since its run began."""

ARTIFACTS = "artifacts"
"""The folder beside the checkpoints for what else a trial leaves, by its id."""

PROFILE, TRACE = "profile.json", "trace.json"
"""Where its time went, and torch's own trace of some steps, where the sweep asks for them."""

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
    splits: dict[int, Splits] = field(default_factory=dict)

    def __call__(self, job: Job, tell: Tell) -> None:
        """Run to the end; everything, also the reason of a failure, goes through ``tell``; no Exception leaves."""
        last, attempts = self.attempt(job, tell), 1
        while last["status"] == Status.FAILED and not last["hopeless"] and attempts < ATTEMPTS:
            last, attempts = self.attempt(job, tell), attempts + 1
        tell(tried(last, attempts))

    def attempt(
        self, job: Job, tell: Tell, *, world: World | None = None, device: torch.device | None = None
    ) -> dict[str, Any]:
        """Run once, as one of the workers of ``world``; the last message comes back, untold.

        ``tell`` is called in every worker, after each epoch; what it says to the first one counts.
        """
        from trainables.pulse import Pulse
        from trainables.slate import clean
        from trainables.train import train

        sent, node, hopeless, data = job.begins, platform.node(), False, None
        history: Sequence[Mapping[str, Any]] = ()
        place = self.folder.parent / ARTIFACTS / job.id

        def report(rows: Sequence[Mapping[str, Any]]) -> bool:
            nonlocal sent, history
            history = rows
            fresh, sent = own_rows(job, rows, sent, shared=self._shared), max(sent, len(rows))
            # While what its parent had trained is trained anew, there is nothing to tell, and nothing to be stopped for.
            return tell({"rows": fresh, "node": node}) if fresh else False

        try:
            splits = self.data(job.seeds.split)
            data = self.digest(job, splits)
            clean(self.threads, "trial", job.id)
            with Pulse(self.folder / job.id) as pulse:
                trained = train(
                    self.sweep.task,
                    self.sweep.resolved(job.point, job.seeds),
                    folder=self.folder / job.id,
                    report=report,
                    splits=splits,
                    device=device or self.device(),
                    world=world,
                    course=self._course(job),
                    keep=self.sweep.keep,
                    through=pulse.through,
                    log_every=self.sweep.log_every,
                    log_into=place,
                    profile=self.sweep.profile,
                    trace=place / TRACE,
                    tested=job.tested,
                )
            if trained.profiled is not None and (world is None or world.first):
                place.mkdir(parents=True, exist_ok=True)
                (place / PROFILE).write_text(json.dumps(trained.profiled.to_json(), indent=1) + "\n")
            status, reason, error = Status(trained.ending.value), trained.reason, None
            history = trained.history
        except Exception as raised:
            status, reason, error = failure(raised)
            hopeless = isinstance(raised, ConflictError)  # the same settings conflict again
        return {
            "rows": own_rows(job, history, sent, shared=self._shared),
            "node": node,
            "hardware": hardware(device or self.device()),
            "data": data,
            "status": status.value,
            "reason": reason,
            "error": error,
            "hopeless": hopeless,
        }

    def _course(self, job: Job) -> Course:
        """How the run comes to the job's point."""
        from trainables.course import Course, Segment

        before = [(turn["until"], self.sweep.resolved(turn["point"], job.seeds)) for turn in job.earlier]
        return Course(
            earlier=[Segment(recipe=recipe, until=until) for until, recipe in before],
            begin=self.folder / job.parent if job.parent is not None else None,
            until=job.until,
        )

    @property
    def _shared(self) -> bool:
        """True where trials share a device, whose energy is then nobody's alone."""
        gpus = self.sweep.resources.gpus
        return gpus is not None and 0 < gpus < 1

    def data(self, seed: int, *, beside: Collection[int] = ()) -> Splits:
        """The data that a seed draws; of those before, what the seeds ``beside`` it have drawn is kept."""
        from trainables.slate import clean

        self.splits = {drawn: splits for drawn, splits in self.splits.items() if drawn in {seed, *beside}}
        if seed not in self.splits:
            clean(self.threads, "data", seed)
            self.splits[seed] = self.sweep.task.load(seed)
        return self.splits[seed]

    def digest(self, job: Job, splits: Splits) -> str | None:
        """What tells a job's data from others'; where the recipe divides it anew, its seed does so too."""
        drawn = splits.digest()
        divided = self.sweep.resolved(job.point, job.seeds).split is not None
        return f"{drawn}, split {job.seeds.split}" if drawn is not None and divided else drawn

    def device(self) -> torch.device:
        """Where trials of one worker are trained."""
        import torch

        return torch.device("cuda" if self.sweep.resources.gpus != 0 and torch.cuda.is_available() else "cpu")


def own_rows(
    job: Job, history: Sequence[Mapping[str, Any]], sent: int, *, shared: bool = False
) -> list[Mapping[str, Any]]:
    """The rows that are new, sums counted from where the job begins: what its parent did and used is the parent's."""
    rows = list(history[sent:])
    if rows and job.begins:
        before = history[job.begins - 1]
        rows = [{**row, **{name: row[name] - before[name] for name in SUMS if name in row}} for row in rows]
    if shared:
        rows = [{name: value for name, value in row.items() if name != "joules"} for row in rows]
    return rows


def tried(last: Message, attempts: int) -> Message:
    """The last message, with a word on how often the trial was tried."""
    if attempts == 1:
        return last
    if last["error"] is not None:
        return {**last, "reason": f"{last['reason']} (in {attempts} attempts)"}
    return {**last, "reason": "; ".join(filter(None, [last["reason"], "went on after an exception"]))}


def failure(raised: Exception) -> tuple[Status, str, str]:
    """How an exception is recorded: the status, one line with the place in the user's own code, and the traceback."""
    import torch

    memory = isinstance(raised, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(raised)
    trace = "".join(traceback.format_exception(raised))
    if memory:  # no line is to blame for it
        return Status.OUT_OF_MEMORY, one_line(raised), trace
    frame = own_frame(raised)
    return Status.FAILED, one_line(raised) + (f" ({short(frame)})" if frame is not None else ""), trace


def one_line(raised: Exception) -> str:
    """An exception in one line: its kind, and the first line of what it says."""
    text = str(raised).strip()
    return f"{type(raised).__name__}: {text.splitlines()[0]}"[:300] if text else type(raised).__name__
