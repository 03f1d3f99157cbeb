"""What a sweep keeps on disk, what it needs there, and what it says of a state that was damaged."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from analysis.ledger import read_ledger
from analysis.records import Stage, Status, TrialRecord
from sweeps import Sweep
from sweeps.engine import ledger as ledgers
from sweeps.engine.disk import disk
from sweeps.engine.errors import QuestionError
from sweeps.engine.job import Job
from tests.sweeps.small import small
from tests.sweeps.test_engine import Diary, raced, run
from trainables import AdamW
from trainables.keep import BEFORE, BEST, LAST, Keep
from trainables.models import MLP


def one(**changes: Any) -> Sweep:
    """A level without a search: finals alone."""
    base = small(search=None, early_stop=None, seeds=2, **changes)
    return replace(base, recipe=replace(base.recipe, batch_size=16, optimizer=AdamW(lr=0.05)))


def test_a_damaged_state_of_a_trial_under_way_is_gone_round_and_said(tmp_path: Path) -> None:
    whole = run(one(), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(one(), tmp_path / "run", Diary(5))
    (under_way,) = read_ledger(tmp_path / "run")
    (tmp_path / "run" / "checkpoints" / under_way.id / LAST).write_bytes(b"torn")
    records = run(one(), tmp_path / "run")
    assert records[0].status is Status.COMPLETED
    assert records[0].reason == "last.pt was damaged; went on from the state before it, of 4 epochs"
    assert records[1].reason is None
    assert [curve(record) for record in records] == [curve(record) for record in whole]


def curve(record: TrialRecord) -> list[tuple[float, ...]]:
    return [(row["epoch"], row["step"], row["train/loss"], row["val/accuracy"]) for row in record.history]


def test_a_remark_stands_beside_the_reason(tmp_path: Path) -> None:
    with closing(ledgers.Ledger(tmp_path)) as book:
        race = raced(one(), tmp_path, book)
        job = race.next()
        assert job is not None
        row = {"epoch": 1, "train/loss": 1.0, "val/loss": 1.0, "val/accuracy": 0.5, "remark": "last.pt was damaged"}
        race.told(job.id, {"rows": [row]})
        race.died(job.id)
        assert race.next() == job
        race.told(job.id, {"rows": [], "status": "failed", "reason": "OSError: full", "error": "trace"})
    (record,) = (record for record in read_ledger(tmp_path) if record.status.lost)
    assert record.reason == "OSError: full; last.pt was damaged"


def kept(folder: Path) -> dict[str, set[str]]:
    return {trial.name: {path.name for path in trial.iterdir()} for trial in (folder / "checkpoints").iterdir()}


def test_finals_keep_the_weights_that_were_asked_for_and_heats_nothing(tmp_path: Path) -> None:
    sweep = small(seeds=1)
    records = run(replace(sweep, keep=Keep(every=4)), tmp_path)
    finals = {record.id for record in records if record.stage is Stage.FINAL}
    assert kept(tmp_path) == {name: {BEST, "epoch-0004.safetensors", "epoch-0008.safetensors"} for name in finals}


def ids(sweep: Sweep) -> Sequence[str]:
    point = dict.fromkeys(sweep.searched(), 0.1)
    level = sweep.levels()[0]
    return [
        Job.of(
            sweep, stage=Stage.HEAT, level=level, point={**level, **point}, seed=sweep.seed, seeds=sweep.heat_seeds()
        ).id
    ]


def test_what_is_kept_is_no_part_of_what_a_trial_is() -> None:
    assert ids(small()) == ids(small(keep=Keep(top=3, every=2, steps=7, compress=True)))


def test_wrong_settings_are_told_with_the_rest_of_the_question() -> None:
    with pytest.raises(QuestionError, match="Keep steps 0 must be a whole number of steps from 1"):
        small(keep=Keep(steps=0)).check()


def test_the_disk_that_is_needed_is_told_and_refused_where_it_is_not_there(tmp_path: Path) -> None:
    wide = replace(one(), recipe=replace(one().recipe, model=MLP(widths=(100, 100))))
    one_at_a_time, two = disk(wide, tmp_path, 1), disk(wide, tmp_path / "not" / "there", 2)
    run(replace(wide, seeds=2), tmp_path)
    there = sum(path.stat().st_size for path in tmp_path.glob("checkpoints/*/*"))
    assert one_at_a_time.left == pytest.approx(there, rel=0.05)
    assert two.most > one_at_a_time.most > one_at_a_time.left
    assert two.left == one_at_a_time.left
    assert "of the disk" in two.said
    assert disk(replace(wide, keep=Keep(every=1)), tmp_path, 1).left > 4 * one_at_a_time.left
    with pytest.raises(QuestionError, match=r"too little for .* make room, name another place by --runs"):
        disk(wide, tmp_path, 10**12)
    assert not any(path.name in (LAST, BEFORE) for path in tmp_path.glob("checkpoints/*/*"))
