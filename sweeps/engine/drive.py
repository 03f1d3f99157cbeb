"""Running a sweep in its folder: from the ledger as it stands to the last final."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from analysis.ledger import read_ledger, read_live
from analysis.records import Stage, Status, TrialRecord
from sweeps.engine import ledger as ledgers
from sweeps.engine import nodes
from sweeps.engine.lanes import local, solo
from sweeps.engine.machine import Machine
from sweeps.engine.programme import Programme
from sweeps.engine.race import Follower, Race, tidy
from sweeps.engine.spec import Sweep
from sweeps.engine.trial import Runner


def finished(sweep: Sweep, known: Sequence[TrialRecord]) -> bool:
    """True when the ledger holds all that the sweep asks for, so that nothing need be started."""
    programme = Programme(sweep, known, spent=lambda: spent(known), concurrency=1)
    return programme.next() is None and programme.done


def cut_short(sweep: Sweep, known: Sequence[TrialRecord]) -> bool:
    """True when the budget has left out heats that would be run without it."""
    if sweep.budget_seconds is None:
        return False
    programme = Programme(replace(sweep, budget_seconds=None), known, spent=lambda: 0.0, concurrency=1)
    there = {record.id for record in known}
    while (job := programme.next()) is not None and job.stage is Stage.HEAT:
        if job.id not in there:
            return True
    return False


def drive(
    sweep: Sweep,
    folder: Path,
    *,
    lane: str,
    concurrency: int,
    machine: Machine,
    followers: Sequence[Follower],
    sizes: Mapping[str, int] | None = None,
) -> list[TrialRecord]:
    """Run what the ledger does not hold yet; all records come back. The folder must be claimed, and Ray up for its lanes.

    ``sizes`` are those of packs, by structure, in the lane of packs, which are tried where they are None.
    An interruption leaves the folder as a later call can go on from.
    """
    begun = time.monotonic()
    known = read_ledger(folder)
    under_way = {record.id for record in known if not record.status.settled}
    rows = {name: history for name, history in read_live(folder).items() if name in under_way}
    ledgers.write_live(folder, rows)
    checkpoints = folder / "checkpoints"
    earlier = spent(known)
    programme = Programme(sweep, known, spent=lambda: earlier + time.monotonic() - begun, concurrency=concurrency)
    released = programme.released()
    for record in known:
        tidy(checkpoints, record, released)  # a crash may have come between a trial's last line and this
    book = ledgers.Ledger(folder)
    try:
        race = Race(
            sweep,
            programme,
            book,
            followers,
            known=known,
            rows=rows,
            machine=machine,
            lane=lane,
            checkpoints=checkpoints,
        )
        runner = Runner(sweep=sweep, folder=checkpoints.resolve(), threads=sweep.resources.cpus)
        _run(lane, race, runner, concurrency, folder, sizes)
        for heat in race.released:
            # One that was cut may have been writing while its folder was removed.
            shutil.rmtree(checkpoints / heat, ignore_errors=True)
        for record in read_ledger(folder):
            if record.status is Status.RUNNING and record.stage is Stage.FINAL:
                # Of a point that lost its place when the search was extended. A heat may still be asked for, by a larger budget.
                book.append(replace(record, status=Status.STOPPED, reason="no longer asked for", ended=time.time()))
    finally:
        book.close()
    return read_ledger(folder)


def _run(
    lane: str, race: Race, runner: Runner, concurrency: int, folder: Path, sizes: Mapping[str, int] | None
) -> None:
    """Hand the race to its lane."""
    if lane == "local":
        local.run(race, runner)
        return
    resources = runner.sweep.resources
    with nodes.scratch(folder) as scratch:
        if lane == "solo":
            solo.run(race, runner, resources=resources, concurrency=concurrency, scratch=scratch)
        elif lane == "fused":
            from sweeps.engine.lanes import fused
            from sweeps.engine.pack_sizes import choices
            from sweeps.engine.packing import Packer
            from sweeps.engine.pools import Pools

            pools = Pools.of(runner.sweep, at_once=concurrency)
            if sizes is None:
                sizes = {alike: choice.size for alike, choice in choices(runner.sweep, pools).items()}
            packer = Packer(race, sizes=sizes, pools=pools)
            fused.run(race, runner, resources=resources, concurrency=concurrency, scratch=scratch, packer=packer)
        elif lane == "crew":
            from sweeps.engine.lanes import crew

            crew.run(race, runner, resources=resources, concurrency=concurrency, scratch=scratch)
        else:
            from sweeps.engine.lanes import gang

            gang.run(race, runner, resources=resources, concurrency=concurrency, scratch=scratch)


def spent(known: Sequence[TrialRecord]) -> float:
    """Wall seconds of earlier commands in which trials were under way: a budget is the sweep's, not a command's."""
    spans = sorted(
        (record.started, record.ended) for record in known if record.ended is not None and record.started is not None
    )
    seconds, until = 0.0, -math.inf
    for started, ended in spans:
        seconds += max(0.0, ended - max(started, until))
        until = max(until, ended)
    return seconds
