"""From a sweep's file to its answer: options, checks, the race, the page."""

from __future__ import annotations

import gc
import os
import shlex
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeps import options as command_line
from sweeps import plan, remarks, winner_file
from sweeps.engine import cluster, nodes, question, rehearsal
from sweeps.engine.drive import cut_short, drive, finished
from sweeps.engine.errors import QuestionError
from sweeps.engine.lanes import solo
from sweeps.engine.lanes.choice import lane_of
from sweeps.engine.machine import Machine, one_root
from sweeps.engine.pack_worth import Laned, before_ray, laned
from sweeps.engine.place import said
from sweeps.engine.race import Follower
from sweeps.engine.room import Room, room
from sweeps.engine.spec import Sweep
from sweeps.engine.watchdog import StalledError, Watchdog
from trainables import ConflictError
from trainables.heap import give_back, settle

if TYPE_CHECKING:
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
        gc.disable()  # a start makes half a million objects that stay, and would look through them again and again
        sweep.check_kinds()  # the options ask the task for its name
        with _asking(sweep):
            asked = options.question(sweep)
        status = _answer(asked, options)
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
    finally:
        gc.enable()
    sys.stdout.flush()
    sys.exit(status)


def _answer(sweep: Sweep, options: command_line.Options) -> int:
    """Check everything, run what is missing, write and say the answer; the exit status comes back.

    What is wrong with the command itself is said first, then what the machine lacks, then what the folder holds against it.
    """
    from analysis.ledger import FolderError, read_ledger
    from analysis.tracking import TrackingError, check

    foreign = one_root()
    if foreign is not None:
        raise QuestionError(foreign)
    with _asking(sweep):
        sweep.check()
    folder = options.runs / sweep.name
    try:
        with _asking(sweep):
            place = room(sweep) if options.fresh or not _done(sweep, folder) else None
            asked = sweep.seeds
            if not options.fresh:
                sweep = question.extended(sweep, question.match(folder, sweep), read_ledger(folder))
            plan.show(sweep, folder, [] if options.fresh else read_ledger(folder), place, asked=asked)
            if options.dry_run:
                return ANSWERED
            uri = _tracking_uri(options)
            _say("Trying a first step of each model …")
            check(uri)
            rehearsal.rehearse(sweep)
        with question.held(folder), _launched(sweep, folder, place, fresh=options.fresh) as launched:
            if not options.fresh or question.untouched(folder):
                return _race(folder, uri, launched)
            # Not before all that could refuse the sweep has been asked.
            _say(f"The earlier run is kept in {question.move_aside(folder)}")
            with question.held(folder):
                return _race(folder, uri, launched)
    except (FolderError, TrackingError) as error:
        raise QuestionError(str(error)) from error


@contextmanager
def _asking(sweep: Sweep) -> Iterator[None]:
    """Before anything is launched there is nothing to go on with: what raises here, as a part of one's own may, is the question's
    fault. Raises QuestionError that says what and where.
    """
    from analysis.ledger import FolderError
    from analysis.tracking import TrackingError

    try:
        yield
    except (QuestionError, ConflictError, FolderError, TrackingError):
        raise
    except OSError as error:
        raise QuestionError(str(error)) from error
    except Exception as error:
        raise QuestionError(
            f"sweep {sweep.name!r} cannot be planned; look for a setting that holds what it cannot: {said(error)}"
        ) from error


def _done(sweep: Sweep, folder: Path) -> bool:
    """True when the folder holds all that the sweep asks for; never for the folder of another question."""
    from analysis.ledger import FolderError, read_ledger

    try:
        stored, known = question.match(folder, sweep), read_ledger(folder)
    except (QuestionError, FolderError):
        return False
    return stored is not None and finished(question.extended(sweep, stored, known), known)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Launched:
    """Where trials are run: the sweep with its lane and with what each takes, how many at once, and what kinds of GPU there are;
    ``done`` when none is left.
    """

    laned: Laned
    done: bool = False
    concurrency: int = 1
    gpus: Sequence[str] = ()


@contextmanager
def _launched(sweep: Sweep, folder: Path, place: Room | None, *, fresh: bool) -> Iterator[_Launched]:
    """Ray and its nodes where the lane needs them and anything is left to run, for which is ``place``; they are left at the end.

    Raises QuestionError for what only a cluster that was joined can say: no room, other code, another folder.
    """
    from analysis.ledger import read_ledger

    done = place is None or (not fresh and finished(sweep, read_ledger(folder)))
    if place is None or done or lane_of(sweep) == "local":
        yield _Launched(laned=Laned(sweep=sweep), done=done)
        return
    early = before_ray(sweep)
    tried = laned(sweep, at_once=place.at_once, say=_say) if early else Laned(sweep=sweep)
    _say("Starting Ray …")
    try:
        largest, fit = solo.start(replace(sweep.resources, workers=sweep.most_workers))
        if fit.note:
            _say(fit.note)
        _heed_sigterm()  # Ray has put a handler of its own there
        nodes.agree(folder, question.files(sweep))
        tried = replace(tried, sweep=replace(tried.sweep, resources=replace(largest, workers=sweep.resources.workers)))
        concurrency = 1 if sweep.compares_workers else fit.concurrency  # or seconds could not be compared
        yield _Launched(
            laned=tried if early or not fit.now else laned(tried.sweep, at_once=concurrency, say=_say),
            concurrency=concurrency,
            gpus=cluster.gpus(cluster.here()) if largest.gpus else [],
        )
    finally:
        solo.stop()


