"""What findings say, their order, and what is left out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from analysis.doctor import Disease, Finding, examine
from analysis.doctor.finding import WEIGHT
from analysis.doctor.planted import planted
from analysis.doctor.planted_case import Case
from analysis.doctor.trend import kendall, noise, trend
from analysis.ledger import Question
from analysis.records import Scalar, Stage, Status, TrialRecord


def case(disease: Disease | None, seed: int = 3) -> Case:
    return planted(disease, np.random.default_rng(seed))


def named(found: list[Finding], disease: Disease) -> Finding:
    return next(one for one in found if one.disease is disease)


def seen(case: Case, settings: Mapping[str, Any] | None = None) -> list[Finding]:
    raw = case.question.raw
    asked = replace(case.question, raw={**raw, "recipe": {**raw["recipe"], **(settings or {})}})
    return examine(asked, case.records, waits=case.waits)


RANGE = r"optimizer\.lr log_uniform\(0\.0001, 0\.1\) -> log_uniform\("

SAID: list[tuple[Disease, dict[str, Scalar], str, str]] = [
    (Disease.OVERFITTING, {}, r"rises from [\d.]+ at epoch \d+ to [\d.]+ towards epoch", r"weight_decay 0\.01 -> 0\.1"),
    (Disease.OVERFITTING, {"model.dropout": 0.1}, "while training loss falls", r"model\.dropout 0\.1 -> 0\.3"),
    (Disease.NO_PROGRESS, {}, r"training loss [\d.]+ in epoch 1 and [\d.]+ in the last third", RANGE),
    (Disease.APART, {"sampling": "Chunked"}, r"validation loss never below", r"sampling=Chunked\(\) -> None"),
    (Disease.OSCILLATION, {}, r"goes up and comes down again \d+ times in \d+ epochs, by \d+ %", RANGE),
    (Disease.SHORT, {}, r"still falls when the \d+ epochs are over", r"epochs (\d+) -> \d+"),
    (Disease.SPIKES, {"clip": None}, r"spikes \d+ times", r"clip=ClipNorm\(1\.0\)"),
    (Disease.GRADIENTS, {}, r"norm of the gradients grows from", RANGE),
    (
        Disease.SEEDS,
        {},
        r"seed \d+ ends at [\d.]+ % test accuracy, the other \d+ between",
        r"schedule\.warmup 0 -> 0\.1",
    ),
    (Disease.EDGE, {}, r"tuned to the upper end of log_uniform\(0\.0001, 0\.1\): 0\.099", rf"{RANGE}0\.0001, 1\)"),
    (Disease.INPUT, {}, r"% of the time is spent waiting for batches", r"prefetch=Prefetch\(depth=2\)"),
    (Disease.DEVICE, {}, r"the cores of a run are busy for \d+ %", r"resources\.cpus 4 -> [12]"),
    (Disease.DIVERGENCE, {"clip": None}, r"finals", r"clip=ClipNorm\(1\.0\)|optimizer\.lr"),
]


@pytest.mark.parametrize(("disease", "settings", "evidence", "change"), SAID, ids=lambda one: str(one)[:20])
def test_evidence_and_change(disease: Disease, settings: dict[str, Scalar], evidence: str, change: str) -> None:
    one = named(seen(case(disease), settings), disease)
    assert re.search(evidence, one.evidence), one.evidence
    assert re.search(change, one.change), one.change
    assert one.trials
    assert 0 < one.sure <= 1
    assert 0 < one.matters <= WEIGHT[disease]


def test_rate_goes_the_way_that_the_curve_asks_for() -> None:
    """What does not move at all gets a larger rate; what is thrown about, a smaller one."""
    creeping, wild = case(Disease.NO_PROGRESS), case(Disease.NO_PROGRESS)
    generator = np.random.default_rng(0)

    def rows(record: TrialRecord, spread: float) -> list[dict[str, Any]]:
        return [{**row, "train/loss": 2.0 + spread * float(generator.normal())} for row in record.history]

    still = replace(creeping, records=[replace(one, history=rows(one, 1e-5)) for one in creeping.records])
    thrown = replace(wild, records=[replace(one, history=rows(one, 0.04)) for one in wild.records])
    spaceless = {"space": {}, "recipe": {"optimizer.lr": 0.001}}
    for one, expected in ((still, 10), (thrown, 0.1)):
        point = {"optimizer.lr": 0.001}
        asked = replace(one.question, raw={**one.question.raw, **spaceless})
        records = [replace(record, point=point) for record in one.records]
        change = named(examine(asked, records), Disease.NO_PROGRESS).change
        assert change == f"optimizer.lr 1e-3 -> {'0.01' if expected == 10 else '1e-4'}"


def test_the_weightiest_comes_first() -> None:
    """A level that diverges beside one that trains too briefly."""
    levels = {"a": case(Disease.SHORT), "b": case(Disease.DIVERGENCE)}
    question, records = beside(levels)
    found = examine(question, records)
    assert [one.weight for one in found] == sorted((one.weight for one in found), reverse=True)
    assert [one.disease for one in found][:2] == [Disease.DIVERGENCE, Disease.SHORT]
    assert [one.level for one in found][:2] == ["b", "a"]
    assert set(found[0].trials) <= {one.id for one in records if one.level == {"model": "b"}}


def test_what_all_levels_have_is_said_once() -> None:
    question, records = beside({"a": case(Disease.OVERFITTING, 1), "b": case(Disease.OVERFITTING, 2)})
    (one,) = examine(question, records)
    assert one.level is None
    assert one.evidence.startswith("at all 2 levels; at ")
    assert {trial[0] for trial in one.trials} == {"a", "b"}


def test_what_some_levels_have_is_said_once_where_one_change_would_do() -> None:
    question, records = beside({"a": case(Disease.OVERFITTING, 1), "b": case(None), "c": case(Disease.OVERFITTING, 2)})
    (one,) = examine(question, records)
    assert one.level is None
    assert one.evidence.startswith("at 2 of 3 levels (a, c); at ")
    assert {trial[0] for trial in one.trials} == {"a", "c"}


def beside(levels: Mapping[str, Case]) -> tuple[Question, list[TrialRecord]]:
    """Several cases as the levels of one sweep."""
    first = next(iter(levels.values())).question
    question = replace(first, factors={"model": tuple(levels)}, raw={**first.raw, "recipe": {}})
    records = [
        replace(one, id=f"{name}{one.id}", level={"model": name}, point={**one.point, "model": name})
        for name, known in levels.items()
        for one in known.records
    ]
    return question, records


def test_heats_are_left_alone_but_for_many_that_diverged() -> None:
    healthy = case(None)
    rates = np.geomspace(1e-4, 1e-1, 12)

    def heats(lost: int) -> list[TrialRecord]:
        base = healthy.records[0]
        return [
            replace(
                base,
                id=f"h{place}",
                stage=Stage.HEAT,
                point={"optimizer.lr": float(rate)},
                status=Status.DIVERGED if place >= 12 - lost else Status.COMPLETED,
            )
            for place, rate in enumerate(rates)
        ]

    assert examine(healthy.question, [*heats(2), *healthy.records]) == []
    (one,) = examine(healthy.question, [*heats(5), *healthy.records])
    assert one.evidence.startswith("5 of 12 heats diverged, at learning rates from 0.0")
    assert re.fullmatch(
        r"optimizer\.lr log_uniform\(0\.0001, 0\.1\) -> log_uniform\(0\.0001, (0\.005|0\.01)\)", one.change
    )
    assert one.matters < 0.5
    unlike = [
        replace(one, status=Status.DIVERGED if one.id in ("h0", "h5", "h9") else Status.COMPLETED) for one in heats(0)
    ]
    assert examine(healthy.question, [*unlike, *healthy.records]) == []


def test_nothing_to_look_at_is_no_trouble() -> None:
    healthy = case(None)
    assert examine(healthy.question, []) == []
    bare = [replace(one, history=()) for one in healthy.records]
    assert examine(healthy.question, bare) == []
    lost = [replace(one, status=Status.FAILED) for one in healthy.records]
    assert examine(healthy.question, lost) == []
    for raw in ({}, {"recipe": None, "space": None, "resources": "many"}):
        assert examine(replace(healthy.question, raw=raw), healthy.records) == []
    few = [
        replace(one, history=[{"epoch": row["epoch"], "train/loss": None} for row in one.history])
        for one in healthy.records
    ]
    assert examine(healthy.question, few) == []


def test_a_validation_that_skips_epochs_is_examined_all_the_same() -> None:
    ill = case(Disease.OVERFITTING)
    every_other = [
        replace(
            one,
            history=[
                row if place % 2 else {name: value for name, value in row.items() if not name.startswith("val")}
                for place, row in enumerate(one.history)
            ],
        )
        for one in ill.records
    ]
    assert Disease.OVERFITTING in [one.disease for one in examine(ill.question, every_other)]


def test_the_statistics_are_their_definitions() -> None:
    assert kendall(np.array([1.0, 2.0, 3.0])) == (3.0, 3 * 2 * 11 / 18)
    assert kendall(np.array([2.0, 2.0, 2.0])) == (0.0, 0.0)
    assert kendall(np.array([1.0, 2.0, 2.0]))[1] == (3 * 2 * 11 - 2 * 1 * 9) / 18
    generator = np.random.default_rng(0)
    assert noise(5 + 0.2 * generator.normal(size=4000)) == pytest.approx(0.2, rel=0.1)
    assert noise(np.linspace(0, 9, 50) ** 1.0) == pytest.approx(0.0, abs=1e-9)
    z = [trend([generator.normal(size=12) for _ in range(4)]) for _ in range(2000)]
    assert np.mean(z) == pytest.approx(0, abs=0.1)
    assert np.mean(np.array(z) > 2.58) < 0.01
