"""The doctor's command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from analysis.doctor import Disease
from analysis.doctor.__main__ import main
from analysis.doctor.planted import planted
from tests.planted import planted_folder


def swept(folder: Path, disease: Disease | None) -> Path:
    case = planted(disease, np.random.default_rng(1))
    question = {
        "sweep": "planted",
        "task": "planted",
        "goal": {"metric": "accuracy", "mode": "max"},
        "factors": [],
        "seeds": case.question.seeds,
        "vary": ["init", "order", "split"],
        **case.question.raw,
    }
    for trial, share in case.waits.items():
        place = folder / "artifacts" / trial
        place.mkdir(parents=True)
        (place / "profile.json").write_text(json.dumps({"phases": [{"phase": "data", "share": share, "p50": 1e-3}]}))
    return planted_folder(folder, case.records, question)


@pytest.mark.parametrize("disease", [Disease.OVERFITTING, Disease.INPUT, Disease.DIVERGENCE])
def test_findings_in_words_and_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str], disease: Disease) -> None:
    folder = swept(tmp_path / "s", disease)
    assert main([str(folder)]) == 0
    said = capsys.readouterr().out
    assert disease.value in said
    assert max(map(len, said.splitlines())) <= 80
    assert main([str(folder), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    (first, *_) = found["findings"]
    assert first["disease"] == disease.value
    assert {"level", "trials", "of", "evidence", "change", "sure", "matters"} <= first.keys()
    assert first["trials"][0] in said


def test_a_healthy_sweep_and_one_without_finals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = swept(tmp_path / "s", None)
    assert main([str(folder)]) == 0
    assert "nothing is wrong in its" in capsys.readouterr().out
    assert main([str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["findings"] == []
    (folder / "trials.jsonl").unlink()
    assert main([str(folder)]) == 0
    assert "no final has finished yet" in capsys.readouterr().out


def test_a_wrong_folder_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.startswith("error: ")
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 2
    assert "--help lists the options" in capsys.readouterr().err


def test_it_starts_without_the_heavy_libraries(tmp_path: Path) -> None:
    folder = swept(tmp_path / "s", Disease.OVERFITTING)
    code = """
import runpy, sys
sys.argv = ["doctor", *sys.argv[1:]]
try:
    runpy.run_module("analysis.doctor", run_name="__main__", alter_sys=True)
finally:
    print("heavy:", *sorted({"torch", "ray", "mlflow", "pandas", "altair", "reports"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].split() == ["heavy:"]
