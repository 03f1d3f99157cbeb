"""What MLflow should hold of a sweep, and bringing it there: runs on one thread, may fail at any point and be called again."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from analysis import steps as by_step
from analysis.ledger import Question
from analysis.records import Row, Status, TrialRecord
from analysis.tracking_links import Links, links, run_page, top
from analysis.tracking_note import note
from analysis.tracking_place import Place
from analysis.tracking_runs import (
    Metric,
    Naming,
    created,
    data_of,
    milliseconds,
    mlflow_status,
    once,
    rows,
    steps,
    sweep_params,
    sweep_tags,
)
from analysis.tracking_store import Found, Store
from analysis.tracking_tables import Whole
from analysis.tracking_view import KEY, TAG, view
from analysis.verdict import Verdict

_ENOUGH = 2  # errors in one round, after which the store is taken to be out of reach
_TOGETHER, _POINTS = 100, 50_000  # trials in one transaction, and metric points from which it takes no other
_ATTACHED = ("report.html", "verdict.json", "trials.parquet")


@dataclass(kw_only=True, slots=True)
class _Live:
    """A trial that is under way; its epochs are due to be written at a moment on the monotonic clock."""

    record: TrialRecord
    due: float
    rows: list[Row] = field(default_factory=list)


class Writer:
    """Remembers what happened, which cannot fail; ``work`` writes what is due, which can.

    What could not be written stays due, so calling ``work`` again later is all there is to do after an error. A trial's run is
    created once it has lasted ``linger`` seconds, and its epochs every ``pace`` seconds; a shorter one's is written at its end,
    in one batch.
    """

    def __init__(
        self, *, place: Place, question: Question, linger: float, pace: float, folder: Path | None = None
    ) -> None:
        self._place, self._question, self._linger, self._pace = place, question, linger, pace
        self._naming, self._data = Naming.of(question), data_of(question)
        self._store: Store | None = None
        self._sweep: Found | None = None
        self._runs: dict[str, Found] = {}
        self._folder = folder
        self._tails: dict[str, by_step.Tail] = {}
        self._live: dict[str, _Live] = {}
        self._stale: set[str] = set()
        self._owed: dict[str, TrialRecord] = {}
        self._apart: set[str] = set()
        self._told: dict[str, TrialRecord] = {}
        self._results: dict[str, TrialRecord] = {}
        self._answer: tuple[Path, Verdict] | None = None
        self._repair_due = self._closing = self._closed = self._answered = False

    # What happened: nothing here can fail.

    def started(self, record: TrialRecord, now: float) -> None:
        """A trial is under way, or goes on."""
        self._live[record.id] = _Live(record=record, due=now + self._linger, rows=list(record.history))

    def reported(self, record_id: str, row: Row) -> None:
        """An epoch of a trial."""
        if record_id in self._live:
            self._live[record_id].rows.append(row)

    def ended(self, record: TrialRecord) -> None:
        """A trial's last word."""
        live = self._live.pop(record.id, None)
        last = {row["epoch"]: row for row in record.history}
        if live is not None and any(last.get(row["epoch"]) != row for row in live.rows):
            self._stale.add(record.id)  # some of its epochs were trained again
        self._owed[record.id] = record
        self._results[record.id] = replace(record, history=())

    def sync(self, records: Sequence[TrialRecord]) -> None:
        """The ledger as it stands; the store is to agree with it."""
        self._repair_due = True
        for record in records:
            if record.status is not Status.RUNNING:
                self._told[record.id] = record
                self._results[record.id] = replace(record, history=())

    def answered(self, folder: Path, verdict: Verdict) -> None:
        """The sweep's answer, with the folder of its files."""
        self._answer = (folder, verdict)

    def closing(self) -> None:
        """Nothing more will happen: no run may stay under way."""
        self._closing = True

    # Bringing the store there: any of this can fail and is called again.

    def work(self, now: float) -> None:
        """Write all that is due."""
        lasting = [live for live in self._live.values() if now >= live.due]
        if not (self._store or self._repair_due or self._owed or lasting or self._answer):
            return
        store = self._store = self._store or Store(self._place, self._question.sweep)
        if self._sweep is None or self._repair_due:
            self._repair(store)
        errors: list[Exception] = []
        for step in self._due(store, lasting, now):
            try:
                step()
            except Exception as error:  # one trial that cannot be written must not hold up the others
                errors.append(error)
                if len(errors) == _ENOUGH:
                    break
        if errors:
            raise errors[0]

    def _due(self, store: Store, lasting: Sequence[_Live], now: float) -> Iterator[Callable[[], None]]:
        """The steps to take, in order."""
        if store.writes_whole:
            known = {*self._runs, *self._apart}
            new = deque(record for record in self._owed.values() if record.id not in known)
            while new:
                yield partial(self._write_together, store, new)
        for record in list(self._owed.values()):
            yield partial(self._write, store, record)
        for live in lasting:
            live.due = now + self._pace
            yield partial(self._follow, store, live)
        if self._answer is not None:
            yield partial(self._publish, store, *self._answer)
        if self._closing:
            yield partial(self._end_all, store)

    @property
    def owed(self) -> int:
        """Trials that have ended and are not written yet; may be asked from any thread."""
        return len(self._owed) + len(self._told)

    def lacking(self) -> str:
        """In words what is still due; empty when all is written."""
        owed = self.owed
        parts = [f"{owed} trial{'s' if owed > 1 else ''}"] if owed else []
        if self._answer is not None:
            parts.append("the answer")
        if self._closing and not self._closed and self._store is not None:
            parts.append("the end of what was under way")
        return " and ".join(parts)

    def links(self) -> Links:
        """Links to what has been written so far."""
        best = [record for record in top(list(self._results.values()), self._question.goal) if record.id in self._runs]
        return links(
            self._place,
            experiment=self._store.experiment if self._store else None,
            sweep_run=self._sweep.run if self._sweep else None,
            compared=[self._runs[record.id].run for record in best],
            view=KEY,
        )

    @property
    def artifacts_elsewhere(self) -> str | None:
        """Where the store would have files put, when that is not beside it; they are then not attached."""
        return self._store.artifacts_elsewhere if self._store else None

    def _repair(self, store: Store) -> None:
        """One run a trial and none under way that is not: what an earlier process left is put right."""
        mine: dict[str, list[Found]] = {}
        sweeps: list[Found] = []
        for found in store.runs():
            if "regatta.kind" not in found.tags:
                continue  # a person's own
            if found.tags.get("regatta.created", "") != created(self._question):
                # An earlier sweep of this name. On a server it may be someone else's, and under way.
                if found.status == "RUNNING" and self._place.database is not None:
                    store.end(found, "KILLED")
            elif found.tags["regatta.kind"] == "sweep":
                sweeps.append(found)
            else:
                mine.setdefault(found.tags.get("regatta.id", ""), []).append(found)
        self._runs = {record_id: self._keep_one(store, several) for record_id, several in mine.items()}
        for record_id, found in self._runs.items():
            if found.status == "RUNNING" and record_id not in self._live and record_id not in self._told:
                store.end(found, "KILLED")
        self._open_sweep(store, sweeps)
        for record_id, record in self._told.items():
            if not self._written(record):
                self._owed.setdefault(record_id, record)
        self._told = {}
        self._repair_due = False

    def _keep_one(self, store: Store, several: Sequence[Found]) -> Found:
        *extra, kept = sorted(several, key=lambda found: (found.closed, found.ended or 0))
        for found in extra:
            store.delete(found)
        return kept

    def _written(self, record: TrialRecord) -> bool:
        """True when the record's run is complete, and of this attempt."""
        found = self._runs.get(record.id)
        if found is None or not found.closed or found.tags.get("regatta.status") != record.status.value:
            return False
        return record.ended is None or found.ended == milliseconds(record.ended)

    def _write(self, store: Store, record: TrialRecord) -> None:
        """An ended trial's run, whole; one that is there already is completed, one of an earlier attempt makes way."""
        # Moved to the end before it is tried: the next round begins with the others.
        self._owed[record.id] = self._owed.pop(record.id)
        if not self._written(record):
            self._complete(store, record)
        del self._owed[record.id]

    def _write_together(self, store: Store, new: deque[TrialRecord]) -> None:
        """Ended trials that have no run yet, in one transaction; where that fails each is written by itself from then on."""
        taken: list[TrialRecord] = []
        try:
            whole: list[Whole] = []
            while new and len(whole) < _TOGETHER and sum(len(run.metrics) for run in whole) < _POINTS:
                taken.append(new.popleft())
                whole.append(self._whole(taken[-1]))
            runs = store.write(whole, self._data)
        except Exception:
            for record in taken:
                self._apart.add(record.id)
                self._tails.pop(record.id, None)  # nothing of it was taken
            self._repair_due = True  # a server may have written them, and gone before it said so
            raise
        for record, found in zip(taken, runs, strict=True):
            self._runs[record.id] = found
            self._stale.discard(record.id)
            self._tails.pop(record.id, None)
            del self._owed[record.id]

    def _whole(self, record: TrialRecord) -> Whole:
        return Whole(
            name=self._naming.run_name(record),
            tags=self._naming.tags(record),
            params=self._naming.params(record),
            metrics=self._metrics(record),
            status=mlflow_status(record.status),
            started=milliseconds(record.started),
            ended=milliseconds(record.ended),
        )

    def _complete(self, store: Store, record: TrialRecord) -> None:
        found = self._runs.get(record.id)
        if found is not None and (found.closed or record.id in self._stale):
            store.delete(found)
            del self._runs[record.id]
            self._tails.pop(record.id, None)  # the new run gets all of its steps
            found = None
        found = found or self._create(store, record)
        self._stale.discard(record.id)
        tags = self._naming.tags(record)
        changed = {name: value for name, value in tags.items() if found.tags.get(name) != value}
        metrics = self._metrics(record, after=self._epoch(store, found))
        store.log(found, metrics=metrics, params=self._missing_params(found, record), tags=changed)
        self._tails.pop(record.id, None)
        if self._data is not None:
            store.name_data(found, self._data)
        ended = milliseconds(record.ended)
        store.end(found, mlflow_status(record.status), ended=ended)

    def _follow(self, store: Store, live: _Live) -> None:
        """A trial that is under way: its run, and the epochs since the last time."""
        found = self._runs.get(live.record.id)
        if found is not None and found.closed:  # of an attempt before this one
            store.delete(found)
            del self._runs[live.record.id]
            self._tails.pop(live.record.id, None)  # the new run gets all of its steps
            found = None
        found = found or self._create(store, live.record)
        if found.status != "RUNNING":
            store.go_on(found)
        metrics = rows(live.record, live.rows, after=self._epoch(store, found)) + self._steps(live.record)
        params = self._missing_params(found, live.record)
        if metrics or params:
            store.log(found, metrics=metrics, params=params)
        if live.record.id in self._tails:
            self._tails[live.record.id].taken()
        found.epoch = max([self._epoch(store, found), *(int(row["epoch"]) for row in live.rows)])

    def _metrics(self, record: TrialRecord, *, after: int = 0) -> list[Metric]:
        """All of an ended trial's that are past an epoch."""
        # The goal's test value first: the page that compares runs shows the first metric that was written.
        return once(record, self._question.goal) + rows(record, record.history, after=after) + self._steps(record)

    def _steps(self, record: TrialRecord) -> list[Metric]:
        """What a trial has noted within its epochs since it was last written; repeating it changes nothing."""
        if self._folder is None:
            return []
        path = by_step.place(self._folder, record.id)
        if record.id not in self._tails and not path.exists():
            return []
        return steps(self._tails.setdefault(record.id, by_step.Tail(path)).due())

    def _create(self, store: Store, record: TrialRecord) -> Found:
        name, tags = self._naming.run_name(record), self._naming.tags(record)
        found = self._runs[record.id] = store.create(name, tags, started=milliseconds(record.started))
        return found

    def _epoch(self, store: Store, found: Found) -> int:
        if found.epoch is None:
            found.epoch = store.last_epoch(found)
        return found.epoch

    def _missing_params(self, found: Found, record: TrialRecord) -> dict[str, str]:
        return {name: value for name, value in self._naming.params(record).items() if name not in found.params}

    def _open_sweep(self, store: Store, sweeps: Sequence[Found]) -> None:
        """The sweep's own run, under way: the one that is there if it asks the same, else a new one (parameters are for ever)."""
        params = sweep_params(self._question)
        same = [found for found in sweeps if dict(found.params) == params]
        for found in sweeps:
            if found not in same[-1:]:
                store.delete(found)
        if same:
            sweep = same[-1]
            if sweep.status != "RUNNING":
                store.go_on(sweep)
        else:
            began = self._question.raw.get("created")
            when = milliseconds(began) if isinstance(began, int | float) else 0
            sweep = store.create(f"sweep: {self._question.sweep}", sweep_tags(self._question), started=when)
            store.log(sweep, params=params)
        if self._data is not None:
            store.name_data(sweep, self._data)
        store.tag_experiment({TAG: view(self._naming)})
        self._sweep = sweep

    def _publish(self, store: Store, folder: Path, verdict: Verdict) -> None:
        assert self._sweep is not None
        text = note(self._question, verdict, page=run_page(store.experiment, self._sweep.run, "/artifacts"))
        tags = {"mlflow.note.content": text, "regatta.answer": verdict.answer, "regatta.method": verdict.method}
        store.log(self._sweep, tags=tags)
        store.tag_experiment({"mlflow.note.content": text})
        files = [folder / name for name in _ATTACHED if (folder / name).exists()]
        if store.artifacts_elsewhere is None:
            store.attach(self._sweep, files)
        self._answered, self._answer = True, None

    def _end_all(self, store: Store) -> None:
        """What is still under way was interrupted: its epochs are kept, its run is ended."""
        for record_id in list(self._live):
            found = self._runs.get(record_id)
            if found is not None and found.status == "RUNNING":
                self._follow(store, self._live[record_id])
                store.end(found, "KILLED")
            del self._live[record_id]
        if self._sweep is not None and self._sweep.status == "RUNNING":
            store.end(self._sweep, "FINISHED" if self._answered else "KILLED")
        self._closed = True


Event = Callable[[Writer], None]
"""Something that happened, to be told to the writer on its own thread."""
