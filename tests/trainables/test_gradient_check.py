"""The check passes what is right, finds what is wrong and names it; its command shows what each way costs."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from trainables import CrossEntropy
from trainables.differences import (
    Objective,
    central,
    central_at_once,
    one_sided,
    one_sided_at_once,
)
from trainables.gradient_check import check, main
from trainables.gradient_methods import perceptron
from trainables.models import CNN, LSTM, MLP, Transformer
from trainables.seeds import generator

ROOT = Path(__file__).resolve().parents[2]


class Square(torch.autograd.Function):
    """x² with a backward pass that is right."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return torch.mul(2 * x, grad)


class Forgotten(torch.autograd.Function):
    """x² whose backward pass forgets the 2."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return torch.mul(x, grad)


class OneElement(torch.autograd.Function):
    """The identity, but for one element of the gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # noqa: ARG004
        return x.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # noqa: ARG004
        grad = grad.clone()
        grad[37, 11] *= -1
        return grad


class Custom(nn.Module):
    """first, an operation of one's own, last."""

    def __init__(self, operation: type[torch.autograd.Function]) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 6), nn.Linear(6, 3)
        self.operation = operation

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(self.operation.apply(self.first(x)))  # type: ignore[no-untyped-call]
        return out


def batch(*shape: int, classes: int = 3) -> tuple[Tensor, Tensor]:
    source = generator("batch")
    return torch.randn(8, *shape, generator=source), torch.randint(classes, (8,), generator=source)


def test_a_right_backward_pass_passes() -> None:
    torch.manual_seed(0)
    found = check(Custom(Square), *batch(4), CrossEntropy())
    assert found.passed
    assert found.parameters.keys() == {"first.weight", "first.bias", "last.weight", "last.bias"}
    assert found.worst.error < 1e-7
    assert "right" in found.says()


def test_a_wrong_backward_pass_is_named() -> None:
    torch.manual_seed(0)
    found = check(Custom(Forgotten), *batch(4), CrossEntropy())
    assert not found.passed
    assert found.worst.parameter in ("first.weight", "first.bias")
    assert found.worst.difference == pytest.approx(2 * found.worst.autograd, rel=1e-4)
    assert "Wrong are first.bias, first.weight;" in found.says()
    assert found.parameters["last.weight"].error < 1e-7  # behind the fault, nothing is wrong


