"""A trial as MLflow shows it, without MLflow: names, parameters, tags, metrics."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from analysis.ledger import Goal, Question, read_question
from analysis.records import Scalar, Stage, Status, TrialRecord
from analysis.tracking_runs import NAME_WIDTH, Naming, data_of, level_text, mlflow_status, once, rows, sweep_params
from tests.planted import planted_folder, planted_question, planted_record

GOAL = Goal(metric="accuracy", mode="max")


@pytest.fixture
def question(tmp_path: Path) -> Question:
    return read_question(planted_folder(tmp_path, [], planted_question([16, 64], seeds=2)))


def asked(tmp_path: Path, levels: Mapping[str, list[Scalar]], space: Mapping[str, str], **raw: Any) -> Question:
    """A question with these factors and holes."""
    factors = [{"path": path, "levels": values} for path, values in levels.items()]
    return read_question(
        planted_folder(tmp_path, [], planted_question([], seeds=2) | {"factors": factors, "space": space} | raw)
    )


def heat(point: Mapping[str, Scalar], level: Mapping[str, Scalar]) -> TrialRecord:
    """A heat with this point."""
    return replace(planted_record(level=0, stage=Stage.HEAT, seed=0, number=17, score=0.9), point=point, level=level)


@pytest.mark.parametrize(
    ("level", "point", "name"),
    [
        ({"batch_size": 64}, {"optimizer.lr": 3.12e-3}, "64 lr 3.1e-3 t017"),
        ({"batch_size": 512}, {"optimizer.lr": 1e-4, "optimizer.weight_decay": 0.01}, "512 lr 1e-4 t017"),
        ({}, {"optimizer.lr": 0.02, "loss.smoothing": 0.1}, "lr 0.02 t017"),
        ({"optimizer": "SGD(momentum=0.9)"}, {"optimizer.lr": 0.1}, "SGD lr 0.1 t017"),
        ({"model": "ConvolutionalNetwork"}, {"optimizer.lr": 1e-3}, "Convolut… t017"),
    ],
)
def test_a_heats_name_begins_with_what_tells_it_apart_and_is_not_cut(
    tmp_path: Path, level: dict[str, Scalar], point: dict[str, Scalar], name: str
) -> None:
    space = {"optimizer.lr": "log_uniform(0.0001, 0.1)", "optimizer.weight_decay": "uniform(0, 0.1)"}
    naming = Naming.of(asked(tmp_path, {path: [value, "other"] for path, value in level.items()}, space))
    assert naming.run_name(heat({**level, **point}, level)) == name
    assert len(name) <= NAME_WIDTH


def test_a_finals_name_is_level_and_seed(question: Question) -> None:
    final = planted_record(level=64, stage=Stage.FINAL, seed=3, number=30, score=0.9)
    assert Naming.of(question).run_name(final) == "64 final s3"


def test_levels_that_begin_alike_are_told_apart_by_their_arguments(tmp_path: Path) -> None:
    levels: list[Scalar] = ["SGD(momentum=0.9)", "SGD(momentum=0.5)"]
    naming = Naming.of(asked(tmp_path, {"optimizer": levels}, {}))
    names = {naming.run_name(heat({"optimizer": level}, {"optimizer": level})) for level in levels}
    assert names == {"SGD 0.9 t017", "SGD 0.5 t017"}


def test_every_hole_is_a_parameter_by_its_last_part_and_logarithms_stand_beside(tmp_path: Path) -> None:
    space = {"optimizer.lr": "log_uniform(0.0001, 0.1)", "a.width": "int_range(1, 9)", "b.width": "int_range(1, 9)"}
    naming = Naming.of(asked(tmp_path, {"batch_size": [16, 64]}, space))
    point = {"batch_size": 64, "optimizer.lr": 1e-3, "a.width": 4, "b.width": None}
    params = naming.params(heat(point, {"batch_size": 64}))
    assert params == {
        "batch_size": "64",
        "lr": "0.001",
        "lr_log10": "-3",
        "a.width": "4",
        "b.width": "None",
        "seed": "0",
        "stage": "heat",
    }


def test_several_factors_make_one_level(tmp_path: Path) -> None:
    naming = Naming.of(asked(tmp_path, {"batch_size": [16, 64], "optimizer": ["SGD", "AdamW"]}, {}))
    level: dict[str, Scalar] = {"batch_size": 64, "optimizer": "SGD"}
    assert naming.params(heat(level, level))["level"] == "64, SGD"
    assert naming.tags(heat(level, level))["mlflow.runColor"] == naming.tags(heat(level, level))["mlflow.runColor"]
    assert naming.tags(heat(level, level))["regatta.level"] == level_text(level)


def test_a_levels_runs_share_a_colour_that_no_other_level_has(question: Question) -> None:
    naming = Naming.of(question)
    colours = {
        (level, stage): naming.tags(planted_record(level=level, stage=stage, seed=1, number=1, score=0.9))[
            "mlflow.runColor"
        ]
        for level in (16, 64)
        for stage in (Stage.HEAT, Stage.FINAL)
    }
    assert colours[16, Stage.HEAT] == colours[16, Stage.FINAL]
    assert colours[16, Stage.FINAL] != colours[64, Stage.FINAL]


def test_a_segment_s_run_names_the_one_before_it_and_its_settings(question: Question) -> None:
    point = {"optimizer.lr": 0.1}
    segment = replace(heat(point, {}), parent="abc", until=8, earlier=({"until": 4, "point": {"optimizer.lr": 0.5}},))
    tags = Naming.of(question).tags(segment)
    assert tags["regatta.parent"] == "abc"
    assert tags["regatta.earlier"] == "until epoch 4: optimizer.lr 0.5"
    assert not {"regatta.parent", "regatta.earlier"} & Naming.of(question).tags(heat(point, {})).keys()


def test_tags_hold_no_credentials(question: Question) -> None:
    reason = "cannot read http://me:hunter2@host/data"
    record = replace(heat({}, {}), status=Status.FAILED, reason=reason, error=f"OSError: {reason}")
    tags = Naming.of(question).tags(record)
    assert "http://" in tags["regatta.reason"]
    assert "hunter2" not in json.dumps(tags)


def test_an_error_is_the_runs_description(question: Question) -> None:
    record = replace(heat({}, {}), status=Status.OUT_OF_MEMORY, reason="needs 9 GB", error="a ``` b")
    text = Naming.of(question).tags(record)["mlflow.note.content"]
    assert text.startswith("**out of memory**: needs 9 GB")
    assert text.count("```") == 2


def test_epochs_are_metrics_in_groups_with_the_epoch_as_step() -> None:
    record = planted_record(level=64, stage=Stage.FINAL, seed=1, number=0, score=0.9, epochs=2, seconds=4.0)
    metrics = rows(record, record.history)
    assert {step for *_, step in metrics} == {1, 2}
    names = {name for name, *_ in metrics}
    assert {"train/loss", "train/lr", "val/accuracy", "test/loss", "perf/seconds", "perf/samples"} <= names
    assert not names & {"epoch", "step", "perf/epoch", "perf/step", "perf/time"}
    speeds = [value for name, value, *_ in metrics if name == "perf/samples_per_second"]
    assert speeds == [500.0, 500.0]  # 1000 samples in 2 s, in each epoch
    whens = sorted({when for _, _, when, _ in metrics})
    assert whens == [1_790_000_002_000, 1_790_000_004_000]


def test_only_epochs_past_the_last_written_are_given() -> None:
    record = planted_record(level=64, stage=Stage.FINAL, seed=1, number=0, score=0.9)
    whole = rows(record, record.history)
    assert rows(record, record.history, after=4) == [metric for metric in whole if metric[3] > 4]


def test_looks_within_an_epoch_are_one_curve_by_step_with_its_ends() -> None:
    """Those of a sample have no end of their own kind, and what is not finite is left out."""
    looks: list[dict[str, Any]] = [
        {"batch": 2, "step": 2, "val/loss": 0.9, "val_night/loss": 0.8, "val/loss_sample": 0.7},
        {"batch": 4, "step": 4, "val/loss": None, "val_night/loss": 0.6, "val/loss_sample": 0.5},
    ]
    row = {"epoch": 1, "step": 6, "time": 3.0, "val/loss": 0.4, "val/accuracy": 0.1, "within": looks}
    after = {
        "epoch": 2,
        "step": 12,
        "time": 4.0,
        "val/loss": 0.3,
        "within": [{"batch": 2, "step": 8, "val/loss": 0.35}],
    }
    record = replace(heat({}, {}), history=[row, after])
    metrics = rows(record, record.history)
    assert [metric for metric in metrics if metric[0].startswith("step/")] == [
        ("step/val_loss", 0.9, 3000, 2),
        ("step/val_night_loss", 0.8, 3000, 2),
        ("step/val_loss_sample", 0.7, 3000, 2),
        ("step/val_night_loss", 0.6, 3000, 4),
        ("step/val_loss_sample", 0.5, 3000, 4),
        ("step/val_loss", 0.4, 3000, 6),
        ("step/val_loss", 0.35, 4000, 8),
        ("step/val_loss", 0.3, 4000, 12),
    ]
    assert [metric for metric in metrics if metric[0] == "val/loss"] == [
        ("val/loss", 0.4, 3000, 1),
        ("val/loss", 0.3, 4000, 2),
    ]
    assert {step for *_, step in rows(record, record.history, after=1) if step < 8} == {2}


def test_what_is_not_finite_is_left_out_and_named_in_a_tag(question: Question) -> None:
    base = planted_record(level=64, stage=Stage.FINAL, seed=1, number=0, score=0.9, epochs=1)
    row = {
        "epoch": 1,
        "step": 1,
        "seconds": None,
        "lr": 0.1,
        "train/loss": math.inf,
        "val/loss": None,
        "val/accuracy": 0.1,
    }
    record = replace(base, history=[row], metrics={"val/loss": math.nan, "val/accuracy": 0.1})
    metrics = rows(record, record.history) + once(record, GOAL)
    assert all(math.isfinite(value) for _, value, *_ in metrics)
    names = {name for name, *_ in metrics}
    assert {"train/lr", "val/accuracy", "best/val_accuracy"} <= names
    assert not names & {"train/loss", "val/loss", "best/val_loss", "perf/seconds"}
    assert Naming.of(question).tags(record)["regatta.not_finite"] == "train/loss, val/loss"


def test_the_goals_test_value_comes_first_of_what_is_one_number() -> None:
    record = planted_record(level=64, stage=Stage.FINAL, seed=1, number=0, score=0.9)
    names = [name for name, *_ in once(record, GOAL)]
    assert names[:2] == ["best/test_accuracy", "best/val_accuracy"]
    assert {"best/epoch", "cost/seconds", "cost/peak_bytes"} <= set(names)
    assert "cost/joules" not in names


@pytest.mark.parametrize("status", [Status.DIVERGED, Status.FAILED, Status.OUT_OF_MEMORY])
def test_a_trial_that_gave_no_score_has_no_best(status: Status) -> None:
    record = planted_record(level=64, stage=Stage.FINAL, seed=1, number=0, score=0.99, status=status)
    names = [name for name, *_ in once(record, GOAL)]
    assert "cost/seconds" in names
    assert not [name for name in names if name.startswith("best/")]


def test_names_of_metrics_are_such_as_mlflow_takes() -> None:
    record = replace(
        heat({}, {}), metrics={"val//top-5 (%)": 0.5, "../x": 1.0}, history=[{"epoch": 1, "a/../ü[0]": 1.0}]
    )
    names = [name for name, *_ in once(record, GOAL) + rows(record, record.history)]
    assert "best/val__top-5 ___" in names
    assert all(".." not in name.split("/") and "//" not in name for name in names)


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.RUNNING])
def test_only_a_lost_trial_has_failed(status: Status) -> None:
    assert mlflow_status(status) == ("FAILED" if status in (Status.FAILED, Status.OUT_OF_MEMORY) else "FINISHED")


def test_the_question_is_flat_parameters(tmp_path: Path) -> None:
    question = asked(tmp_path, {"batch_size": [16, 64]}, {"optimizer.lr": "log_uniform(1e-4, 0.1)"})
    params = sweep_params(question)
    assert params["each.batch_size"] == "16, 64"
    assert params["space.optimizer.lr"] == "log_uniform(1e-4, 0.1)"
    assert params["recipe.model"] == "MLP(widths=(128, 128))"
    assert params["goal.metric"] == "accuracy"
    assert not {"tracking", "created", "command"} & set(params)


def test_the_data_has_a_digest_of_its_description(tmp_path: Path) -> None:
    plain = asked(tmp_path, {}, {})
    assert data_of(plain) is None
    one, same, other = (data_of(asked(tmp_path, {}, {}, asked={"data": {"path": path}})) for path in ("a", "a", "b"))
    assert one is not None
    assert other is not None
    assert one == same
    assert one.name == "digits"
    assert one.digest != other.digest
