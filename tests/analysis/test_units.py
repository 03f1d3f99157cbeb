"""How values are written for people."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis import units


@pytest.mark.parametrize(
    ("metric", "share"),
    [
        ("accuracy", True),
        ("val/accuracy", True),
        ("top5_accuracy", True),
        ("f1", True),
        ("f1_macro", True),
        ("error_rate", True),
        ("roc_auc", True),
        ("loss", False),
        ("perplexity", False),
        ("mae", False),
        ("separate", False),
    ],
)
def test_a_share_is_known_by_its_name(metric: str, share: bool) -> None:
    assert units.is_share(metric) is share


@pytest.mark.parametrize(
    ("x", "metric", "spread", "text"),
    [
        (0.978, "accuracy", None, "97.8 %"),
        (0.978, "accuracy", 0.006, "97.8 %"),
        (0.97812, "accuracy", 0.0004, "97.81 %"),
        (1.0, "accuracy", 0.0, "100.0 %"),
        (-0.0004, "accuracy", None, "0.0 %"),
        (0.12345, "loss", None, "0.1235"),
        (0.12345, "loss", 0.012, "0.123"),
        (12.3456, "loss", 1.2, "12.3"),
        (1234.5, "loss", 130.0, "1234"),
        (0.0000123, "loss", None, "1.230e-05"),
        (-2.5, "loss", 0.3, "−2.50"),
        (0.0, "loss", None, "0"),
        (math.inf, "loss", None, "∞"),
        (math.nan, "loss", None, "NaN"),
        (None, "loss", None, "–"),
    ],
)
def test_values(x: float | None, metric: str, spread: float | None, text: str) -> None:
    assert units.value(x, metric, spread=spread) == text


def test_gaps() -> None:
    assert units.gap(0.0191, "accuracy") == "1.9 points"
    assert units.gap(0.01, "accuracy") == "1.0 point"
    assert units.gap(-0.0191, "accuracy", signed=True) == "−1.9 points"
    assert units.gap(0.0191, "accuracy", signed=True) == "+1.9 points"
    assert units.gap(0.0191, "loss", spread=0.004) == "0.0191"
    assert units.gap(None, "loss") == "–"


def test_a_target_keeps_its_digits_and_no_more() -> None:
    assert units.target(0.97, "accuracy") == "97 %"
    assert units.target(0.9725, "accuracy") == "97.25 %"
    assert units.target(0.25, "loss") == "0.25"
    assert units.target(None, "loss") == "–"


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (0.0, "0 s"),
        (0.0032, "0.0032 s"),
        (0.82, "0.82 s"),
        (0.996, "1.0 s"),
        (3.1, "3.1 s"),
        (9.96, "10 s"),
        (42.4, "42 s"),
        (59.6, "1 min"),
        (250.2, "4 min 10 s"),
        (3_599.8, "1 h"),
        (7_500.0, "2 h 5 min"),
        (86_399.0, "1 d"),
        (100_000.0, "1 d 4 h"),
        (math.inf, "∞"),
        (None, "–"),
    ],
)
def test_seconds(x: float | None, text: str) -> None:
    assert units.seconds(x) == text


@given(st.floats(0.001, 1e8))
def test_seconds_say_what_they_mean(x: float) -> None:
    sizes = {"d": 86_400, "h": 3_600, "min": 60, "s": 1}
    parts = re.findall(r"([\d.]+) (d|h|min|s)\b", units.seconds(x))
    assert sum(float(number) * sizes[unit] for number, unit in parts) == pytest.approx(x, rel=0.06)
    assert len(parts) <= 2


@pytest.mark.parametrize(
    ("p", "relation", "text"),
    [
        (0.41, "=", "p = 0.41"),
        (0.0391, "=", "p = 0.039"),
        (0.0002, "=", "p < 0.001"),
        (1.0, "=", "p = 1.00"),
        (0.419, "≥", "p ≥ 0.41"),
        (0.0629, "≥", "p ≥ 0.062"),
        (0.99999, "≥", "p ≥ 0.99"),
        (1.0, "≥", "p = 1.00"),
        (None, "=", "p = –"),
    ],
)
def test_p_values(p: float | None, relation: str, text: str) -> None:
    assert units.p_value(p, relation) == text


def test_ratios() -> None:
    assert [units.ratio(x) for x in (2.44, 1.04, 0.423, 0.05, 12.3, 12_345.0)] == [
        "2.4x",
        "1.04x",
        "0.42x",
        "0.050x",
        "12x",
        "12\u202f345x",
    ]
    assert units.ratio(None) == "–"
    assert units.factor(math.inf) == "∞"


def test_energy() -> None:
    said = [units.energy(x) for x in (None, 0.0, 0.25, 12.34, 123.4, 999.6, 12_345.0, 3.6e6, 7.2e12)]
    assert said == ["–", "0 J", "0.25 J", "12.3 J", "123 J", "1 kJ", "12.3 kJ", "3.6 MJ", "7200 GJ"]


def test_bytes_and_counts() -> None:
    assert [units.size(x) for x in (None, 12, 1_000, 300_000_000, 24_900_000_000, 999_600)] == [
        "–",
        "12 B",
        "1 kB",
        "300 MB",
        "24.9 GB",
        "1 MB",
    ]
    assert [units.count(x) for x in (None, 7, 1234, 12_345, -1_234_567)] == [
        "–",
        "7",
        "1234",
        "12\u202f345",
        "−1\u202f234\u202f567",
    ]


def test_labels_keep_numbers_as_they_are_set() -> None:
    assert [units.label(x) for x in (64, 0.001, 3e-4, 2.5e-4, 0.05, 0.1, 1e5, 1.5, 0.0, True, None, "SGD(lr=1)")] == [
        "64",
        "1e-3",
        "3e-4",
        "2.5e-4",
        "0.05",
        "0.1",
        "1e5",
        "1.5",
        "0",
        "True",
        "none",
        "SGD(lr=1)",
    ]


@given(st.floats(1e-12, 1e12))
def test_a_label_reads_back_as_its_number(x: float) -> None:
    assert float(units.label(x)) == pytest.approx(x, rel=1e-5)


def test_names_are_the_last_part_of_a_path() -> None:
    assert units.name("batch_size") == "batch size"
    assert units.name("optimizer.weight_decay") == "weight decay"
    assert units.name("model.widths.0") == "widths 0"
    assert units.name("cpu_seconds") == "CPU seconds"
    assert units.name("precision") == "precision"


def test_a_level_says_whose_its_batch_is_and_a_label_reads_like_words() -> None:
    assert units.label("PerWorker(samples=128)") == "128 a worker"
    assert units.label("PerWorker(samples=128, more=1)") == "PerWorker(samples=128, more=1)"
    assert units.level({"batch_size": 256, "resources.workers": 2}, "") == "256 in all, 2 workers"
    assert units.level({"batch_size": "PerWorker(samples=64)", "resources.workers": 1}, "") == "64 a worker, 1 worker"
    assert units.level({"batch_size": 256, "norm": None}, "") == "256, norm=none"
    assert units.level({}, "planted") == "planted"


def test_intervals() -> None:
    assert units.interval((0.972, 0.984), lambda x: units.number(x, "accuracy")) == "[97.2, 98.4]"
    assert units.interval((None, None), str) == ""  # it says nothing
    assert units.interval(None, str) == ""
    assert units.seconds_interval((0.55, 8.7)) == "[0.55, 8.7]"
    assert units.seconds_interval((42.0, 70.0)) == "[42 s, 1 min 10 s]"
    assert units.seconds_interval((0.5, None)) == "[0.50, ∞]"
    assert units.half_width((1.0, 4.0)) == 1.5
    assert units.half_width((None, 4.0)) is None
    assert units.half_width(None) is None
