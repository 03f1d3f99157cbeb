"""Which batch a level had, told from the steps of its finals alone."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.effective_batch import Batches, Growth, growth
from analysis.records import TrialRecord
from tests.planted import planted_scaling


def final(samples: int, steps: int, *, skipped: int = 0, epochs: int = 4) -> TrialRecord:
    """A final of so many samples and steps an epoch."""
    (record,) = planted_scaling({(64, 1): 1.0}, seeds=1, epochs=epochs)
    last = {**record.history[-1], "samples": epochs * samples, "step": epochs * steps - skipped}
    return replace(record, history=[*record.history[:-1], last | ({"skipped_steps": skipped} if skipped else {})])


@given(samples=st.integers(1, 5000), batch=st.integers(1, 5000))
def test_the_true_batch_always_fits(samples: int, batch: int) -> None:
    found = Batches.of([final(samples, math.ceil(samples / batch))])
    assert found is not None
    assert found.least <= min(batch, samples)
    assert batch <= found.most


def test_a_skipped_step_had_its_batch() -> None:
    assert Batches.of([final(1078, 9, skipped=2)]) == Batches.of([final(1078, 9)]) == Batches(least=120, most=134)


@pytest.mark.parametrize(
    "records", [[], [final(1000, 10), final(1000, 11)], [replace(final(1000, 10), history=())], [final(0, 10)]]
)
def test_what_is_not_known_is_not_guessed(records: list[TrialRecord]) -> None:
    assert Batches.of(records) is None


def test_a_batch_is_named_by_the_only_number_that_fits() -> None:
    assert Batches(least=120, most=134).named("PerWorker(samples=128)") == 128
    assert Batches(least=120, most=134).named("each(120, 128)") is None
    assert Batches(least=120, most=134).named(64) is None
    assert Batches(least=32, most=32).named(None) == 32


@given(samples=st.integers(100, 5000), batch=st.integers(1, 90))
def test_the_same_batch_is_strong_and_one_that_grows_is_weak(samples: int, batch: int) -> None:
    same = Batches.of([final(samples, math.ceil(samples / batch))])
    assert same is not None
    strong = growth(dict.fromkeys((1, 2, 4), same))
    assert strong is not None
    assert strong[0] is Growth.STRONG
    grown = {w: Batches.of([final(samples, math.ceil(samples / (batch * w)))]) for w in (1, 2, 4)}
    weak = growth({workers: found for workers, found in grown.items() if found is not None})
    assert weak is not None
    assert weak[0] is Growth.WEAK
    assert weak[1].least <= batch <= weak[1].most


def test_neither_is_said_to_be_neither() -> None:
    assert growth({1: Batches(least=64, most=64)}) is None
    assert growth({1: Batches(least=64, most=64), 2: Batches(least=100, most=100)}) is None
