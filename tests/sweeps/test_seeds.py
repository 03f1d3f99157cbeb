"""What finals draw as a compared factor: levels, seeds, identities, refusals; and the sweep over the sources of spread, run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from analysis.finals import gather
from analysis.ledger import read_ledger, read_question
from analysis.records import Stage, Status
from sweeps import QuestionError, Sweep, choice, each, options
from sweeps.engine import question
from sweeps.engine.drive import drive, finished
from sweeps.engine.job import Job
from sweeps.engine.machine import Machine
from sweeps.engine.members import finals
from sweeps.seeds import sweep as asked
from tests.sweeps.small import small
from trainables import SGD, Seeds

ROOT = Path(__file__).resolve().parents[2]
EVERYTHING = ("init", "order", "split")


def compared(*levels: tuple[str, ...], **changes: Any) -> Sweep:
    """A small sweep over what its seeds draw."""
    recipe = replace(small().recipe, batch_size=8, optimizer=SGD(lr=0.1), epochs=2)
    settings: dict[str, Any] = {"recipe": recipe, "search": None, "early_stop": None, "vary": each(*levels), "seeds": 3}
    return small(**settings | changes)


def test_each_level_draws_its_own_and_holds_the_rest() -> None:
    sweep = compared(("init",), ("split", "order"), EVERYTHING, seed=100)
    sweep.check()
    assert sweep.levels() == [{"vary": "init"}, {"vary": "order + split"}, {"vary": "init + order + split"}]
    assert [sweep.final_seeds(3, level) for level in sweep.levels()] == [
        Seeds(init=103, order=100, split=100),
        Seeds(init=100, order=103, split=103),
        Seeds(init=103, order=103, split=103),
    ]
    assert sweep.factors() == {"vary": ["init", "order + split", "init + order + split"]}
    assert sweep.drawn() == EVERYTHING


def test_no_two_finals_are_one_job() -> None:
    sweep = compared(("init",), ("order",), ("split",), EVERYTHING)
    ids = {
        Job.of(sweep, stage=Stage.FINAL, level=level, point=level, seed=n, seeds=sweep.final_seeds(n, level)).id
        for level in sweep.levels()
        for n in range(1, 65)
    }
    assert len(ids) == 256


def test_the_folder_says_what_was_compared() -> None:
    one, other = compared(("init",), EVERYTHING), compared(("init",), ("split",))
    said = question.described(one, Machine.here(None))
    assert said["vary"] == ["init", "order", "split"]
    assert said["factors"] == [{"path": "vary", "levels": ["init", "init + order + split"]}]
    assert question.described(other, Machine.here(None))["vary"] == ["init", "split"]
    assert question.asked(one) != question.asked(other)
    assert question.asked(small(vary=("init",)))["vary"] == ["init"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"vary": each(("init",), ("weather",))}, "vary names weather; what a seed can draw is init, order, split"),
        ({"vary": each(("init",), ())}, "vary is empty"),
        ({"vary": each()}, "vary: each() is empty; name at least one value"),
        ({"vary": each(("init", "order"), ("order", "init"))}, "vary: each names init + order more than once"),
        ({"vary": each("init", "order")}, "vary has 'init' where a tuple of names must be; write ('init',)"),
        ({"vary": "init"}, "vary has 'init' where a tuple of names must be; write ('init',)"),
        (
            {"vary": choice(("init",), ("order",))},
            "vary is choice(('init',), ('order',)); what seeds draw is not searched",
        ),
        (
            {"search": small().search, "recipe": small().recipe},
            "search is TPE(trials=5) but vary is compared: each level would be tuned for itself",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(QuestionError) as caught:
        compared(("init",), ("split",), **changes).check()
    assert said in str(caught.value)


def test_its_finals_are_run_and_go_on_where_they_were(tmp_path: Path) -> None:
    sweep = compared(("init",), ("split",), EVERYTHING)

    def run(sweep: Sweep) -> int:
        machine = Machine.here(None)
        return len(drive(sweep, tmp_path, lane="local", concurrency=1, machine=machine, followers=[]))

    assert run(replace(sweep, seeds=2)) == 6
    assert run(sweep) == 9
    records = read_ledger(tmp_path)
    assert finished(sweep, records)
    assert {record.status for record in records} == {Status.COMPLETED}
    losses = {(record.level["vary"], record.seed): record.history[0]["train/loss"] for record in records}
    assert len(set(losses.values())) == 9  # every source changes what is learned


def test_the_shipped_one_asks_with_256_finals_in_packs() -> None:
    asked.check()
    assert len(asked.levels()) * asked.seeds == 256
    assert asked.lane == "fused"
    quick = options.read(["--quick"], program="seeds.py", description=None).question(asked)
    assert (len(quick.levels()) * quick.seeds, quick.recipe.epochs) == (24, 5)


@pytest.mark.slow
def test_it_runs_in_packs_and_answers_with_intervals(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "sweeps" / "seeds.py"), "--quick", "--runs", str(tmp_path)]
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment | {"PYTHONPATH": str(ROOT)},
        timeout=800,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "seeds-quick"
    verdict = json.loads((folder / "verdict.json").read_text())
    assert verdict["answer"] in done.stdout
    assert verdict["answer"].startswith("Of the spread of test accuracy, ")
    assert "a mean over 8 seeds has a standard error of " in verdict["answer"]
    (group,) = verdict["spread"]["groups"]
    assert group["seeds"] == 6
    assert group["whole"]["drawn"] == ["init", "order", "split"]
    assert all(source["interval"] is not None for source in (group["whole"], *group["sources"]))
    records = read_ledger(folder)
    assert {record.lane for record in records} == {"fused"}
    assert not (folder / "winner.yaml").exists()
    assert "train the winner" not in done.stdout
    page = (folder / "report.html").read_text()
    assert 'id="spread-runs"' in page


def test_the_finals_of_a_level_are_found_again(tmp_path: Path) -> None:
    """What reads a finished sweep's weights asks for the job that its level's seeds make."""
    sweep = compared(("split",), EVERYTHING, seeds=2)
    machine = Machine.here(None)
    (tmp_path / "small").mkdir()
    question.store(tmp_path / "small", question.described(sweep, machine))
    drive(sweep, tmp_path / "small", lane="local", concurrency=1, machine=machine, followers=[])
    levels = gather(read_question(tmp_path / "small"), read_ledger(tmp_path / "small"))
    for level in levels:
        assert [member.job.seeds for member in finals(sweep, tmp_path / "small", level)] == [
            sweep.final_seeds(n, level.level) for n in (1, 2)
        ]
