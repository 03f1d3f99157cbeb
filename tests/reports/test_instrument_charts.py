"""The pictures of the range test and the batch tuner."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from reports.batch_chart import BatchEnd, BatchPoint, throughput_by_batch
from reports.range_chart import RangeLine, RangeMark, RangePoint, range_curves, window
from reports.standalone import png, standing
from reports.views_chart import ViewDifference, differences


def line(label: str, *, marked: bool = True) -> RangeLine:
    rates = [10 ** (-6 + place / 5) for place in range(31)]
    losses = [2.0 / (1 + rate / 1e-3) + 300 * max(0.0, rate - 0.05) for rate in rates]
    points = [
        RangePoint(rate=rate, loss=loss, low=0.9 * loss, high=1.1 * loss)
        for rate, loss in zip(rates, losses, strict=True)
    ]
    mark = RangeMark(rate=3e-3, low=2e-3, high=7e-3, said="3.0e-03") if marked else None
    return RangeLine(label=label, points=points, mark=mark)


def test_the_suggestion_lies_on_its_curve() -> None:
    whole = range_curves([line("a")])(True)
    (mark,) = whole["datasets"]["marks"]
    assert (mark["x"], mark["low"], mark["high"]) == (3e-3, 2e-3, 7e-3)
    assert mark["loss"] == pytest.approx(2.0 / 3.51, rel=0.3)
    assert range_curves([line("a", marked=False)])(True)["datasets"]["marks"] == []


def test_an_explosion_does_not_press_the_rest_together() -> None:
    low, high = window([line("a"), line("b")])
    assert -0.2 < low < 0.1
    assert 2.0 < high < 4.0


def test_batches_and_the_end_of_memory_are_drawn() -> None:
    points = [BatchPoint(batch=2**p, value=2.0**p, low=0.9 * 2**p, high=1.1 * 2**p) for p in range(3, 9)]
    whole = throughput_by_batch(points, knee=64, ends=[BatchEnd(batch=300, said="memory ends at 300")])(True)
    assert [row["x"] for row in whole["datasets"]["rows"] if row["knee"]] == [64]
    assert [row["text"] for row in whole["datasets"]["ends"]] == ["dashed: memory ends at 300"]
    domains = [
        layer["encoding"]["x"]["scale"]["domain"]
        for layer in whole["layer"]
        if "scale" in layer["encoding"].get("x", {})
    ]
    assert all(low < 8 and high > 300 for low, high in domains)
    single = throughput_by_batch(points[:1], knee=8)(True)
    assert math.isfinite(single["layer"][0]["encoding"]["x"]["scale"]["domain"][0])


def test_they_are_pictures(tmp_path: Path) -> None:
    build = range_curves([line("a"), line("b"), line("c", marked=False)])
    png(tmp_path / "range.png", standing(build, title="a title", subtitle="one line\nanother"))
    assert (tmp_path / "range.png").read_bytes().startswith(b"\x89PNG")


def test_views_that_can_be_chance_are_grey(tmp_path: Path) -> None:
    rows = [
        ViewDifference(name="mirror", value=0.01, low=-0.01, high=0.03, cost=2.0),
        ViewDifference(name="shift", value=-0.02, low=-0.03, high=-0.01, cost=5.0),
        ViewDifference(name="alone", value=0.02, low=-math.inf, high=math.inf, cost=2.0),
    ]
    whole = differences(rows, metric="accuracy")(True)
    drawn = {row["name"]: (row["x"], row["low"], row["told"]) for row in whole["datasets"]["rows"]}
    assert drawn == {"mirror": (1.0, -1.0, False), "shift": (-2.0, -3.0, True), "alone": (2.0, None, False)}
    png(tmp_path / "views.png", standing(differences(rows, metric="loss"), title="a title", subtitle="a line"))
    assert (tmp_path / "views.png").read_bytes().startswith(b"\x89PNG")
