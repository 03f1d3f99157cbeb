"""From a sweep's file to its answer: options, checks, the race, the page."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeps import options as command_line
from sweeps.engine import cluster, job, ledger, nodes, question, rehearsal
from sweeps.engine.drive import drive, finished
from sweeps.engine.edges import edges
from sweeps.engine.errors import QuestionError
from sweeps.engine.estimate import estimate
from sweeps.engine.lanes import solo
from sweeps.engine.lanes.choice import lane_of
from sweeps.engine.machine import Machine, one_root
from sweeps.engine.race import Follower
from sweeps.engine.spec import Sweep
from sweeps.engine.watchdog import StalledError, Watchdog
from trainables import ConflictError

if TYPE_CHECKING:
    from analysis.records import TrialRecord
    from analysis.tracking import Tracker

ANSWERED, WITH_LOSSES, WRONG, INTERRUPTED = 0, 1, 2, 3
"""Exit statuses; every sweep's ``--help`` says what they mean."""


def main(sweep: Sweep, argv: Sequence[str] | None = None) -> None:
    """Run a sweep from its command line, print the answer, and exit with the status that ``--help`` explains."""
    script = sys.modules["__main__"]
    options = command_line.read(
        sys.argv[1:] if argv is None else argv, program=Path(sys.argv[0]).name, description=script.__doc__
    )
    try:
        _heed_sigterm()
        status = _answer(options.question(sweep), options)
    except (QuestionError, ConflictError) as error:
        print(f"error: {error}", file=sys.stderr)
        status = WRONG
    except (OSError, StalledError) as error:
        print(f"error: {error}\nWhat is done is kept; run the same command to go on:\n  {_command()}", file=sys.stderr)
        status = INTERRUPTED
    except Exception:
        # A fault of ours: its traceback is of use, and what is on disk is whole.
        traceback.print_exc()
        print(f"\nWhat is done is kept; run the same command to go on:\n  {_command()}", file=sys.stderr)
        status = INTERRUPTED
    except KeyboardInterrupt:
        print(f"\nInterrupted. Nothing is lost; run the same command to go on:\n  {_command()}", file=sys.stderr)
        status = INTERRUPTED
    sys.stdout.flush()
    sys.exit(status)


