"""Looks that were declared, and what each may spend."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.looks import declared_looks, occasion
from tests.analysis.asked import asked


def test_without_looks_there_is_one_at_all_seeds() -> None:
    assert declared_looks(asked([1, 2], seeds=8)) == [8]
    assert declared_looks(asked([1, 2], seeds=32, looks=[8, 16, 32])) == [8, 16, 32]


@pytest.mark.parametrize("looks", [[16, 8], [8, 8], [0, 8], [8, 16.5], ["8"]])
def test_looks_that_make_no_sense_are_refused(looks: list[int]) -> None:
    with pytest.raises(ValueError, match="increasing whole numbers"):
        declared_looks(asked([1, 2], seeds=8, looks=looks))


@pytest.mark.parametrize(
    ("done", "seeds", "alpha", "taken", "early"),
    [
        (0, 0, 0.0125, 0, True),
        (7, 7, 0.0125, 0, True),
        (8, 8, 0.0125, 1, False),
        (15, 8, 0.0125, 1, False),
        (16, 16, 0.0125, 2, False),
        (32, 32, 0.025, 3, False),
        (40, 40, 0.025, 3, False),
    ],
)
def test_the_latest_look_that_was_reached_counts(done: int, seeds: int, alpha: float, taken: int, early: bool) -> None:
    now = occasion([8, 16, 32], done=done, alpha=0.05)
    assert now.seeds == seeds
    assert now.alpha == pytest.approx(alpha)
    assert [look.taken for look in now.looks] == [i < taken for i in range(3)]
    assert now.early is early


@given(st.sets(st.integers(1, 200), min_size=1, max_size=6), st.floats(0.001, 0.5), st.integers(0, 250))
def test_the_looks_together_spend_alpha(looks: set[int], alpha: float, done: int) -> None:
    now = occasion(sorted(looks), done=done, alpha=alpha)
    assert sum(look.alpha for look in now.looks) == pytest.approx(alpha)
    assert all(look.alpha > 0 for look in now.looks)
    assert now.seeds <= done