def test_a_single_wrong_element_among_thousands_is_found() -> None:
    """No chosen element is it; the random direction still shows it."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(64, 64, generator=generator("weight")))

        def forward(self, x: Tensor) -> Tensor:
            return functional.linear(x, OneElement.apply(self.weight))  # type: ignore[no-untyped-call]

    found = check(Net(), batch(64)[0], torch.zeros(8, 64), functional.mse_loss, elements=4)
    assert not found.passed
    assert found.worst.index is None
    assert "along a random direction" in found.says()


@pytest.mark.parametrize(
    ("settings", "shape"),
    [
        (MLP(widths=(16, 16), inputs=5, outputs=3, norm=True, dropout=0.5), (5,)),
        (CNN(channels=(4, 8), image=(1, 8, 8), outputs=3), (1, 8, 8)),
        (LSTM(width=8, inputs=2, outputs=3), (6, 2)),
        (Transformer(width=16, depth=1, inputs=2, outputs=3, longest=6), (6, 2)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_models_pass(settings: Any, shape: tuple[int, ...]) -> None:
    """ReLU's kinks, dropout's masks, BatchNorm in training and attention are no false alarms."""
    torch.manual_seed(1)
    module = settings.build().train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    state = torch.get_rng_state()
    found = check(module, *batch(*shape), CrossEntropy(), elements=24)
    assert found.passed, found.says()
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert all(parameter.grad is None and parameter.dtype == torch.float32 for parameter in module.parameters())


def test_a_kink_within_the_step_is_no_fault() -> None:
    """At a distance of 1e-6, the first step of 1e-5 reaches over it."""
    layer = nn.Linear(1, 1)
    with torch.no_grad():
        layer.weight.fill_(1.0)
        layer.bias.fill_(-1.0 + 1e-6)
    module = nn.Sequential(layer, nn.ReLU()).double()
    found = check(module, torch.ones(1, 1), torch.ones(1, 1), functional.mse_loss)
    assert found.passed, found.says()


def test_frozen_parameters_are_not_looked_at_and_idle_ones_agree() -> None:
    module = Custom(Square)
    module.first.weight.requires_grad_(False)
    module.register_parameter("idle", nn.Parameter(torch.ones(2)))
    module.register_parameter("scalar", nn.Parameter(torch.ones(())))
    found = check(module, *batch(4), CrossEntropy())
    assert "first.weight" not in found.parameters
    assert found.parameters["idle"].autograd == found.parameters["idle"].difference == 0
    assert found.passed


def test_a_gradient_that_is_not_a_number_fails() -> None:
    class Root(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.tensor([0.0, 1.0]))

        def forward(self, x: Tensor) -> Tensor:
            return x[:, :2] * torch.where(self.weight > 0.5, self.weight.sqrt(), self.weight)

    found = check(Root(), torch.ones(3, 2), torch.zeros(3, 2), functional.mse_loss)
    assert not found.passed
    assert math.isnan(found.worst.autograd)
    assert "nan" in found.says()


def test_what_cannot_be_checked_is_refused() -> None:
    inputs, target = batch(4)
    with pytest.raises(ValueError, match="no parameter of the module is trained"):
        check(nn.Linear(4, 3).requires_grad_(False), inputs, target, CrossEntropy())
    with pytest.raises(ValueError, match="the loss is nan"):
        check(nn.Linear(4, 3), inputs * math.nan, target, CrossEntropy())
    with pytest.raises(ValueError, match="no parameter changes the loss"):
        check(nn.Linear(4, 3), inputs, target, lambda output, target: output.sum() * 0)  # noqa: ARG005

    class Restless(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.source = nn.Linear(4, 3), torch.Generator()

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.layer(x) + torch.randn(3, generator=self.source)
            return out

        def __deepcopy__(self, memo: Any) -> Restless:
            return self

    with pytest.raises(ValueError, match="when called again"):
        check(Restless(), inputs, target, functional.cross_entropy)


def test_the_four_ways_agree_and_count_their_passes() -> None:
    objective = Objective(perceptron(400).build(), *batch(64, classes=10), CrossEntropy())
    gradient = objective.gradient()
    assert objective.passes == 1
    for way, passes, tolerance in (
        (central, 2, 1e-7),
        (one_sided, 1, 1e-3),
        (central_at_once, 2, 1e-7),
        (one_sided_at_once, 1, 1e-3),
    ):
        objective.here()
        before = objective.passes
        for name, one in gradient.items():
            found = way(objective, name, torch.arange(one.numel()), 1e-4)
            torch.testing.assert_close(found, one.flatten(), atol=tolerance, rtol=0)
        assert objective.passes - before == passes * sum(one.numel() for one in gradient.values())


def test_the_command_shows_passes_and_orders(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--json", "--parameters", "200", "--batch", "4"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    count = rows[0]["parameters"]
    assert [(row["method"], row["passes"]) for row in rows] == [
        ("autograd", 1),
        ("central", 2 * count),
        ("one-sided", count + 1),
        ("central, vmap", 2 * count),
        ("one-sided, vmap", count + 1),
    ]
    assert [row["order"] and round(row["order"]) for row in rows] == [None, 2, 1, 2, 1]
    assert all(row["evaluated"] == count and row["as_expected"] for row in rows)
    assert rows[1]["error"] < 1e-6 < rows[2]["error"] < 1e-2


def test_beyond_the_limit_a_share_is_evaluated_and_said_so(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--parameters", "1000", "--batch", "2", "--limit", "0.01"])
    said = capsys.readouterr().out
    assert "the time is in proportion" in said
    assert said.count("1 + backward") == 1


def test_it_needs_torch_and_numpy_alone() -> None:
    code = """
import sys
for name in ('ray', 'optuna', 'mlflow', 'pandas', 'rich', 'scipy', 'psutil', 'sklearn', 'analysis', 'reports', 'sweeps'):
    sys.modules[name] = None
from trainables.gradient_check import main
sys.exit(main(['--parameters', '100', '--batch', '2']))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert "one-sided, vmap" in done.stdout


def test_perceptrons_come_near_the_asked_size() -> None:
    for asked in (1_000, 10_000, 100_000):
        module = perceptron(asked).build()
        assert sum(one.numel() for one in module.parameters()) == pytest.approx(asked, rel=0.06)
    assert replace(perceptron(1), activation="relu").widths == (1, 1)
