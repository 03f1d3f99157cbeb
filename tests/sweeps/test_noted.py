"""What a sweep notes on the way beside its ledger: steps, event files, pictures; and how far long epochs have come."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from analysis.ledger import read_ledger
from analysis.records import Stage
from analysis.steps import place, read
from analysis.tracking_place import quiet
from reports.pulses import pulse
from sweeps.engine.errors import QuestionError
from tests.sweeps.small import small
from tests.sweeps.test_engine import run
from tests.sweeps.test_kept import ids, one

ROOT = Path(__file__).resolve().parents[2]

CODE = """
import sys
from sweeps import main
from tests.sweeps.small import small
if __name__ == "__main__":
    main(small(log_every=2, seeds=1, tensorboard=True), sys.argv[1:])
"""


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A sweep by its command, and what that said."""
    runs = tmp_path_factory.mktemp("runs")
    script = runs / "asked.py"
    script.write_text(CODE)
    done = subprocess.run(
        [
            sys.executable,
            str(script),
            "--runs",
            str(runs),
            "--lane",
            "local",
            "--trials",
            "2",
            "--epochs",
            "3",
        ],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
        | {"PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return runs / "small", done.stdout


def test_every_trial_notes_its_steps_also_those_whose_checkpoints_are_gone(command: tuple[Path, str]) -> None:
    folder, _ = command
    records = read_ledger(folder)
    assert {record.stage for record in records} == {Stage.HEAT, Stage.FINAL}
    for record in records:
        rows = read(place(folder, record.id))
        assert [row["step"] for row in rows] == list(range(2, record.steps + 1, 2))
        assert rows[-1]["lr"] > 0


def test_steps_are_in_mlflow_and_on_the_page(command: tuple[Path, str]) -> None:
    quiet()
    from mlflow import MlflowClient

    folder, _ = command
    client = MlflowClient(f"sqlite:///{folder.parent}/mlflow.db")
    experiment = client.get_experiment_by_name("small")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id], filter_string="tags.`regatta.kind` = 'trial'")
    assert len(found) == 6
    for each in found:
        rows = read(place(folder, each.data.tags["regatta.id"]))
        for name in ("loss", "lr"):
            history = sorted(
                client.get_metric_history(each.info.run_id, f"step/{name}"), key=lambda metric: metric.step
            )
            assert [(metric.step, metric.value) for metric in history] == [(row["step"], row[name]) for row in rows]
    assert "Within the epochs" in (folder / "report.html").read_text()


def test_event_files_and_pictures_are_written_and_named(command: tuple[Path, str]) -> None:
    folder, said = command
    runs = {path.parent.name for path in (folder / "tensorboard").rglob("*tfevents*")}
    assert runs == {"tensorboard", "8-s1", "32-s1", "8-t000", "32-t001", "8-t002", "32-t003"}
    assert f"board: tensorboard --logdir {folder}/tensorboard" in said
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_without_being_asked_nothing_is_noted(tmp_path: Path) -> None:
    run(one(), tmp_path)
    assert not (tmp_path / "artifacts").exists()
    assert not (tmp_path / "tensorboard").exists()


def test_what_is_noted_is_no_part_of_what_a_trial_is() -> None:
    assert ids(small()) == ids(small(log_every=7, tensorboard=True))


def test_wrong_settings_are_told_with_the_rest_of_the_question() -> None:
    with pytest.raises(QuestionError, match="log_every 0 must be a whole number of steps from 1"):
        small(log_every=0).check()


def test_a_trial_says_how_far_a_long_epoch_has_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver's side of it reads what the trial's side writes, while it trains."""
    import trainables.pulse as pulses

    monkeypatch.setattr(
        pulses.Pulse.__init__, "__kwdefaults__", {"patience": 0.0, "pause": 0.0, "clock": pulses.time.monotonic}
    )
    seen: list[Any] = []
    rates: dict[int, float] = {}

    class Watching:
        """A follower that looks while the first trial is at work."""

        def started(self, record: Any) -> None:
            seen.append((record.id, 0, None))

        def reported(self, record_id: str, row: Any) -> None:
            rates[row["epoch"]] = row["lr"]
            seen.append((record_id, row["epoch"], pulse(tmp_path, record_id)))

        def ended(self, record: Any) -> None:
            seen.append((record.id, None, pulse(tmp_path, record.id)))

    run(replace(one(), seeds=1), tmp_path, Watching())  # type: ignore[arg-type]
    assert [epoch for _, epoch, _ in seen] == [*range(10), None]
    for _, epoch, told in seen[1:-1]:
        # An epoch is reported once it is over; the word on it is the last that was said.
        assert told is not None
        assert (told.epoch, told.part, told.validating) == (epoch, 1.0, True)
        assert told.lr == rates[epoch]
    assert seen[-1][2] is None
    assert not list(tmp_path.rglob("pulse.json"))
