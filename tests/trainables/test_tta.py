"""Averaging over views takes out what a symmetry of the task says cannot be there, and harms where there is none."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from tests.trainables.small import recipe, task
from trainables import FP64, CrossEntropy, accuracy
from trainables.ensemble import classified
from trainables.evaluate import evaluate
from trainables.fit import fit
from trainables.seeds import generator
from trainables.tta import OverViews, by_sample, cost
from trainables.views import Mirrored, Noisy, Shifted, View, shifts

MIRROR = View(name="mirror", change=Mirrored())


class Linear(nn.Module):
    """x -> x weight, [B, 6] -> [B]."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight


def drawn(*shape: int, name: str = "views") -> Tensor:
    return torch.randn(*shape, generator=generator(name), dtype=torch.float64)


def test_an_error_that_the_symmetry_forbids_is_taken_out() -> None:
    """The task is the same in the mirror, the model is not quite: what is left is the even part of the model, exactly."""
    even = drawn(6)
    even = even + even.flip(0)
    odd = drawn(6, name="odd")
    odd = odd - odd.flip(0)
    x, model = drawn(50, 6, name="x"), Linear(even + 0.3 * odd)
    target = x @ even
    plain = (model(x) - target).square().mean()
    averaged = OverViews(model, [MIRROR], probabilities=False)(x) - target
    assert plain > 0.1
    assert averaged.abs().max() < 1e-12


