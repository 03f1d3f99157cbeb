"""The race: programme, early stopping, ledger and followers, whoever runs the trials."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from analysis.records import Cost, Stage, Status, TrialRecord
from sweeps.engine.job import Job, key
from sweeps.engine.ledger import Ledger
from sweeps.engine.machine import Machine
from sweeps.engine.programme import Programme
from sweeps.engine.spec import Sweep
from sweeps.engine.stopping import Levels
from sweeps.engine.trial import Message
from trainables.keep import BEFORE, LAST

RESTARTS = 2
"""How often a trial whose process died is started again."""


class Follower(Protocol):
    """Something that follows a sweep live: a table in the terminal, a tracking server."""

    def started(self, record: TrialRecord) -> None:
        """A trial starts, or goes on."""
        ...

    def reported(self, record_id: str, row: Mapping[str, Any]) -> None:
        """An epoch of it has ended."""
        ...

    def ended(self, record: TrialRecord) -> None:
        """It has ended, one way or the other."""
        ...


@dataclass(slots=True)
class _Entry:
    """A job under way; ``told`` is the last epoch of which anybody was told."""

    job: Job
    record: TrialRecord
    history: list[Mapping[str, Any]] = field(default_factory=list)
    told: int = 0
    remarks: list[str] = field(default_factory=list)
    cut: int | None = None
    deaths: int = 0
    node: str | None = None
    hardware: str | None = None
    data: str | None = None
    lane: str | None = None


class Race:
    """What a lane talks to: ``next`` for a job, ``told`` for each message of a trial, ``died`` for a dead process.

    A lane that gathers jobs before it runs them asks for them by ``draw``, and begins each when its turn has come.

    ``rows`` are the epochs that trials under way had told an earlier command. ``released``
    are the heats whose checkpoints nothing goes on from any more.

    A trial that goes on from a checkpoint trains some epochs again. Nobody is told of them twice, nor judged by them; but the
    history is what led to the weights that are there, so the rows told last hold, and those of epochs past them go.
    """

    def __init__(
        self,
        sweep: Sweep,
        programme: Programme,
        ledger: Ledger,
        followers: Sequence[Follower],
        *,
        known: Iterable[TrialRecord],
        rows: Mapping[str, Sequence[Mapping[str, Any]]],
        machine: Machine,
        lane: str,
        checkpoints: Path,
    ) -> None:
        self.sweep, self.programme, self.lane = sweep, programme, lane
        self._ledger, self._followers, self._machine, self._checkpoints = ledger, followers, machine, checkpoints
        self._rows = {name: list(history) for name, history in rows.items()}
        self._entries: dict[str, _Entry] = {}
        self._again: list[Job] = []
        self._cuts: dict[str, int] = {}
        self.fault: Exception | None = None
        self.released: list[str] = []
        self._goal = f"val/{sweep.task.goal.metric}"
        self._stopping = Levels(sweep.early_stop, sweep.recipe.epochs, sweep.task.goal.mode)
        for record in known:
            if record.stage is Stage.HEAT:
                history = record.history if record.status.settled else self._rows.get(record.id, ())
                cut = self._stopping.feed(key(record.level), record.id, history, self._goal)
                if cut is not None and not record.status.settled:
                    self._cuts[record.id] = cut

    def next(self) -> Job | None:
        """The next job, begun; None when there is none now."""
        job = self.draw()
        while job is not None and not self.begin(job):
            job = self.draw()
        return job

    def draw(self) -> Job | None:
        """The next job, of which nobody hears before it is begun; first one whose process died. None when there is none now."""
        return self._again.pop(0) if self._again else self.programme.next()

    def begin(self, job: Job) -> bool:
        """Note a job in the ledger, if it is not under way already; False when it has ended by that."""
        if job.id in self._entries:
            return True
        record = self._record(job, Status.RUNNING)
        entry = self._entries[job.id] = _Entry(job, record)
        self._ledger.append(record)
        for follower in self._followers:
            follower.started(record)
        for row in self._rows.pop(job.id, ()):
            self._take(entry, row, again=True)
        if job.id in self._cuts:
            # The driver was killed between the cut and the line that says so.
            entry.cut = self._cuts.pop(job.id)
            self.stopped(job.id)
            return False
        return True

    @property
    def done(self) -> bool:
        """True when all that was planned has ended."""
        return self.programme.done

    def told(self, job_id: str, message: Message) -> bool:
        """Take in a message; True when the trial should stop. A message after the end is ignored."""
        entry = self._entries.get(job_id)
        if entry is None:
            return True
        entry.node = message.get("node", entry.node)
        entry.hardware = message.get("hardware", entry.hardware)
        entry.data = message.get("data", entry.data)
        entry.lane = message.get("lane", entry.lane)
        for row in message["rows"]:
            self._take(entry, row)
        if "status" in message:
            entry.deaths += message.get("deaths", 0)
            self._end(entry, Status(message["status"]), message["reason"], message["error"])
            return True
        return entry.cut is not None

    def stopped(self, job_id: str) -> None:
        """A trial that was asked to stop has stopped; nothing happens when it had ended by itself."""
        entry = self._entries.get(job_id)
        if entry is not None and entry.cut is not None:
            self._end(entry, Status.STOPPED, None, None)
        elif entry is not None:
            self.died(job_id)  # its function left without a last word

    def deaths(self, job_id: str) -> int:
        """How often the process of a job has died."""
        entry = self._entries.get(job_id)
        return entry.deaths if entry is not None else 0

    def died(self, job_id: str) -> None:
        """A trial's process is gone: the trial goes on from its checkpoint in another, ``RESTARTS`` times at most."""
        entry = self._entries.get(job_id)
        if entry is None:
            return
        entry.deaths += 1
        if entry.deaths <= RESTARTS:
            self._again.append(entry.job)
        else:
            reason = f"its process died {entry.deaths} times (killed from outside, or out of memory); its last checkpoint is kept"
            self._end(entry, Status.FAILED, reason, reason)

    def _take(self, entry: _Entry, row: Mapping[str, Any], *, again: bool = False) -> None:
        if "remark" in row and row["remark"] not in entry.remarks:
            entry.remarks.append(row["remark"])
        while entry.history and row["epoch"] <= entry.history[-1]["epoch"]:
            entry.history.pop()
        entry.history.append(row)
        self._ledger.live(entry.job.id, row)
        if row["epoch"] <= entry.told:
            return
        entry.told = row["epoch"]
        self.programme.reported(entry.job.id, row)
        for follower in self._followers:
            follower.reported(entry.job.id, row)
        value = row.get(self._goal)
        judged = entry.job.stage is Stage.HEAT and value is not None and not again and entry.cut is None
        if judged and self._stopping.stops(key(entry.job.level), entry.job.id, row["epoch"], row[self._goal]):
            entry.cut = row["epoch"]

    def _end(self, entry: _Entry, status: Status, reason: str | None, error: str | None) -> None:
        if status is Status.STOPPED and entry.cut is not None:
            reason = f"below the cut at epoch {entry.cut}"
        if entry.deaths and status is not Status.FAILED:
            times = {1: "once", 2: "twice"}.get(entry.deaths, f"{entry.deaths} times")
            reason = _also(reason, f"its process died {times}, it went on from its checkpoint")
        for remark in entry.remarks:
            reason = _also(reason, remark)
        del self._entries[entry.job.id]
        record = self._record(entry.job, status, entry=entry, reason=reason, error=error)
        self._ledger.append(record)
        self.programme.ended(record)
        for follower in self._followers:
            follower.ended(record)
        released = self.programme.released()
        self.released += released
        tidy(self._checkpoints, record, released)

    def _record(
        self,
        job: Job,
        status: Status,
        *,
        entry: _Entry | None = None,
        reason: str | None = None,
        error: str | None = None,
    ) -> TrialRecord:
        history = entry.history if entry is not None else []
        last = history[-1] if history else {}
        best = self._best(history)
        return TrialRecord(
            id=job.id,
            sweep=self.sweep.name,
            task=self.sweep.task.name,
            stage=job.stage,
            level=job.level,
            point=job.point,
            seed=job.seed,
            status=status,
            reason=reason,
            epochs=last.get("epoch", job.begins) - job.begins,
            samples=last.get("samples", 0),
            steps=last.get("step", 0),
            metrics={k: v for k, v in best.items() if k.startswith(("train/", "val/", "test/"))},
            best_epoch=best.get("epoch"),
            history=history,
            cost=Cost(
                seconds=last.get("wall_seconds"),
                cpu_seconds=last.get("cpu_seconds"),
                gpu_seconds=last.get("gpu_seconds"),
                joules=last.get("joules"),
                peak_bytes=last.get("peak_bytes"),
            ),
            lane=(entry.lane if entry is not None else None) or self.lane,
            hardware=(entry.hardware if entry is not None else None) or self._machine.hardware,
            data=entry.data if entry is not None else None,
            versions=self._machine.versions,
            source=self._machine.source,
            error=error,
            number=job.number,
            started=entry.record.started if entry is not None else time.time(),
            ended=None if status is Status.RUNNING else time.time(),
            node=entry.node if entry is not None else None,
            earlier=job.earlier,
            until=job.until,
            parent=job.parent,
        )

    def _best(self, history: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        """The row of the epoch chosen on validation; empty when there is none."""
        from trainables.train import best_epoch

        chosen = best_epoch(history, self.sweep.task.goal)
        return next((row for row in history if row["epoch"] == chosen), {})


def _also(reason: str | None, remark: str) -> str:
    """A reason with a remark after it."""
    return f"{reason}; {remark}" if reason else remark


def tidy(checkpoints: Path, record: TrialRecord, released: Iterable[str]) -> None:
    """Keep the best weights of finals, and nothing of heats that are ``released``; what is under way or was lost keeps all."""
    for heat in released:
        shutil.rmtree(checkpoints / heat, ignore_errors=True)
    if record.status.settled and record.stage is not Stage.HEAT:
        for state in (LAST, BEFORE):
            (checkpoints / record.id / state).unlink(missing_ok=True)
