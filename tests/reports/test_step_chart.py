"""The training loss within epochs, on the page."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from analysis.judge import judge
from analysis.ledger import read_ledger, read_question
from analysis.records import Stage
from analysis.steps import place
from reports import step_chart
from reports.labels import Labels
from reports.page import write
from tests.planted import planted_folder, planted_question, planted_records


def sweep(tmp_path: Path, epochs: int) -> Path:
    records = planted_records({16: [0.9, 0.91], 64: [0.95, 0.94]})
    question = planted_question([16, 64], seeds=2)
    cut = [replace(record, epochs=epochs, history=record.history[:epochs]) for record in records]
    return planted_folder(tmp_path / f"planted-{epochs}", cut, question)


def noted(folder: Path) -> None:
    for number, record in enumerate(r for r in read_ledger(folder) if r.stage is Stage.FINAL):
        path = place(folder, record.id)
        path.parent.mkdir(parents=True)
        # The last one has noted one line fewer: it was drawn from then on from fewer runs.
        rows = [
            {"epoch": 1, "step": step, "samples": 100 * step, "loss": 1.0 / step + 0.1 * (number // 2), "lr": 0.1}
            for step in range(2, 20 if number else 18, 2)
        ]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def figures(folder: Path) -> list[step_chart.Figure]:
    question, records = read_question(folder), read_ledger(folder)
    labels = Labels.of(question, records, judge(question, records))
    return step_chart.section(folder, records, labels)


def test_a_sweep_of_few_epochs_has_a_curve_within_them(tmp_path: Path) -> None:
    folder = sweep(tmp_path, 2)
    assert figures(folder) == []
    noted(folder)
    (figure,) = figures(folder)
    rows = json.loads(figure.live)["datasets"]["rows"]
    assert {row["level"] for row in rows} == {"16", "64"}
    first = [row for row in rows if row["level"] == "16"]
    assert [row["step"] for row in first] == [2, 4, 6, 8, 10, 12, 14, 16]
    assert first[0]["x"] == 0.2
    assert first[0]["y"] == 0.55  # two seeds, the second a tenth higher
    assert "Within the epochs" in write(folder).read_text()


def test_many_epochs_say_enough_by_themselves(tmp_path: Path) -> None:
    folder = sweep(tmp_path, 6)
    noted(folder)
    assert figures(folder) == []
    assert "Within the epochs" not in write(folder).read_text()
