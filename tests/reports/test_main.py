"""The command ``python -m reports``."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.planted import planted_folder, planted_question, planted_records

ROOT = Path(__file__).parents[2]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "reports", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_it_renders_every_folder_and_prints_page_and_answer(tmp_path: Path) -> None:
    folders = [
        planted_folder(
            tmp_path / name,
            planted_records({16: [0.9 + 0.001 * i for i in range(8)], 32: [0.8] * 8}),
            planted_question([16, 32], seeds=8),
        )
        for name in ("one", "two")
    ]
    done = run(*map(str, folders))
    assert done.returncode == 0
    assert done.stderr == ""
    for folder in folders:
        answer = json.loads((folder / "verdict.json").read_text())["answer"]
        assert f"{folder / 'report.html'}\n{answer}\n" in done.stdout
        assert (folder / "report.html").read_text().startswith("<!doctype html>")


def test_a_folder_without_a_sweep_is_one_clear_line(tmp_path: Path) -> None:
    done = run(str(tmp_path))
    assert done.returncode == 2
    assert done.stdout == ""
    assert (
        done.stderr == f"error: {tmp_path} holds no sweep.json; run the sweep first, "
        "or name the folder that it wrote: runs/ and the sweep's name\n"
    )


@pytest.mark.parametrize("content", ["{", "[]", '{"sweep": "x"}'])
def test_a_damaged_question_is_one_clear_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "sweep.json").write_text(content)
    done = run(str(tmp_path))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: ")


def test_help_and_a_missing_folder_name() -> None:
    assert "runs/batch_size" in run("--help").stdout
    assert run().returncode == 2


def test_it_renders_without_torch_ray_and_mlflow(troubled_folder: Path) -> None:
    program = (
        "import sys; from reports.__main__ import main; import reports.console; "
        f"status = main([{str(troubled_folder)!r}]); "
        "print([name for name in ('torch', 'ray', 'mlflow', 'sweeps', 'optuna') if name in sys.modules], status)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[] 0"


def test_help_loads_nothing_heavy() -> None:
    program = (
        "import sys\n"
        "from reports.__main__ import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print([name for name in ('numpy', 'altair', 'scipy', 'rich', 'jinja2') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
