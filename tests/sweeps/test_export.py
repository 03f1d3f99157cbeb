"""The export command on a sweep that was run here."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import onnxruntime
import pytest
from rich.console import Console

from sweeps.export import main, sentence, table
from tests.sweeps.test_ensemble import swept
from trainables.ensemble_summary import Interval
from trainables.export import Latency, Parity, Row, Study, Tolerance
from trainables.tasks import digits


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of two levels with two finals each."""
    return swept(tmp_path_factory.mktemp("exported"), seeds=2)


def asked(script: Path, *options: str) -> int:
    return main([str(script), "--runs", str(script.parent / "runs"), *options])


def test_the_leading_level_s_best_final_is_exported_and_compared(
    script: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert asked(script, "--prune", "0.5") == 0
    said = capsys.readouterr().out
    folder = script.parent / "runs" / "together"
    numbers = json.loads((folder / "export" / "export.json").read_text())
    ledger = [json.loads(line) for line in (folder / "trials.jsonl").read_text().splitlines()]
    finals = [line for line in ledger if line["status"] == "completed" and line["level"] == {"batch_size": 64}]
    best = max(finals, key=lambda line: line["metrics"]["val/accuracy"])
    assert numbers["level"] == "64"
    assert numbers["final"] == best["id"]
    torch_row, onnx_row, *_ = numbers["rows"]
    assert torch_row["value"] == pytest.approx(best["metrics"]["test/accuracy"], abs=0.003)
    assert onnx_row["value"] == torch_row["value"]
    assert numbers["parity"]["samples"] == 359
    assert numbers["parity"]["absolute"] < 1e-3
    assert {"hardware", "versions", "command", "threads"} <= numbers.keys()
    for words in ("ONNX", "INT8 dynamic", "INT8 static", "50 % pruned", "… tuned", "against torch", "p99"):
        assert words in said
    assert numbers["answer"] in said
    assert f"files: {folder / 'export'}" in said
    session = onnxruntime.InferenceSession(folder / "export" / "model.onnx")
    x, target = digits.load(0).test
    (logits,) = session.run(None, {"input": x.float().numpy()})
    assert logits.shape == (len(target), 10)


def test_another_level_into_another_folder(script: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "deep" / "there"
    assert asked(script, "--level", "256", "--out", str(out), "--prune", "none") == 0
    assert json.loads((out / "export.json").read_text())["level"] == "256"
    assert {path.name for path in out.iterdir()} == {
        "model.onnx",
        "int8-dynamic.onnx",
        "int8-static.onnx",
        "export.json",
    }
    assert "pruned" not in capsys.readouterr().out


def test_wrong_questions_are_said(
    script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*options: str) -> str:
        assert asked(script, *options) == 2
        said = capsys.readouterr().err
        assert said.startswith("error: ")
        assert said.count("\n") == 1
        return said

    assert "there is no such level; the sweep compares 64, 256" in refused("--level", "7")
    assert "give the options that it was run with" in refused("--epochs", "1")
    assert "--fresh and --dry-run" in refused("--dry-run")
    (tmp_path / "file").write_text("")
    assert "cannot be written" in refused("--out", str(tmp_path / "file"), "--prune", "none")
    assert main([str(script), "--runs", str(tmp_path)]) == 2
    assert f"Run `python {script} --runs {tmp_path}` first" in capsys.readouterr().err
    for options in (["--prune", "2"], ["--prune", "x"], ["--threads", "0"]):
        with pytest.raises(SystemExit) as ended:
            asked(script, *options)
        assert ended.value.code == 2
        assert "--help lists the options" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert "needs onnxruntime; install the extra" in refused()


def row(name: str, p50: float, gap: tuple[float, float, float] | None) -> Row:
    times = tuple(Latency(batch=b, calls=1, p50=p50 * b**0.5, p99=2 * p50, per_second=1 / p50) for b in (1, 64))
    interval = Interval(value=gap[0], low=gap[1], high=gap[2]) if gap is not None else None
    return Row(name=name, value=0.9 + (gap[0] if gap is not None else 0), difference=interval, size=1000, latency=times)


def study(*rows: Row, metric: str = "accuracy", mode: str = "max") -> Study:
    return Study(
        task="t",
        metric=metric,
        mode=mode,
        samples=359,
        confidence=0.95,
        threads=1,
        tolerance=Tolerance(),
        parity=Parity(samples=359, absolute=1e-6, relative=1e-6, worst=0, excess=0.1, same=359),
        rows=rows,
    )


def test_what_is_recommended_is_the_fastest_of_those_that_surely_lose_little() -> None:
    reference = row("torch", 4e-5, None)
    exact = row("ONNX", 2e-5, (0.0, -0.0106, 0.0106))
    eight = row("INT8 dynamic", 1e-5, (-0.003, -0.012, 0.006))
    careless = row("INT8 static", 1e-6, (-0.003, -0.03, 0.006))
    lost = Row(name="INT8 other", refused="nothing to quantise")
    said = sentence(study(reference, exact, eight, careless, lost))
    assert said == (
        "INT8 dynamic is recommended: it loses 0.3 points [−0.6, 1.2] of accuracy and is 4.0 times as fast at batch 1 (0.010 ms "
        "against 0.040 ms in torch), 4.0 times as fast at batch 64 (100\u202f000 samples a second); 1 thread, 359 test samples."
    )
    said = sentence(study(reference, careless))
    assert said.startswith(
        "Nothing is recommended: every variant may lose more than 2.0 points, least of all INT8 static"
    )
    errors = study(reference, row("ONNX", 8e-5, (0.001, -0.001, 0.003)), metric="error", mode="min")
    assert (
        "ONNX is recommended: it loses 0.0010 [−0.0010, 0.0030] of error and is 2.0 times as slow at batch 1"
        in sentence(errors)
    )


def test_the_table_fits_a_terminal() -> None:
    wide = row("50 % pruned, tuned", 1.2345e-3, (-0.0334, -0.0512, -0.0123))
    console = Console(width=80, file=io.StringIO())
    console.print(table(study(row("torch", 4e-5, None), wide, Row(name="INT8 static", refused="nothing"))))
    file = console.file
    assert isinstance(file, io.StringIO)
    said = file.getvalue()
    assert "−3.3 [−5.1, −1.2]" in said
    assert said.count("…") == said.count("… tuned") == 1
    assert "refused" in said
    assert max(map(len, said.splitlines())) <= 80
