"""The page's small parts: axes, curves, holes, reduction, labels, differences, the cached bundle."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.judge import judge
from analysis.ledger import Goal, read_ledger, read_question
from analysis.records import Stage, Status
from analysis.target import apart
from analysis.verdict import Comparison
from reports import bundle, page, palette
from reports.curve_chart import spread
from reports.curves import coincident, curve_points, window
from reports.effects import against, differences, speeds, without_speed
from reports.figure import embedded
from reports.labels import Labels
from reports.parallel import fifths
from reports.reduce import chosen, thin
from reports.space import holes, main_hole
from reports.tally import tally
from reports.under_way import with_live_epochs
from reports.whisker import Axis, axis, header, round_ticks, whisker
from tests.planted import planted_folder, planted_question, planted_record, planted_records

GOAL = Goal(metric="accuracy", mode="max", target=0.9)


def finals(values: list[float], epochs: int = 6, seconds: float = 1.0):
    return [
        planted_record(
            level=16,
            stage=Stage.FINAL,
            seed=seed,
            number=seed,
            score=value,
            epochs=epochs,
            seconds=seconds * (seed + 1),
        )
        for seed, value in enumerate(values)
    ]


@given(st.lists(st.floats(0, 1), max_size=12), st.floats(0.001, 0.2))
def test_labels_are_spread_apart_in_their_order(values: list[float], gap: float) -> None:
    places = spread(values, gap)
    order = sorted(range(len(values)), key=lambda i: values[i])
    for low, high in pairwise(order):
        assert places[high] - places[low] >= gap * (1 - 1e-6)
    if len(values) == 1:
        assert places == values


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_an_axis_has_two_to_five_ticks_within_it(low: float, width: float) -> None:
    high = low + width
    if high - low > 1e-9 * max(abs(low), 1.0):
        ticks = round_ticks(low, high)
        slack = 1e-6 * (high - low) + 1e-12
        assert 2 <= len(ticks) <= 5
        assert all(low - slack <= tick <= high + slack for tick in ticks)


def test_a_wide_interval_does_not_press_the_means_together_and_runs_off_the_axis() -> None:
    scale = axis([0.90, 0.92, 0.95], [(0.89, 0.91), (-4.0, 6.0), (0.94, 0.96)])
    assert scale is not None
    assert scale.at(0.95) - scale.at(0.90) > 20
    assert whisker(scale, 0.92, (-4.0, 6.0)).count('class="cap"') == 0
    assert whisker(scale, 0.90, (0.89, 0.91)).count('class="cap"') == 2
    assert 'class="bar"' not in whisker(scale, 0.90, (None, None))
    assert axis([], []) is None


def test_one_value_alone_has_an_axis() -> None:
    scale = axis([0.0], [])
    assert scale is not None
    assert scale.low < 0 < scale.high


def test_mean_band_and_median_seconds_of_a_level() -> None:
    points = curve_points({"16": finals([0.8, 0.9, 1.0])}, "val/accuracy")
    last = points[-1]
    assert (last.epoch, last.n) == (6, 3)
    assert last.mean == pytest.approx(0.9)
    assert (last.low, last.high) == (pytest.approx(0.82), pytest.approx(0.98))
    assert last.seconds == pytest.approx(2.0)


def test_curves_that_hide_one_another_are_named() -> None:
    same = finals([0.8, 0.9])
    points = curve_points(
        {"16": same, "32": finals([0.8, 0.91]), "64": same, "128": finals([0.8], epochs=5)}, "val/accuracy"
    )
    assert coincident(points) == [["16", "64"]]


def test_unknown_seconds_of_one_final_leave_the_point_without_a_time() -> None:
    records = finals([0.8, 0.9])
    timeless = [{name: value for name, value in row.items() if name != "seconds"} for row in records[0].history]
    points = curve_points({"16": [replace(records[0], history=timeless), records[1]]}, "val/accuracy")
    assert {point.seconds for point in points} == {None}


def test_rows_that_are_not_finite_or_lack_the_metric_are_left_out() -> None:
    record = finals([0.9])[0]
    history = [
        {"epoch": 1, "val/accuracy": float("nan")},
        {"epoch": 2},
        {"epoch": 3, "val/accuracy": None},
        *record.history[3:],
    ]
    assert [point.epoch for point in curve_points({"16": [replace(record, history=history)]}, "val/accuracy")] == [
        4,
        5,
        6,
    ]


def test_long_curves_are_thinned_and_keep_their_ends() -> None:
    points = curve_points({"16": finals([0.9], epochs=400)}, "val/accuracy")
    assert len(points) == 50
    assert (points[0].epoch, points[-1].epoch) == (1, 400)
    assert thin([1, 2, 3], 50) == [1, 2, 3]


@pytest.mark.parametrize("mode", ["max", "min"])
def test_the_window_keeps_the_good_end_of_the_curves(mode: str) -> None:
    points = curve_points({"16": finals([0.9], epochs=12)}, "val/accuracy")
    low, high = window(points, mode, 0.91)
    values = [point.mean for point in points]
    assert low < min(values[-10:])
    assert high > max(values) if mode == "max" else low < min(values)
    assert high > 0.91  # a target that is near is seen
    assert window(points, mode, 9.0)[1] < 1.0  # one that is far away is not


def test_the_chosen_curves_are_the_best_and_a_fixed_draw_of_the_rest() -> None:
    records = [
        planted_record(level=16, stage=Stage.HEAT, seed=0, number=number, score=number / 1000) for number in range(500)
    ]
    drawn = chosen(records, GOAL)
    assert len({record.id for record in drawn}) == 90
    assert {record.number for record in drawn[:30]} == set(range(470, 500))
    assert drawn == chosen(records, GOAL)
    assert chosen(records[:90], GOAL) == records[:90]


def test_fifths_are_of_equal_size_with_the_best_first() -> None:
    records = [planted_record(level=16, stage=Stage.HEAT, seed=0, number=n, score=n / 100) for n in range(50)]
    which = fifths(records, GOAL)
    assert [list(which.values()).count(fifth) for fifth in range(5)] == [10] * 5
    assert which[records[49].id] == 0
    assert fifths([], GOAL) == {}


def test_holes_are_what_varies_and_is_not_compared(tmp_path: Path) -> None:
    records = [
        replace(
            record,
            point={
                **record.point,
                "optimizer": ("AdamW", "SGD")[i % 2],
                "width": (16, 256)[i % 2],
                "fixed": 3,
                "off": None,
            },
        )
        for i, record in enumerate(planted_records({16: [0.9], 32: [0.8]}, heats=6))
    ]
    question = read_question(planted_folder(tmp_path, records, planted_question([16, 32], seeds=1)))
    found = holes(question, records)
    assert [(hole.path, hole.numeric, hole.log) for hole in found] == [
        ("optimizer.lr", True, True),
        ("optimizer", False, False),
        ("width", True, False),
    ]
    hole = main_hole(found[::-1])
    assert hole is not None
    assert hole.path == "optimizer.lr"
    assert hole.place(hole.values[0]) == 0.0
    assert hole.place(hole.values[-1]) == 1.0
    assert found[1].place("SGD") == 1.0
    assert found[1].place("LAMB") is None
    assert main_hole([found[1]]) is None


def test_levels_keep_the_order_of_the_question(tmp_path: Path) -> None:
    records = planted_records({512: [0.99] * 8, 16: [0.9] * 8, 64: [0.95] * 8})
    question = read_question(planted_folder(tmp_path, records, planted_question([16, 64, 512], seeds=8)))
    labels = Labels.of(question, records, judge(question, records))
    assert list(labels.order) == ["16", "64", "512"]
    assert list(labels.grouped(records)) == ["16", "64", "512"]
    assert labels.label({"batch_size": 16}) == "16"


def test_differences_are_turned_towards_the_better_level(troubled_folder: Path) -> None:
    comparison = Comparison(a="x", b="y", difference=0.2, interval=(0.1, None), p=0.1, p_adjusted=0.2)
    turned = against(comparison, "x")
    assert (turned.a, turned.b, turned.difference, turned.interval) == ("y", "x", -0.2, (None, -0.1))
    assert against(comparison, "y") == comparison
    question, records = read_question(troubled_folder), read_ledger(troubled_folder)
    verdict = judge(question, records)
    labels = Labels.of(question, records, verdict)
    best, every = (differences(verdict, labels, best_only=only) for only in (True, False))
    assert best is not None
    assert every is not None
    assert {row.b for row in best.rows} == {"64"}
    assert len(best.rows) == 4
    assert len(every.rows) == 10
    assert all(row.size.startswith(("−", "0")) for row in every.rows)
    clear = {row.a: row.clear for row in best.rows}
    assert clear == {"128": False, "32": False, "16": True, "256": True}
    quickest = speeds(verdict, labels, quickest_only=True)
    assert quickest is not None
    assert len({row.b for row in quickest.rows}) == 1


def test_a_level_whose_time_is_compared_with_nobody_s_is_named_with_the_reason(tmp_path: Path) -> None:
    scores = {16: [0.95] * 8, 64: [0.93] * 8, 256: [0.95, *[0.85] * 7], 512: [0.8] * 8}
    records = planted_records(scores)
    folder = planted_folder(tmp_path, records, planted_question([16, 64, 256, 512], seeds=8))
    verdict = judge(read_question(folder), records)
    assert {label for pair in verdict.speed for label in (pair.a, pair.b)} == {"16", "64"}
    assert without_speed(verdict) == [
        ("256", "1 of its 8 finals reached the target"),
        ("512", "none of its 8 finals reached the target"),
    ]
    text = " ".join(page.write(folder).read_text().split())
    assert (
        "Not compared: <b>256</b>, 1 of its 8 finals reached the target; "
        "<b>512</b>, none of its 8 finals reached the target." in text
    )
    assert without_speed(replace(verdict, speed=[])) == []  # nothing is compared, and the section is not there


def test_no_comparison_is_no_table(tmp_path: Path) -> None:
    records = planted_records({16: [0.9] * 8})
    question = read_question(planted_folder(tmp_path, records, planted_question([16], seeds=8)))
    verdict = judge(question, records)
    labels = Labels.of(question, records, verdict)
    assert differences(verdict, labels, best_only=True) is None
    assert speeds(verdict, labels, quickest_only=True) is None


def test_a_curve_over_time_is_placed_by_the_finals_that_were_trained_alone() -> None:
    """Those of a pack have no clock of their own, and count for the mean alone."""
    alone = finals([0.9, 0.8, 0.7])
    packed = replace(alone[2], history=[{**_without(row, "seconds"), "shared": 4} for row in alone[2].history])
    whole = curve_points({"16": alone}, "val/accuracy")
    mixed = curve_points({"16": [*alone[:2], packed]}, "val/accuracy")
    two = curve_points({"16": alone[:2]}, "val/accuracy")
    assert [point.mean for point in mixed] == [point.mean for point in whole]
    assert [point.seconds for point in mixed] == [point.seconds for point in two]
    assert all(point.seconds is not None for point in mixed)
    assert all(point.seconds is None for point in curve_points({"16": [packed]}, "val/accuracy"))
    assert apart([alone]) is None
    assert apart([[*alone[:2], packed], alone]) == 2


def _without(row: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key != name}


def test_a_tally_counts_what_is_missing(tmp_path: Path) -> None:
    records = planted_records({16: [0.9] * 8, 32: [0.8] * 8})
    question = read_question(planted_folder(tmp_path, records, planted_question([16, 32], seeds=8)))
    assert not tally(question, records).unfinished
    assert tally(question, records[:-1]).unfinished
    assert tally(question, [replace(records[0], status=Status.RUNNING), *records[1:]]).running == 1


def test_live_epochs_fill_only_what_is_running(tmp_path: Path) -> None:
    ended, running = finals([0.9, 0.8])
    running = replace(running, status=Status.RUNNING, history=(), epochs=0)
    lines = [json.dumps({"id": record.id, "row": {"epoch": 2}}) for record in (ended, running)]
    wrong = [json.dumps({"id": running.id, "row": {"epoch": epoch}}) for epoch in ("3", 2.5, None, float("nan"))]
    damaged = [*wrong, "null", '{"id": 1, "row": 3}', "{"]
    (tmp_path / "live.jsonl").write_text("\n".join([*lines, *damaged]))
    after = with_live_epochs(tmp_path, [ended, running])
    assert after[0] == ended
    assert (after[1].epochs, list(after[1].history)) == (2, [{"epoch": 2}])
    assert with_live_epochs(tmp_path / "none", [ended]) == [ended]


def test_live_epochs_that_were_trained_again_are_those_told_last(tmp_path: Path) -> None:
    running = replace(finals([0.9])[0], status=Status.RUNNING, history=(), epochs=0)
    told = [(1, 0.1), (2, 0.2), (3, 0.3), (1, 0.1), (2, 0.25)]
    rows = [{"epoch": epoch, "val/accuracy": value} for epoch, value in told]
    (tmp_path / "live.jsonl").write_text("\n".join(json.dumps({"id": running.id, "row": row}) for row in rows))
    (after,) = with_live_epochs(tmp_path, [running])
    assert (after.epochs, [*after.history]) == (2, rows[-2:])


def test_embedded_json_cannot_end_its_element_and_holds_no_password() -> None:
    value = {"a": "</script><!--", "b": "http://me:pw@host"}
    text = embedded(value)
    assert "<" not in text
    assert ">" not in text
    assert json.loads(text) == {"a": "</script><!--", "b": "http://…@host"}


def test_the_bundle_is_made_once_and_again_when_it_is_not_whole(tmp_path: Path) -> None:
    made = bundle.javascript(tmp_path)
    (kept,) = tmp_path.iterdir()
    assert "</script" not in made
    kept.write_text("// kept" + made)
    assert bundle.javascript(tmp_path) == "// kept" + made
    kept.write_text(made[: len(made) // 2])
    assert bundle.javascript(tmp_path) == made
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert bundle.javascript(blocked) == made


def luminance(colour: str) -> float:
    """Relative luminance of ``#rrggbb`` (WCAG 2.2)."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: str, b: str) -> float:
    """Contrast ratio of two colours (WCAG 2.2)."""
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_colours_stand_out_from_their_page() -> None:
    for colour in (*palette.SERIES, palette.REST):
        assert contrast(colour.light, "#ffffff") >= 3
        assert contrast(colour.dark, "#12161b") >= 3
    for colour in (palette.INK, palette.MUTED):
        assert contrast(colour.light, "#ffffff") >= 4.5
        assert contrast(colour.dark, "#12161b") >= 4.5
    assert palette.swatch(7) == "c7"
    assert palette.swatch(8) == palette.swatch(-1) == "c-rest"


def test_labels_over_a_column_have_room_between_them() -> None:
    scale = Axis(low=0.0, high=5.0, ticks=(1.0, 2.0, 3.0, 4.0))
    assert re.findall(r">([^<>]+)</text>", header(scale, ["94 %", "95 %", "96 %", "97 %"])) == [
        "94",
        "95",
        "96",
        "97 %",
    ]
    crowded = header(scale, ["0.0125", "0.0150", "0.0175", "0.0200"])
    assert re.findall(r">([^<>]+)</text>", crowded) == ["0.0125", "0.0175"]
    assert "inner" not in crowded
