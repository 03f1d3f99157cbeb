"""A sweep as TensorBoard shows it: a run a trial, by epoch and by step, and the table of its HParams tab.

python -m analysis.tensorboard runs/batch_size
tensorboard --logdir runs/batch_size/tensorboard

Written from the folder alone, so nothing of it is needed while the sweep runs; ``Board`` follows one that does. To look at it
install TensorBoard: ``pip install -e '.[tensorboard]'``. The table of settings has a row for each point: a level's finals, which
differ by their seeds alone, are one row with their mean.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path

from analysis import tensorboard_events as events
from analysis import tracking_runs
from analysis.arguments import WRONG, Parser
from analysis.ledger import FolderError, Question, read_ledger, read_question
from analysis.records import Row, Scalar, Stage, Status, TrialRecord
from analysis.steps import Tail, place, read
from analysis.tracking_runs import Metric, Naming, level_text

FOLDER = "tensorboard"
"""Where in a sweep's folder they are put."""

_WIDEST = 80


def write(folder: Path, out: Path | None = None) -> tuple[Path, int]:
    """Write all trials of a sweep's folder that have been started; where they are, and how many, come back.

    What lay there of the same trials is replaced, file by file. Raises FolderError for a folder that holds no sweep, OSError where
    nothing can be written.
    """
    question, records = read_question(folder), read_ledger(folder)
    if not records:
        raise FolderError(
            f"{folder} holds no trial yet; run the sweep first: {question.raw.get('command') or 'its file'}"
        )
    out = out or folder / FOLDER
    naming = Naming.of(question)
    for record in records:
        _replace(out / file_of(record), _told(naming, record, read(place(folder, record.id))))
    _summarise(out, question, records)
    return out, len(records)


def file_of(record: TrialRecord) -> Path:
    """A trial's file: ``heats/64-t017/events…`` or ``finals/64-s3/events…``; the folder is the run's name in TensorBoard."""
    which = (
        f"s{record.seed}"
        if record.stage is Stage.FINAL
        else f"t{record.number:03d}"
        if record.number is not None
        else ""
    )
    text = "-".join(filter(None, (level_text(record.level), which))) or record.id
    name = re.sub(r"[^\w.,=+()\- ]", "_", text).strip(". ")[:_WIDEST]
    if name != text:
        # Two that differ in what was left out stay two.
        name += f"-{hashlib.sha256(text.encode()).hexdigest()[:4]}"
    return Path(f"{record.stage.value}s") / name / f"events.out.tfevents.{record.id}"


@dataclass(slots=True)
class _UnderWay:
    """A trial that is followed: what it notes by step, and the last epoch that it has told."""

    record: TrialRecord
    tail: Tail
    row: Row | None = None


class Board:
    """Follows a sweep and keeps its event files up to date; they are the ones that ``write`` makes.

    An error while writing never reaches the sweep: it is told once through ``warn``, and ``write`` makes good for it later.
    """

    def __init__(self, folder: Path, question: Question, *, warn: Callable[[str], None] | None = None) -> None:
        self._folder, self._out, self._question = folder, folder / FOLDER, question
        self._naming = Naming.of(question)
        self._warn = warn or (lambda text: print(text, file=sys.stderr, flush=True))
        self._under_way: dict[str, _UnderWay] = {}
        self._failed = False

    def sync(self, records: Sequence[TrialRecord]) -> None:
        """Write what an earlier command has finished and has no file."""
        for record in records:
            if record.status is not Status.RUNNING and not self._there(record):
                self._try(partial(self._finish, record))

    def started(self, record: TrialRecord) -> None:
        """A trial starts, or goes on: its epochs before are told again, so its file begins anew."""
        self._under_way[record.id] = _UnderWay(record, Tail(place(self._folder, record.id)))
        self._try(partial(_replace, self._out / file_of(record), _first(self._naming, record)))

    def reported(self, record_id: str, row: Row) -> None:
        """An epoch of it has ended."""
        if record_id in self._under_way:
            self._try(partial(self._follow, self._under_way[record_id], row))

    def ended(self, record: TrialRecord) -> None:
        """It has ended, one way or the other."""
        under_way = self._under_way.pop(record.id, None)
        if under_way is None:
            self._try(partial(self._finish, record))
            return
        # Added, not written anew: whoever looks at it has the file open.
        told = [*_points(tracking_runs.steps(under_way.tail.due())), *_last(self._naming, record)]
        self._try(partial(_append, self._out / file_of(record), told))

    def close(self) -> None:
        """Write the table of settings; its columns are known only now."""
        self._try(self._settle)

    def _follow(self, under_way: _UnderWay, row: Row) -> None:
        record, before = under_way.record, under_way.row
        rows, after = ([before, row], int(before["epoch"])) if before is not None else ([row], 0)
        told = tracking_runs.rows(record, rows, after=after) + tracking_runs.steps(under_way.tail.due())
        under_way.row = row
        _append(self._out / file_of(record), list(_points(told)))
        under_way.tail.taken()

    def _finish(self, record: TrialRecord) -> None:
        _replace(self._out / file_of(record), _told(self._naming, record, read(place(self._folder, record.id))))

    def _settle(self) -> None:
        _summarise(self._out, self._question, read_ledger(self._folder))

    def _there(self, record: TrialRecord) -> bool:
        """True when the file is from after the trial's end, not one of a process that was killed before."""
        try:
            return (self._out / file_of(record)).stat().st_mtime >= (record.ended or 0.0)
        except OSError:
            return False

    def _try(self, action: Callable[[], None]) -> None:
        if self._failed:
            return
        try:
            action()
        except OSError as error:
            self._failed = True
            self._warn(
                f"{self._out} cannot be written ({error.strerror or error}); the sweep goes on without event files: "
                f"python -m analysis.tensorboard {self._folder} writes them later"
            )


