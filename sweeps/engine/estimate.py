"""About how long a sweep will take, before it is run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from analysis.records import Stage, TrialRecord
from sweeps.engine.job import key
from sweeps.engine.lanes.choice import lane_of
from sweeps.engine.rehearsal import load
from sweeps.engine.search import PBT
from sweeps.engine.spec import Sweep
from trainables import Plan
from trainables.data.source import count
from trainables.describe import Scalar

START_SECONDS = 15.0
"""Starting Ray, its workers and the libraries in them, and writing the report: 10 to 20 s on two cores."""

TRIAL_SECONDS = {"local": 0.05, "solo": 0.15, "fused": 0.03, "crew": 0.5, "gang": 12.0}
"""Handing over a trial, loading its data, building its model; a gang also starts its workers, 8 to 20 s on two cores."""

ONE_WORKER = ("solo", "fused")
"""The lanes between which trials of one worker are dealt out: some of a sweep are trained alone, others in packs."""

GROUP_SECONDS = 17.0
"""Starting a crew's group of workers: 15 to 20 s on two cores. Trials of fewer workers run in the same group."""

STEP_SECONDS = 1e-3
"""A step of a small network on one thread, where nothing has been measured: 0.4 to 2 ms."""

PACKED = 0.2
"""Of that a step in a pack: 0.1 for a network of 5 k parameters, 0.5 for one of 100 k."""

HEAT_SHARE = 0.6
"""Share of the epochs that heats use under early stopping: 0.5 to 0.7 with a reduction factor of 3."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """Wall seconds for what is still to be run; ``measured`` says whether trials of this sweep stand behind it."""

    seconds: float
    measured: bool


def estimate(sweep: Sweep, known: Iterable[TrialRecord], *, concurrency: int, packed: bool = False) -> Estimate:
    """From the steps that the plan asks for, and from what a step of each level took where the ledger knows.

    ``packed`` says that trials which can go into packs do. Loads the data only when the task does not say how many training samples
    it has.
    """
    records, samples = list(known), samples_of(sweep)
    lane, paces = lane_of(sweep), _paces(records, threads=sweep.resources.cpus)
    start = START_SECONDS + (GROUP_SECONDS if lane == "crew" else 0.0)
    total = 0.0
    for level in sweep.levels():
        heats, finals = _left(sweep, level, records)
        in_packs = _in_packs(sweep, level) if packed else {}
        for stage, trials, share in ((Stage.HEAT, heats, heat_share(sweep, level)), (Stage.FINAL, finals, 1.0)):
            guess = STEP_SECONDS * (1 - (1 - PACKED) * in_packs.get(stage, 0.0))
            step = _nearest(paces, stage, level) or guess
            usual = _usual_lane(records, stage) if lane in ONE_WORKER else None
            total += trials * (TRIAL_SECONDS[usual or lane] + share * steps(sweep, level, samples) * step)
    return Estimate(seconds=start + total / concurrency, measured=bool(paces))


def _in_packs(sweep: Sweep, level: Mapping[str, Scalar]) -> dict[Stage, float]:
    """The share of trials that go into packs: no heats that a search learns from, nor finals that are timed."""
    return {
        Stage.HEAT: 0.0 if sweep.learns(level) else 1.0,
        Stage.FINAL: 1 - min(sweep.timed_finals, sweep.seeds) / sweep.seeds,
    }


def heat_epochs(sweep: Sweep, level: Mapping[str, Scalar]) -> int:
    """Epochs of a heat that is not stopped: of the longest segment where a population is bred, else all."""
    search = sweep.search_of(level)
    if not isinstance(search, PBT):
        return sweep.recipe.epochs
    return max(end - start for start, end in pairwise([0, *search.ends(sweep.recipe.epochs)]))


def _left(sweep: Sweep, level: Mapping[str, Scalar], records: Iterable[TrialRecord]) -> tuple[int, int]:
    """Heats and finals of a level that are still to be run."""
    settled = [record.stage for record in records if record.status.settled and dict(record.level) == dict(level)]
    return max(0, sweep.heats(level) - settled.count(Stage.HEAT)), max(0, sweep.seeds - settled.count(Stage.FINAL))


def samples_of(sweep: Sweep) -> int:
    """Training samples, as the task says; loads the data where it does not."""
    return sweep.task.samples or count(load(sweep).train)


def steps(sweep: Sweep, level: Mapping[str, Scalar], samples: int) -> int:
    """Steps of a trial that is not stopped."""
    return Plan.of(sweep.corner(level, 0), samples, sweep.workers(level)).steps


def heat_share(sweep: Sweep, level: Mapping[str, Scalar]) -> float:
    """The share of these steps that a heat takes, in the mean."""
    return heat_epochs(sweep, level) / sweep.recipe.epochs * (HEAT_SHARE if sweep.early_stop is not None else 1.0)


def _paces(records: Iterable[TrialRecord], *, threads: int) -> dict[tuple[Stage, str], float]:
    """Seconds a step by stage and level, of the trials that tell theirs.

    Heats and finals are apart, since one may be trained in packs and the other alone. Members of a pack have no seconds of their
    own, but a share of the CPU time, which is spent by that many ``threads`` at once.
    """
    found: dict[tuple[Stage, str], list[float]] = {}
    for record in records:
        seconds = record.cost.seconds
        if seconds is None and any("shared" in row for row in record.history):
            seconds = (record.cost.cpu_seconds or 0.0) / threads
        if seconds and record.steps:
            found.setdefault((record.stage, key(record.level)), []).append(seconds / record.steps)
    return {place: median(values) for place, values in found.items()}


def _nearest(paces: Mapping[tuple[Stage, str], float], stage: Stage, level: Mapping[str, Scalar]) -> float | None:
    """The pace of this stage and level; else of the level, of the stage, of any; None where there is none."""
    own = key(level)
    alike: tuple[Callable[[Stage, str], bool], ...] = (
        lambda there, name: (there, name) == (stage, own),
        lambda _, name: name == own,
        lambda there, _: there == stage,
        lambda *_: True,
    )
    for fits in alike:
        values = [pace for place, pace in paces.items() if fits(*place)]
        if values:
            return median(values)
    return None


def _usual_lane(records: Iterable[TrialRecord], stage: Stage) -> str | None:
    """Which of the lanes in which one worker trains was that of most trials of a stage; None where none was."""
    lanes = Counter(record.lane for record in records if record.stage is stage and record.lane in ONE_WORKER)
    return lanes.most_common(1)[0][0] if lanes else None
