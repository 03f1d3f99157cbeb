"""Names that are relied on from outside: commands, options, files, keys."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from sweeps.main import ANSWERED, INTERRUPTED, WITH_LOSSES, WRONG

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep as the command writes it."""
    runs = tmp_path_factory.mktemp("runs")
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests/sweeps/small.py"), "--runs", str(runs), "--lane", "local", "--trials", "2"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return runs / "small"


def test_make_has_its_targets() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"demo", "test", "check", "bench"} <= targets


def test_exit_statuses() -> None:
    assert (ANSWERED, WITH_LOSSES, WRONG, INTERRUPTED) == (0, 1, 2, 3)


def test_the_folder_holds_what_is_promised(folder: Path) -> None:
    names = {path.name for path in folder.iterdir()}
    promised = "sweep.json trials.jsonl live.jsonl trials.parquet trials.csv epochs.parquet report.html verdict.json checkpoints"
    assert {*promised.split(), "winner.yaml"} <= names
    assert (folder.parent / "mlflow.db").exists()


def test_the_ledger_s_keys(folder: Path) -> None:
    keys = (
        "id sweep task stage level point seed status reason epochs samples steps metrics best_epoch history cost lane hardware "
        "versions source error"
    )
    for line in map(json.loads, (folder / "trials.jsonl").read_text().splitlines()):
        assert set(keys.split()) <= line.keys()
        assert set(line["cost"]) == {"seconds", "cpu_seconds", "gpu_seconds", "joules", "peak_bytes"}
        assert line["stage"] in ("heat", "final", "benchmark")
        assert line["level"].keys() <= line["point"].keys()


def test_sweep_json_s_keys(folder: Path) -> None:
    question = json.loads((folder / "sweep.json").read_text())
    assert question["goal"] == {"metric": "accuracy", "mode": "max", "target": 0.6}
    assert question["factors"] == [{"path": "batch_size", "levels": [8, 32]}]
    assert {"source", "versions", "hardware", "command", "recipe", "vary"} <= question.keys()


def test_verdict_json_s_keys(folder: Path) -> None:
    verdict = json.loads((folder / "verdict.json").read_text())
    keys = "sweep goal factor levels comparisons varied method looks smallest_detectable_gap answer confidence needs"
    assert set(keys.split()) <= verdict.keys()
    assert verdict["factor"] == ["batch_size"]
    assert set(verdict["varied"]) == {"init", "order", "split"}
    assert set(verdict["needs"]) == {"seeds", "why"}
    for level in verdict["levels"]:
        assert {"level", "n", "mean", "interval", "rank_group", "diverged", "cost_to_target"} <= level.keys()
        assert {"seconds", "interval", "reached"} <= level["cost_to_target"].keys()
        assert len(level["interval"]) == 2
    for pair in verdict["comparisons"]:
        assert {"a", "b", "difference", "interval", "p", "p_adjusted"} <= pair.keys()


def test_reports_renders_again_from_the_folder_alone(folder: Path) -> None:
    before = json.loads((folder / "verdict.json").read_text())
    (folder / "verdict.json").unlink()
    (folder / "report.html").unlink()
    code = """
import runpy, sys
sys.argv = ["reports", *sys.argv[1:]]
try:
    runpy.run_module("reports", run_name="__main__")
finally:
    print("heavy:", *sorted({"torch", "ray", "mlflow"} & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.stdout.splitlines()[-1].split() == ["heavy:"]
    assert done.returncode == 0, done.stderr
    assert json.loads((folder / "verdict.json").read_text()) == before
    assert before["answer"].split(" ")[0] in (folder / "report.html").read_text()


def test_the_winner_s_command_trains_it(folder: Path) -> None:
    """As it stands in the recipe's file, where the sweep has written it."""
    (command,) = re.findall(r"^#   python (-m sweeps\.winner .*)$", (folder / "winner.yaml").read_text(), re.MULTILINE)
    done = subprocess.run(
        [sys.executable, *shlex.split(command), "--epochs", "2"], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "trained for 2 of 2 epochs: " in done.stdout


def test_the_readme_shows_the_sweep_as_it_stands() -> None:
    """The declaration printed in the README is the one in the file, comments and layout aside."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (printed,) = [ast.dump(ast.parse(block)) for block in blocks if "batch_size" in block]
    body = ast.parse((ROOT / "sweeps/batch_size.py").read_text()).body
    written = ast.dump(
        ast.Module(body=[node for node in body if isinstance(node, ast.Assign | ast.If)], type_ignores=[])
    )
    assert printed == written


def test_the_readme_s_files_and_options_exist() -> None:
    text = (ROOT / "README.md").read_text()
    assert not re.search(r"@[A-Z]+@", text)
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert link.startswith("https://") or (ROOT / link).exists(), link
    for script in set(re.findall(r"python ((?:sweeps|examples)/\w+\.py)", text)):
        assert (ROOT / script).exists()
    known = subprocess.run(
        [sys.executable, "sweeps/batch_size.py", "--help"], capture_output=True, text=True, cwd=ROOT, check=True
    ).stdout
    table = text[text.index("| option |") : text.index("Exit status")]
    for option in set(re.findall(r"--[a-z][a-z-]+", table)):
        assert option in known, option


def test_the_readme_lists_the_shipped_tasks_and_all_that_a_sweep_leaves(folder: Path) -> None:
    from trainables import tasks

    text = (ROOT / "README.md").read_text()
    assert re.findall(r"^\| `trainables\.tasks:(\w+)` \|", text, re.MULTILINE) == tasks.__all__
    listing = text[text.index("## What you get") : text.index("## Options")]
    for path in [*folder.iterdir(), *folder.parent.iterdir()]:
        if path != folder:
            assert path.name in listing or (path.suffix == ".csv" and "trials.parquet, .csv" in listing), path.name


def test_the_shipped_sweeps_are_sound() -> None:
    for script in sorted((ROOT / "sweeps").glob("*.py")):
        if "main(sweep)" in script.read_text() and script.name != "main.py":
            done = subprocess.run(
                [sys.executable, str(script), "--dry-run", "--fresh"],
                capture_output=True,
                text=True,
                cwd=ROOT,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            assert "finals" in done.stdout


def test_nothing_is_published_by_accident() -> None:
    assert "Private :: Do Not Upload" in (ROOT / "pyproject.toml").read_text()
