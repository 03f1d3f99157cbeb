"""All loops train the same, what is missing is named, and ratios are those of the same round."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import loop_overhead
from benchmarks.loop_overhead import (
    TOLERANCE,
    Runs,
    differences,
    main,
    measured,
    over_bare,
)
from benchmarks.loops.running import FailedError, Used
from benchmarks.loops.variants import BARE, OURS, VARIANTS, Variant
from benchmarks.loops.work import WORKS, Scores
from trainables import Cosine

ROOT = Path(__file__).resolve().parents[2]
SCORES = Scores(train_loss=0.5, val_loss=0.4, accuracy=0.9)


def used(cpu: float, **changes: float) -> Used:
    return Used(cpu=[cpu], seconds=[cpu], scores=replace(SCORES, **changes))


@pytest.mark.slow
def test_the_smallest_run() -> None:
    """Every loop that is installed, one epoch each."""
    command = ["-m", "benchmarks.loop_overhead", "--json", "--quick", "--works", "mlp"]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    asked = "ratio_to_bare ratio_to_bare_transformer fabric accelerate lightning goals rounds command machine versions"
    assert set(asked.split()) <= result.keys()
    assert result["same_training"]
    assert result["failed"] == []
    there = {variant.name for variant in VARIANTS if variant.installed}
    assert set(result["missing"]) == {variant.name for variant in VARIANTS} - there
    assert result["works"]["mlp"]["variants"].keys() == there
    assert result["ratio_to_bare"] > 0
    assert result["ratio_to_bare_transformer"] is None
    for name in result["missing"]:
        assert result[name] is None


def test_a_peer_that_is_not_installed_is_left_out_and_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    absent = Variant(name="fabric", says="A peer", module="benchmarks.loops.fabric", package="no_such_package")
    monkeypatch.setattr(loop_overhead, "VARIANTS", (BARE, absent))
    assert main(["--json", "--quick", "--works", "mlp", "--only", "bare", "fabric"]) == 0
    told = capsys.readouterr()
    result = json.loads(told.out)
    assert result["missing"] == ["fabric"]
    assert result["fabric"] is None
    assert list(result["works"]["mlp"]["variants"]) == ["bare"]
    assert "not installed, left out: fabric" in told.err


def test_a_loop_that_fails_is_told_with_its_last_words() -> None:
    with pytest.raises(FailedError, match=r"(?s)unknown on mlp ended with status 1.*ValueError"):
        measured([BARE, replace(BARE, name="unknown")], WORKS[0], 1)


def test_ratios_are_over_the_bare_loop_of_the_same_turn() -> None:
    bare, ours = [1.0, 2.0, 4.0], [1.1, 2.3, 40.0]
    runs: Runs = {
        ("mlp", "bare"): {1: Used(cpu=bare, seconds=bare, scores=SCORES)},
        ("mlp", "ours"): {1: Used(cpu=ours, seconds=ours, scores=SCORES)},
    }
    found = over_bare("mlp", "ours", runs)
    assert found is not None
    assert found.rounds == pytest.approx([1.15])


def test_a_ratio_is_the_median_of_the_rounds() -> None:
    runs: Runs = {
        ("mlp", "bare"): {1: used(1.0), 2: used(2.0), 3: used(4.0)},
        ("mlp", "ours"): {1: used(1.1), 2: used(2.1), 3: used(8.0)},
        ("mlp", "fabric"): {2: used(3.0), 4: used(9.0)},
        ("transformer", "ours"): {1: used(1.0)},
    }
    ours = over_bare("mlp", OURS.name, runs)
    assert ours is not None
    assert ours.median == pytest.approx(1.1)
    assert ours.rounds == pytest.approx([1.1, 1.05, 2.0])
    fabric = over_bare("mlp", "fabric", runs)
    assert fabric is not None
    assert fabric.rounds == [1.5]
    assert over_bare("transformer", "ours", runs) is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, None),
        ({"train_loss": 0.5 * (1 + TOLERANCE / 2)}, None),
        ({"train_loss": 0.5 * (1 + 2 * TOLERANCE)}, "train_loss 0.501"),
        ({"val_loss": 0.41}, "val_loss 0.41"),
        ({"val_loss": math.nan}, "val_loss nan"),
    ],
)
def test_other_training_is_found_out(change: dict[str, float], said: str | None) -> None:
    runs: Runs = {("mlp", "bare"): {1: used(1.0)}, ("mlp", "ours"): {1: used(1.0, **change)}}
    found = differences("mlp", runs)
    assert len(found) == (0 if said is None else 1)
    assert said is None or said in found[0]


def test_the_schedule_by_arithmetic_is_the_product_s() -> None:
    work, cosine = WORKS[0], Cosine(warmup=0.1)
    for step in (0, 19, 20, 21, 399):
        assert work.multiplier(step, 2) == pytest.approx(cosine((step + 0.5) / 400), abs=1e-15)


def test_it_runs_by_its_path_too(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "benchmarks/loop_overhead.py"), "--help"]
    assert "--rounds" in subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True).stdout
