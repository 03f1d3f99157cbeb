"""How numbers and times are written."""

from __future__ import annotations

import pytest

from trainables.progress import words


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (4.2e-4, "420 µs/step"),
        (3.21e-3, "3.2 ms/step"),
        (0.241, "241 ms/step"),
        (0.9996, "1.0 s/step"),
        (75.0, "75 s/step"),
    ],
)
def test_the_pace_is_in_the_unit_that_fits(seconds: float, said: str) -> None:
    assert words.per_step(seconds) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.04, "0.0 s"),
        (9.96, "10 s"),
        (59.6, "1 min"),
        (250, "4 min 10 s"),
        (7500, "2 h 5 min"),
        (3599.9, "1 h"),
        (273_700, "3 d 4 h"),
    ],
)
def test_durations(seconds: float, said: str) -> None:
    assert words.duration(seconds) == said


@pytest.mark.parametrize(
    ("seconds", "said"), [(-1, "0 s"), (31.4, "31 s"), (247, "about 4 min 10 s"), (1234, "about 21 min")]
)
def test_what_is_left_has_no_digits_that_nobody_knows(seconds: float, said: str) -> None:
    assert words.to_go(seconds) == said


@pytest.mark.parametrize(
    ("lr", "said"), [(0.0, "0"), (3e-4, "3.0e-4"), (0.05, "0.050"), (1.0, "1.0"), (12_345.0, "1.2e4")]
)
def test_rates(lr: float, said: str) -> None:
    assert words.rate(lr) == said


@pytest.mark.parametrize(
    ("loss", "said"), [(0.412, "0.4120"), (1234.0, "1234"), (float("nan"), "nan"), (1e-7, "1.000e-07")]
)
def test_numbers_keep_their_width(loss: float, said: str) -> None:
    assert words.number(loss) == said


def test_parts_are_never_broken() -> None:
    assert words.wrapped(["loss 0.4", "", "lr 0.1", "3 ms/step"], 20) == ["loss 0.4   lr 0.1", "3 ms/step"]
    assert words.wrapped(["longer than the line"], 5) == ["longer than the line"]
