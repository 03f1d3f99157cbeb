"""The page's tables of single trials: all of them, those that failed, and those under way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from analysis import units
from analysis.ledger import Goal
from analysis.records import Stage, Status, TrialRecord
from reports.labels import Labels
from reports.palette import swatch
from reports.reduce import score
from reports.space import brief


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """A cell that sorts by ``key`` (a number as text, or words) and shows ``text``."""

    text: str
    key: str
    numeric: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialRow:
    """One trial: its id, how it went, and its cells in the order of the head."""

    id: str
    label: str
    swatch: str
    stage: str
    status: str
    reason: str
    error: str
    cells: Sequence[Cell]


def head(records: Sequence[TrialRecord], goal: Goal) -> list[tuple[str, str]]:
    """(short name, full name) of the columns of ``TrialRow.cells``."""
    points = [(units.name(path), path) for path in point_paths(records)]
    metric = goal.metric
    fixed = [("validation", f"val/{metric} at the chosen epoch"), ("test", f"test/{metric} at the chosen epoch")]
    costs = [
        ("time", "seconds of training and validation"),
        ("memory", "peak bytes: of the device on a GPU, else of the process; the most that one worker held"),
    ]
    if _energy(records):
        costs.append(("energy", "joules by the counters of all devices, in training and validation"))
    return [("seed", "seed"), *points, *fixed, ("epochs", "epochs trained"), *costs]


def point_paths(records: Sequence[TrialRecord]) -> list[str]:
    """The paths of the points that are not levels, in the order in which they first come."""
    paths: dict[str, None] = {}
    for record in records:
        paths.update({path: None for path in record.point if path not in record.level})
    return list(paths)


def rows(records: Sequence[TrialRecord], goal: Goal, labels: Labels) -> list[TrialRow]:
    """A row for each trial, in the order of the ledger."""
    paths = point_paths(records)
    energy = _energy(records)
    return [_row(record, paths, goal, labels, energy=energy) for record in records]


def lost(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """The trials that diverged, failed or ran out of memory."""
    return [record for record in records if record.status.lost or record.status is Status.DIVERGED]


def _energy(records: Sequence[TrialRecord]) -> bool:
    """Whether the energy of any of them is known."""
    return any(record.cost.joules is not None for record in records)


def _row(record: TrialRecord, paths: Sequence[str], goal: Goal, labels: Labels, *, energy: bool) -> TrialRow:
    metric = goal.metric
    # A heat is chosen on validation; its test value would only invite choosing again.
    test = record.metrics.get(f"test/{metric}") if record.stage is Stage.FINAL else None
    label = labels.label(record.level)
    cells = [_number(record.seed, str(record.seed))]
    for path in paths:
        value = record.point.get(path)
        if isinstance(value, int | float) and not isinstance(value, bool):
            cells.append(_number(value, brief(value)))
        else:
            text = "–" if value is None else brief(value)
            cells.append(Cell(text=text, key=text, numeric=False))
    validation = score(record, goal)
    cells.append(_number(validation, units.value(validation, metric)))
    cells.append(_number(test, units.value(test, metric)))
    cells.append(_number(record.epochs, str(record.epochs)))
    cells.append(_seconds(record))
    cells.append(_number(record.cost.peak_bytes, units.size(record.cost.peak_bytes)))
    if energy:
        cells.append(_number(record.cost.joules, units.energy(record.cost.joules)))
    return TrialRow(
        id=record.id,
        label=label,
        swatch=swatch(labels.place(label)),
        stage=record.stage.value,
        status=record.status.value.replace("_", " "),
        reason=record.reason or "",
        error=record.error or "",
        cells=cells,
    )


def _seconds(record: TrialRecord) -> Cell:
    """A trial's own seconds; of one that was trained in a pack, among how many they are shared."""
    shared = record.shared
    return _number(record.cost.seconds, units.seconds(record.cost.seconds) if shared is None else f"shared by {shared}")


def _number(value: float | None, text: str) -> Cell:
    return Cell(text=text, key="" if value is None else repr(value))