class Halving(nn.Module):
    """Writes into what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 3, dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        x /= 2
        out: Tensor = self.layer(x)
        return out


def test_a_module_that_writes_into_its_input_sees_every_view_of_the_same() -> None:
    model, x, y = Halving(), drawn(9, 6, name="x"), torch.arange(9) % 3
    before, whole = x.clone(), [model(sample.clone()) for sample in (x, x.flip(-1))]
    expected = torch.stack(whole).mean(0)
    torch.testing.assert_close(OverViews(model, [MIRROR], probabilities=False)(x), expected, rtol=0.0, atol=1e-15)
    by_sample(model, (x, y), loss=CrossEntropy(), metrics={"accuracy": accuracy}, precision=FP64(), size=4)
    torch.testing.assert_close(x, before, rtol=0.0, atol=0.0)


def test_where_there_is_no_symmetry_it_harms() -> None:
    """Left and right: what a mirror turns round is averaged away."""
    odd = drawn(6)
    odd = odd - odd.flip(0)
    x, model = drawn(50, 6, name="x"), Linear(odd)
    averaged = OverViews(model, [MIRROR], probabilities=False)(x)
    assert model(x).abs().min() > 1e-3
    assert averaged.abs().max() < 1e-12


def test_probabilities_are_averaged_as_those_of_an_ensemble() -> None:
    model = nn.Linear(6, 3).double()
    x = drawn(20, 6)
    views = [MIRROR, View(name="noise", change=Noisy(std=0.5))]
    with torch.no_grad():
        logits = OverViews(model, views, probabilities=True)(x)
        outputs = torch.stack([model(x), model(x.flip(-1)), model(Noisy(std=0.5)(x))])
    assert torch.allclose(logits.exp(), classified(outputs).probabilities)


@pytest.mark.parametrize("shape", [(20,), (20, 1)])
def test_a_single_logit_is_that_of_class_one(shape: tuple[int, ...]) -> None:
    model = Linear(drawn(6))
    x = drawn(20, 6, name="x")

    class Shaped(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = model(x)
            return out.reshape(shape)

    with torch.no_grad():
        logit = OverViews(Shaped(), [MIRROR], probabilities=True)(x)
        expected = (model(x).sigmoid() + model(x.flip(-1)).sigmoid()) / 2
    assert logit.shape == shape
    assert torch.allclose(logit.sigmoid().reshape(-1), expected)


def test_an_output_that_turns_with_its_input_is_turned_back() -> None:
    """A map of pixels: seen in the mirror, it is mirrored back."""
    back = View(name="mirror", change=Mirrored(), undo=Mirrored())
    x = drawn(4, 8)
    assert torch.equal(OverViews(nn.Tanh(), [back], probabilities=False)(x), x.tanh())
    assert not torch.equal(OverViews(nn.Tanh(), [MIRROR], probabilities=False)(x), x.tanh())


def test_half_precision_is_averaged_in_single() -> None:
    x = torch.full((2, 3), 1 + 1 / 128, dtype=torch.bfloat16)
    up = View(name="up", change=lambda x: x + 1 / 128)
    averaged = OverViews(nn.Identity(), [up], probabilities=False)(x)
    assert averaged.dtype == torch.float32
    assert averaged[0, 0].item() == 1 + 1.5 / 128


def test_views_of_flat_images() -> None:
    image = torch.arange(12.0).reshape(1, 3, 4)
    flat = image.reshape(1, 12)
    assert torch.equal(Mirrored(shape=(3, 4))(flat).reshape(1, 3, 4), image.flip(-1))
    assert torch.equal(Mirrored(dim=-2, shape=(3, 4))(flat).reshape(1, 3, 4), image.flip(-2))
    down = Shifted(steps=(1, 0), shape=(3, 4))(flat).reshape(3, 4)
    assert down.tolist() == [[0.0] * 4, *image[0, :2].tolist()]
    left = Shifted(steps=(0, -2))(image)[0]
    assert left.tolist() == [[2.0, 3.0, 0.0, 0.0], [6.0, 7.0, 0.0, 0.0], [10.0, 11.0, 0.0, 0.0]]
    assert Shifted(steps=(0, 9))(image).abs().sum() == 0
    assert torch.equal(image, torch.arange(12.0).reshape(1, 3, 4))
    names = [view.name for view in shifts(1)]
    assert len(set(names)) == 4
    assert all(view.change(image).shape == image.shape for view in shifts(1))
    assert torch.equal(Noisy(std=0.1, seed=3)(image), Noisy(std=0.1, seed=3)(image))
    assert not torch.equal(Noisy(std=0.1, seed=3)(image), Noisy(std=0.1, seed=4)(image))


def test_scores_by_sample_have_the_means_that_evaluation_gives() -> None:
    run = [*fit(task, recipe())][-1].run
    test = run.splits.test
    scored = by_sample(
        run.module, test, loss=CrossEntropy(), metrics={"accuracy": accuracy}, precision=run.recipe.precision, size=7
    )
    whole = evaluate(
        run.module, test, loss=CrossEntropy(), metrics={"accuracy": accuracy}, precision=run.recipe.precision, size=256
    )
    assert {name: len(values) for name, values in scored.values.items()} == {
        "loss": len(test[1]),
        "accuracy": len(test[1]),
    }
    assert {name: float(values.mean()) for name, values in scored.values.items()} == pytest.approx(whole)


def test_a_metric_that_gives_its_mean_alone_is_averaged_over_samples() -> None:
    x, target = drawn(10, 6), torch.zeros(10, dtype=torch.float64)

    def first(output: Tensor, target: Tensor) -> Tensor:
        return (output - target).abs().mean()

    model = Linear(drawn(6))
    found = by_sample(model, (x, target), loss=first, metrics={}, precision=recipe().precision, size=4).values["loss"]
    assert found.tolist() == pytest.approx([float(model(x).detach().abs().mean())])

    def wrong(output: Tensor, target: Tensor) -> Tensor:  # noqa: ARG001
        return output.repeat(2)

    with pytest.raises(ValueError, match=r"gave \(8,\) for 4 samples"):
        by_sample(model, (x, target), loss=wrong, metrics={}, precision=recipe().precision, size=4)


def test_the_cost_is_a_ratio_with_its_spread() -> None:
    """Both are run equally often in every round."""
    calls: list[str] = []

    def run(name: str) -> None:
        calls.append(name)
        torch.ones(300, 300) @ torch.ones(300, 300)

    found = cost(lambda: run("plain"), lambda: run("averaged"), device=torch.device("cpu"))
    assert calls[:2] == ["averaged", "plain"]
    assert calls.count("plain") == calls.count("averaged") + 1 > 7
    assert found.count == 7
    assert 0 < found.low <= found.value <= found.high < math.inf