def _race(folder: Path, uri: str, launched: _Launched) -> int:
    """Run what is missing, and write results; the folder must be held."""
    from analysis import tensorboard
    from analysis.ledger import read_ledger, read_question
    from analysis.tracking import Tracker

    settle()
    give_back()
    gc.enable()
    known, sweep = read_ledger(folder), launched.laned.sweep
    machine = Machine.here(_script(), launched.gpus)
    stored = question.read(folder) or {}
    if known and stored.get("source") != machine.source:
        _say(
            "The code has changed since the trials that are there; they are kept, and judged together with what is run now. "
            "Add --fresh to measure them anew."
        )
    course = {"lane": lane_of(sweep), "concurrency": launched.concurrency, "threads": sweep.resources.cpus}
    # Where nothing is run, what the folder says of the run that was stays true.
    kept = ("source", "versions", "hardware", *course) if launched.done else ()
    question.store(
        folder,
        question.described(sweep, machine)
        | course
        | question.looks(sweep, stored, answered=(folder / "verdict.json").exists())
        | {"command": _command(), "tracking": stored.get("tracking"), "created": stored.get("created") or time.time()}
        | {name: stored[name] for name in kept if name in stored},
    )
    tracker = Tracker(uri=uri, question=read_question(folder), say=_say, folder=folder)
    try:
        tracker.sync(known)
        if not launched.done:
            _run(folder, launched, machine, tracker)
        elif sweep.tensorboard:
            tensorboard.write(folder)
        return _conclude(sweep, folder, tracker)
    finally:
        tracker.close()


def _run(folder: Path, launched: _Launched, machine: Machine, tracker: Tracker) -> None:
    """The trials that are missing, with a table of them."""
    from analysis.ledger import read_ledger
    from reports.live_table import LiveTable

    sweep = launched.laned.sweep
    table = LiveTable(
        levels=plan.labels(sweep),
        heats=[sweep.heats(level) for level in sweep.levels()],
        seeds=sweep.seeds,
        epochs=sweep.recipe.epochs,
        metric=sweep.task.goal.metric,
        mode=sweep.task.goal.mode,
        folder=folder,
    )
    lane = lane_of(sweep)
    with table, _board(sweep, folder, table.note) as boards, _watched(lane, folder, table.note) as watchdogs:
        table.already(read_ledger(folder))
        followers: list[Follower] = [table, tracker, *boards, *watchdogs]
        drive(
            sweep,
            folder,
            lane=lane,
            concurrency=launched.concurrency,
            machine=machine,
            followers=followers,
            sizes=launched.laned.sizes,
        )


@contextmanager
def _board(sweep: Sweep, folder: Path, say: Callable[[str], None]) -> Iterator[list[Follower]]:
    """What writes TensorBoard's files along, where they are wanted."""
    if not sweep.tensorboard:
        yield []
        return
    from analysis.ledger import read_ledger, read_question
    from analysis.tensorboard import Board

    board = Board(folder, read_question(folder), warn=say)
    board.sync(read_ledger(folder))
    try:
        yield [board]
    finally:
        board.close()


@contextmanager
def _watched(lane: str, folder: Path, say: Callable[[str], None]) -> Iterator[list[Watchdog]]:
    """A watchdog over a lane that Ray runs; none over the others, which cannot wait for anything."""
    if lane == "local":
        yield []
        return
    from reports.pulses import spoke

    answers = partial(cluster.answers, cluster.address())
    watchdog = Watchdog(
        lane=lane,
        say=say,
        look=cluster.scene,
        answers=answers,
        growth=cluster.could(),
        spoke=partial(spoke, folder),
    )
    with watchdog:
        yield [watchdog]


def _conclude(sweep: Sweep, folder: Path, tracker: Tracker) -> int:
    """Judge, write page and tables, and say the answer; the exit status comes back."""
    from analysis import tensorboard
    from analysis.edges import edges
    from analysis.judge import judge
    from analysis.ledger import read_ledger, read_question
    from analysis.sources import mixed
    from analysis.tables import write_tables
    from reports import console, curve, page

    _say("Writing tables, page and MLflow …")
    records = read_ledger(folder)
    write_tables(folder, records)
    links = tracker.links()
    told = {"tracking": links.to_json(), "cut_short": cut_short(sweep, records)}
    question.store(folder, (question.read(folder) or {}) | told)
    report = page.write(folder)
    curve.write_sweep(folder)
    verdict = judge(read_question(folder), records)
    links = tracker.finish(folder, verdict)
    console.answer(
        verdict, report=report, links=links, board=folder / tensorboard.FOLDER if sweep.tensorboard else None
    )
    asked = read_question(folder)
    beyond = [edge.sentence(len(asked.levels)) for edge in edges(asked, verdict.levels, records)]
    won = winner_file.conclude(sweep, folder, verdict)
    for line in [
        *mixed(verdict.sources),
        *remarks.short_searches(sweep, records),
        *beyond,
        *remarks.failures(records),
        *won,
    ]:
        _say(line)
    return WITH_LOSSES if remarks.losses(sweep, records) else ANSWERED


def _say(text: str) -> None:
    """A line about something that takes seconds."""
    print(text, flush=True)


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
