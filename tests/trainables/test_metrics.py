"""Metrics: means over samples, and those of a whole set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from sklearn.metrics import f1_score, roc_auc_score
from torch import Tensor, nn

from tests.trainables.small import recipe, task
from trainables import FP32, CrossEntropy, EveryEpoch, Maximise, Sampled, WholeSet, absolute_error, accuracy
from trainables.evaluate import evaluate
from trainables.fit import fit
from trainables.metrics import no_mean
from trainables.tta import by_sample

SAMPLES = 300


def f1(output: Tensor, target: Tensor) -> float:
    return float(f1_score(target, output.argmax(1), average="macro"))


def auc(output: Tensor, target: Tensor) -> float:
    return float(roc_auc_score(target, output.softmax(1), multi_class="ovr"))


def error(output: Tensor, target: Tensor) -> Tensor:
    return (output.argmax(1) - target).double().square().mean().sqrt()


def mean_accuracy(output: Tensor, target: Tensor) -> Tensor:
    return (output.argmax(1) == target).float().mean()


def drawn() -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(0)
    return nn.Linear(2, 3), torch.randn(SAMPLES, 2), torch.randint(3, (SAMPLES,))


@pytest.mark.parametrize("size", [7, 256, 1000])
def test_a_metric_of_a_whole_set_is_given_all_of_it_whatever_the_batch(size: int) -> None:
    module, inputs, target = drawn()
    with torch.no_grad():
        output = module(inputs)
    metrics = {"f1": WholeSet(f1), "accuracy": accuracy, "auc": WholeSet(auc), "error": WholeSet(error)}
    asked: dict[str, Any] = {"loss": CrossEntropy(), "metrics": metrics, "precision": FP32(), "size": size}
    found = evaluate(module, (inputs, target), **asked)
    assert [*found] == ["loss", *metrics]
    assert found["f1"] == f1(output, target)
    assert found["auc"] == pytest.approx(auc(output, target))
    assert found["error"] == float(error(output, target))
    seen = by_sample(module, (inputs, target), **asked).values
    assert float(seen["f1"]) == found["f1"]
    assert len(seen["accuracy"]) == SAMPLES


@pytest.mark.parametrize("validation", [EveryEpoch(), Sampled(share=0.5)])
def test_runs_report_it_for_every_set(validation: Any) -> None:
    own = replace(task, metrics={**task.metrics, "f1": WholeSet(f1)}, goal=Maximise("f1"))
    for epoch in fit(own, recipe(epochs=2, validation=validation)):
        found = {name for name in epoch.metrics if name.partition("/")[2].startswith("f1")}
        assert found in ({"val/f1", "test/f1"}, {"val/f1"}, {"val/f1_sample"})


@pytest.mark.parametrize(
    ("metric", "is_none"),
    [(f1, True), (auc, True), (error, True), (accuracy, False), (mean_accuracy, False), (WholeSet(f1), True)],
)
def test_what_is_no_mean_over_samples_is_told_from_what_is(metric: Callable[..., Any], is_none: bool) -> None:
    _, _, target = drawn()

    def asked(output: Tensor, target: Tensor) -> Tensor:
        return torch.as_tensor(metric(output, target))

    found = no_mean(asked, torch.zeros(SAMPLES, 3), target)
    assert (found is not None) == is_none
    if found is not None:
        assert found[0] != found[1]


def test_of_one_sample_and_of_a_metric_that_raises_nothing_is_known() -> None:
    def raising(*_: Tensor) -> Tensor:
        raise ValueError

    assert no_mean(error, torch.zeros(1, 3), torch.zeros(1).long()) is None
    assert no_mean(raising, torch.zeros(9, 3), torch.zeros(9).long()) is None
    assert no_mean(absolute_error, torch.zeros(9), torch.zeros(9)) is None


def test_a_whole_set_has_one_number() -> None:
    with pytest.raises(ValueError, match=r"gave \(2,\); give one number"):
        WholeSet(lambda *_: torch.zeros(2))(torch.zeros(2, 3), torch.zeros(2))