def _answer(sweep: Sweep, options: command_line.Options) -> int:
    """Check everything, run what is missing, write and say the answer; the exit status comes back."""
    from analysis.ledger import FolderError, read_ledger
    from analysis.tracking import TrackingError, check

    foreign = one_root()
    if foreign is not None:
        raise QuestionError(foreign)
    sweep.check()
    folder = options.runs / sweep.name
    try:
        if not options.fresh:
            sweep = question.extended(sweep, question.match(folder, sweep), read_ledger(folder))
        _show_plan(sweep, folder, [] if options.fresh else read_ledger(folder))
        if options.dry_run:
            return ANSWERED
        uri = _tracking_uri(options)
        _say("Trying a first step of each model …")
        check(uri)
        rehearsal.rehearse(sweep)
        if options.fresh:
            _move_aside(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise QuestionError(f"{folder} cannot be made: {error.strerror}; name another place by --runs") from error
        with ledger.claimed(folder):
            return _race(sweep, folder, uri)
    except (FolderError, TrackingError) as error:
        raise QuestionError(str(error)) from error


def _race(sweep: Sweep, folder: Path, uri: str) -> int:
    """Everything that starts processes and writes results."""
    from analysis.ledger import read_ledger, read_question
    from analysis.tracking import Tracker
    from reports.console import LiveTable

    known = read_ledger(folder)
    lane = lane_of(sweep)
    done = finished(sweep, known)
    resources, concurrency, gpus = sweep.resources, 1, []
    if lane != "local" and not done:
        _say("Starting Ray …")
        resources, fit = solo.start(replace(sweep.resources, workers=sweep.most_workers))
        if fit.note:
            _say(fit.note)
        resources = replace(resources, workers=sweep.resources.workers)
        concurrency = 1 if sweep.compares_workers else fit.concurrency  # or seconds could not be compared
        _heed_sigterm()  # Ray has put a handler of its own there
        nodes.agree(folder, question.files(sweep))
        gpus = cluster.gpus(cluster.here()) if resources.gpus else []
    sweep = replace(sweep, resources=resources)
    machine = Machine.here(_script(), gpus)
    stored = question.read(folder) or {}
    if known and stored.get("source") != machine.source:
        _say("The code has changed since the trials that are there; they are kept. Add --fresh to measure them anew.")
    course = {"lane": lane, "concurrency": concurrency, "threads": resources.cpus}
    # Where nothing is run, what the folder says of the run that was stays true.
    kept = ("source", "versions", "hardware", *course) if done else ()
    question.store(
        folder,
        question.described(sweep, machine)
        | course
        | question.looks(sweep, stored, answered=(folder / "verdict.json").exists())
        | {"command": _command(), "tracking": stored.get("tracking"), "created": stored.get("created") or time.time()}
        | {name: stored[name] for name in kept if name in stored},
    )
    tracker = Tracker(uri=uri, question=read_question(folder))
    try:
        tracker.sync(known)
        if not done:
            table = LiveTable(
                levels=_labels(sweep),
                heats_per_level=sweep.trials,
                seeds=sweep.seeds,
                epochs=sweep.recipe.epochs,
                metric=sweep.task.goal.metric,
                mode=sweep.task.goal.mode,
            )
            with table, _watched(lane, table.note) as watchdogs:
                table.already(known)
                followers: list[Follower] = [table, tracker, *watchdogs]
                drive(sweep, folder, lane=lane, concurrency=concurrency, machine=machine, followers=followers)
        return _conclude(sweep, folder, tracker)
    finally:
        tracker.close()
        if lane != "local" and not done:
            solo.stop()


@contextmanager
def _watched(lane: str, say: Callable[[str], None]) -> Iterator[list[Watchdog]]:
    """A watchdog over a lane that Ray runs; none over the others, which cannot wait for anything."""
    if lane == "local":
        yield []
        return
    answers = partial(cluster.answers, cluster.address())
    with Watchdog(lane=lane, say=say, look=cluster.scene, answers=answers, growth=cluster.could()) as watchdog:
        yield [watchdog]


def _conclude(sweep: Sweep, folder: Path, tracker: Tracker) -> int:
    """Judge, write page and tables, and say the answer; the exit status comes back."""
    from analysis.judge import judge
    from analysis.ledger import read_ledger, read_question
    from analysis.tables import write_tables
    from reports import console, page

    _say("Writing tables, page and MLflow …")
    records = read_ledger(folder)
    write_tables(folder, records)
    links = tracker.links()
    question.store(folder, (question.read(folder) or {}) | {"tracking": links.to_json()})
    report = page.write(folder)
    verdict = judge(read_question(folder), records)
    links = tracker.finish(folder, verdict)
    console.answer(verdict, report=report, links=links)
    for line in [*_short_searches(sweep, records), *edges(sweep, records), *_failures(records)]:
        _say(line)
    return WITH_LOSSES if _losses(sweep, records) else ANSWERED


def _short_searches(sweep: Sweep, records: Sequence[TrialRecord]) -> list[str]:
    """Whether the budget closed the search early."""
    heats = Counter(job.key(record.level) for record in records if record.stage == "heat")
    fewest, most = min(heats.values(), default=0), max(heats.values(), default=0)
    if sweep.budget_seconds is None or fewest >= sweep.trials:
        return []
    return [
        f"The budget closed the search at {fewest} to {most} of {sweep.trials} heats a level; without it the rest is run."
    ]


def _failures(records: Sequence[TrialRecord]) -> list[str]:
    """What failed and why, the most frequent reasons first."""
    reasons = Counter(record.reason or record.status.value for record in records if record.status.lost)
    lines = [f"{count} trial{'s' if count > 1 else ''} failed: {reason}" for reason, count in reasons.most_common(3)]
    more = len(reasons) - 3
    return lines + ([f"… and {more} other reasons; the page has them all"] if more > 0 else [])


def _losses(sweep: Sweep, records: Sequence[TrialRecord]) -> bool:
    """True when a trial failed, or a final that was planned is not there."""
    if any(record.status.lost for record in records):
        return True
    for level in sweep.levels():
        own = [record for record in records if dict(record.level) == level and record.status.settled]
        finals = {record.seed for record in own if record.stage == "final"}
        # A level whose heats all diverged has no point to send to the finals, and that is its answer.
        hopeless = bool(own) and all(record.status == "diverged" for record in own)
        if len(finals) < sweep.seeds and not hopeless:
            return True
    return False


def _show_plan(sweep: Sweep, folder: Path, known: Sequence[TrialRecord]) -> None:
    """What will be run and about how long; what is there already is said."""
    from analysis import units
    from reports import console

    goal = sweep.task.goal
    one = sweep.lane == "local" or sweep.compares_workers
    concurrency = 1 if one else max(1, len(os.sched_getaffinity(0)) // (sweep.resources.cpus * sweep.most_workers))
    left = estimate(sweep, known, concurrency=concurrency)
    reach = f", {units.target(goal.target, goal.metric)} counts as reached" if goal.target is not None else ""
    console.plan(
        sweep=f"{sweep.name} in {folder}",
        task=sweep.task.name,
        goal=f"{'highest' if goal.mode == 'max' else 'lowest'} {goal.metric}{reach}",
        levels=_labels(sweep),
        heats_per_level=sweep.trials,
        seeds=sweep.seeds,
        epochs=sweep.recipe.epochs,
        concurrency=concurrency,
        seconds=left.seconds,
        measured=left.measured,
        differences=[(entry["path"], entry["value"]) for entry in question.differences(sweep)],
        done=sum(record.status.settled for record in known),
    )


def _labels(sweep: Sweep) -> list[str]:
    """The levels as tables name them."""
    from analysis import units

    return [units.level(level, sweep.name) for level in sweep.levels()]


def _say(text: str) -> None:
    """A line about something that takes seconds."""
    print(text, flush=True)


def _move_aside(folder: Path) -> None:
    if folder.exists():
        with ledger.claimed(folder):
            _say(f"The earlier run is kept in {question.move_aside(folder)}")


def _tracking_uri(options: command_line.Options) -> str:
    """The option, else MLflow's own variable, else a SQLite file: beside the default ``runs``, inside a folder that was named."""
    given = options.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
    if given:
        file = given.partition("sqlite:///")[2].partition("?")[0]
        if file and not Path(file).parent.exists():
            raise QuestionError(
                f"tracking URI {given}: the folder {Path(file).parent} does not exist; make it or name another file"
            )
        return given
    folder = Path.cwd() if options.runs == Path("runs") else options.runs.resolve()
    return f"sqlite:///{folder / 'mlflow.db'}"


def _script() -> Path | None:
    """The sweep's own file."""
    file = getattr(sys.modules["__main__"], "__file__", None)
    return Path(file) if file is not None else None


def _command() -> str:
    """The command as it can be typed again."""
    return shlex.join(["python", *sys.argv])


def _heed_sigterm() -> None:
    """SIGTERM ends a sweep as Ctrl-C does."""

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