def _first(naming: Naming, record: TrialRecord) -> Iterator[bytes]:
    """What a trial's file begins with: its settings."""
    when = record.started or 0.0
    yield events.head(when)
    yield events.session_start(_settings(naming, record), group=_group(record), when=when)


def _told(naming: Naming, record: TrialRecord, steps: Sequence[Row]) -> Iterator[bytes]:
    """A whole trial."""
    yield from _first(naming, record)
    yield from _points(tracking_runs.rows(record, record.history))
    yield from _points(tracking_runs.steps(steps))
    if record.status is not Status.RUNNING:
        yield from _last(naming, record)


def _last(naming: Naming, record: TrialRecord) -> Iterator[bytes]:
    """What it ends with: its results."""
    yield from _points(tracking_runs.once(record, naming.question.goal))
    status = events.FAILURE if record.status.lost else events.SUCCESS
    yield events.session_end(status, when=record.ended or record.started or 0.0)


def _append(path: Path, told: Sequence[bytes]) -> None:
    with path.open("ab", buffering=0) as file:
        file.write(events.whole(told))


def _points(metrics: Sequence[Metric]) -> Iterator[bytes]:
    """An event for each step, with all that was measured there."""
    for (step, when), group in groupby(metrics, key=lambda metric: (metric[3], metric[2])):
        yield events.scalars({_tag(name): value for name, value, *_ in group}, step=step, when=when / 1000)


def _tag(name: str) -> str:
    """A metric's name in TensorBoard, which lists groups by the alphabet: curves first, then what is one number a trial."""
    group, _, rest = name.partition("/")
    return {"perf": f"used/{rest}", "best": f"whole/best_{rest}", "cost": f"whole/{rest}"}.get(group, name)


def _settings(naming: Naming, record: TrialRecord) -> dict[str, Scalar]:
    return {"stage": record.stage.value, **{naming.key(path): value for path, value in record.point.items()}}


def _group(record: TrialRecord) -> str:
    """The row of the table that a trial is in, by name: a heat has one of its own, finals of one point share theirs."""
    if record.stage is not Stage.FINAL:
        return file_of(record).parent.name
    text = json.dumps(dict(record.point), sort_keys=True, default=str)
    return f"{level_text(record.level)} finals {hashlib.sha256(text.encode()).hexdigest()[:4]}".strip()


def _summarise(out: Path, question: Question, records: Sequence[TrialRecord]) -> None:
    """The table of settings: what its columns are."""
    naming, metric = Naming.of(question), question.goal.metric
    created = question.raw.get("created")
    when = float(created) if isinstance(created, int | float) else 0.0
    shown = {
        _tag(f"best/test_{metric}"): f"test {metric}",
        _tag(f"best/val_{metric}"): f"validation {metric}",
        _tag("cost/seconds"): "training seconds",
    }
    points = [_settings(naming, record) for record in records]
    told = events.experiment(points, shown, name=question.sweep, created=when)
    _replace(out / f"events.out.tfevents.{int(when)}.settings", iter([events.head(when), told]))


def _replace(path: Path, told: Iterator[bytes]) -> None:
    """Write a file whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(".part")  # TensorBoard would read a name with tfevents in it
    temporary.write_bytes(events.whole(told))
    temporary.replace(path)  # a reader meets the old file or the new one


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the event files of a sweep's folder and say how to look at them; 2 when that cannot be done."""
    parser = Parser(
        prog="python -m analysis.tensorboard", description="Write a sweep's folder as TensorBoard event files."
    )
    parser.add_argument("folder", type=Path, metavar="RUN_FOLDER", help="a sweep's folder, such as runs/batch_size")
    parser.add_argument("out", type=Path, nargs="?", metavar="OUT", help="where to (default: tensorboard/ inside it)")
    given = parser.parse_args(arguments)
    try:
        out, trials = write(given.folder, given.out)
    except FolderError as error:
        print(f"error: {error}", file=sys.stderr)
        return WRONG
    except OSError as error:
        print(
            f"error: {error.filename or given.out or given.folder}: {error.strerror or error}; name another place, such as "
            f"python -m analysis.tensorboard {given.folder} /tmp/board",
            file=sys.stderr,
        )
        return WRONG
    print(f"{trials} trials in {out}\ntensorboard --logdir {shlex.quote(str(out))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
