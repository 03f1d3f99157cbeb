"""All variants of a trained module side by side."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.trainables.small import clusters, recipe, task
from trainables import CrossEntropy, MeanSquaredError, Minimise, Task
from trainables.export import Study, study, timed, tuned
from trainables.export.study import scored
from trainables.fit import fit


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    *_, last = fit(task, recipe())
    return last.run.module


@pytest.fixture(scope="module")
def found(trained: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Path]:
    folder = tmp_path_factory.mktemp("study") / "export"
    folder.mkdir()
    (folder / "pruned-90.onnx").touch()  # of an earlier call
    splits = task.load(3)
    return (
        study(
            trained,
            task,
            splits,
            folder,
            shares=(0.5,),
            tune=lambda bare: tuned(task, recipe(), bare, splits=splits),
        ),
        folder,
    )


def test_every_variant_has_its_value_size_and_times(found: tuple[Study, Path], trained: nn.Module) -> None:
    compared, folder = found
    names = [row.name for row in compared.rows]
    assert names == ["torch", "ONNX", "INT8 dynamic", "INT8 static", "50 % pruned", "50 % pruned, tuned"]
    x, target = task.load(3).test
    right = (trained.float()(x.float()).argmax(1) == target).double()
    assert compared.rows[0].value == pytest.approx(float(right.mean()))
    assert compared.rows[1].value == compared.rows[0].value
    assert compared.samples == len(target)
    for row in compared.rows:
        assert row.refused is None
        assert [one.batch for one in row.latency] == [1, 64]
        assert all(0 < one.p50 <= one.p99 for one in row.latency)
        if row.name == "torch":
            assert (row.difference, row.size, row.file) == (None, None, None)
            continue
        assert row.file is not None
        assert (folder / row.file).stat().st_size == row.size
        assert row.difference is not None
        assert row.difference.low <= row.difference.value <= row.difference.high
        assert row.difference.value == pytest.approx((row.value or 0) - float(right.mean()))
    assert [row.zeros for row in compared.rows] == [0, 0, 0, 0, 0.5, 0.5]
    assert {path.name for path in folder.iterdir()} == {row.file for row in compared.rows} - {None}


def test_the_goal_by_sample_is_what_a_run_reports() -> None:
    output, target = torch.randn(50, 3, generator=torch.Generator().manual_seed(0)), torch.arange(50) % 3

    def mean_only(output: Tensor, target: Tensor) -> Tensor:
        return (output.argmax(1) == target).double().mean()

    means = Task(name="m", data=clusters, metrics={"accuracy": mean_only}, goal=task.goal)
    assert torch.equal(scored(means, task.loss, output, target), scored(task, task.loss, output, target))
    weights = CrossEntropy(class_weights=(1.0, 2.0, 5.0))
    by_loss = Task(name="l", data=clusters, goal=Minimise("loss"), loss=weights)
    expected = torch.nn.functional.cross_entropy(output, target, weight=torch.tensor([1.0, 2.0, 5.0]))
    assert float(scored(by_loss, weights, output, target).mean()) == pytest.approx(float(expected), rel=1e-5)
    square = Task(name="s", data=clusters, goal=Minimise("loss"), loss=MeanSquaredError())
    values = scored(square, MeanSquaredError(), output, output + 2)
    assert values.tolist() == pytest.approx([4.0] * 50)


def test_a_variant_that_cannot_be_had_is_a_row_that_says_why(tmp_path: Path) -> None:
    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(3))

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([x, x[:, :1]], 1) * self.scale

    rows = {row.name: row for row in study(Plain(), task, task.load(0), tmp_path, shares=(0.5,)).rows}
    for name in ("INT8 dynamic", "INT8 static", "50 % pruned"):
        assert "nothing" in (rows[name].refused or "")
        assert rows[name].value is None
    assert rows["ONNX"].refused is None
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_models_are_timed_in_turns() -> None:
    order: list[str] = []
    found = timed({name: lambda name=name: order.append(name) for name in "ab"}, 4, rounds=2, block=3)  # type: ignore[misc]
    assert "".join(order) == "aaaabbbb" * 3
    assert {one.calls for one in found.values()} == {6}
    assert {one.batch for one in found.values()} == {4}
    assert all(one.per_second > 0 for one in found.values())
