"""Sets, metrics, losses and inputs of every kind, beside the same runs alone."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.trainables.fused.alike import (
    COMPUTED,
    CPU,
    RECORDED,
    assert_pack_alike,
    program_of,
    started,
)
from tests.trainables.fused.test_settings import Built
from tests.trainables.loss_cases import CASES, Case
from tests.trainables.small import recipe, task
from trainables import (
    EMA,
    SGD,
    SWA,
    Maximise,
    MeanSquaredError,
    Minimise,
    Splits,
    WholeSet,
    accuracy,
)
from trainables.fused.feed import Feed
from trainables.preparing import PreparedOnce
from trainables.run import Run
from trainables.task import Task


def far(seed: int) -> Splits:
    """Validation sets beside the first, whose numbers of samples are their own."""
    splits = task.data(seed)
    inputs, target = splits.test
    return replace(splits, more={"near": (inputs / 2, target), "few": (inputs[:3], target[:3])})


def middling(output: Tensor, target: Tensor) -> Tensor:
    """A metric that asks for a number."""
    return torch.tensor(float((output.argmax(1) == target).double().mean()))


def by_numpy(output: Tensor, target: Tensor) -> Tensor:
    """A metric that is computed by another library, and says so where it cannot be."""
    try:
        output.cpu().numpy()
    except RuntimeError as error:
        raise TypeError("no numbers") from error
    return torch.from_numpy((output.cpu().numpy().argmax(1) == target.cpu().numpy()).astype(float))


def spread(output: Tensor, target: Tensor) -> Tensor:
    """A metric of a whole set."""
    return (output.argmax(1) - target).double().std()


@pytest.mark.parametrize(
    "metrics",
    [
        {"accuracy": accuracy},
        {"accuracy": middling},
        {"accuracy": accuracy, "own": by_numpy},
        {"accuracy": accuracy, "spread": WholeSet(spread)},
    ],
)
@pytest.mark.parametrize("average", [None, EMA(decay=0.8), SWA(epochs=2)])
def test_several_validation_sets_and_metrics(metrics: Any, average: Any) -> None:
    several = Task(name="several", data=far, metrics=metrics, goal=Maximise("accuracy"))
    assert_pack_alike(several, [recipe(average=average, seed=k, epochs=2) for k in range(2)])


def lines(seed: int) -> Splits:
    """Two inputs, and two numbers to be met."""
    splits = task.data(seed)

    def pair(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        inputs, target = tensors
        return inputs, inputs.flip(1), torch.stack([inputs.sum(1), target.float()], 1)

    return Splits(train=pair(splits.train), val=pair(splits.val), test=pair(splits.test))


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(2, 4), nn.Linear(2, 4)
        self.out = nn.Linear(4, 2)
        self.gain = nn.Parameter(torch.tensor(1.0))

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        out: Tensor = self.gain * self.out(torch.tanh(self.first(a)) * self.second(b))
        return out


def test_several_inputs_and_numbers_to_be_met() -> None:
    regression = Task(name="lines", data=lines, goal=Minimise("loss"), loss=MeanSquaredError())
    assert_pack_alike(regression, [recipe(model=Built(TwoInputs), seed=k) for k in range(3)])


class Shaped(nn.Module):
    """Outputs of any shape."""

    def __init__(self, inputs: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape, self.layer = shape, nn.Linear(inputs, math.prod(shape))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x.flatten(1)).view(len(x), *self.shape)
        return out


def of(case: Case) -> Task:
    """Outputs to be learned, a number for each, with a last batch that is smaller."""
    tensors = (case.output.flatten(1), case.target)
    few = tuple(tensor[:3] for tensor in tensors)
    return Task(
        name="case", data=lambda _: Splits(train=tensors, val=few, test=few), goal=Minimise("loss"), loss=case.loss
    )


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_loss(case: Case) -> None:
    model = Built(lambda: Shaped(case.output.flatten(1).shape[1], tuple(case.output.shape[1:])))
    assert_pack_alike(of(case), [recipe(model=model, batch_size=4, seed=k, epochs=2) for k in range(2)])


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_loss_of_a_batch_in_common(case: Case) -> None:
    """Members with one order, whose steps are played back."""
    shape = tuple(case.output.shape[1:])

    def built() -> nn.Module:
        layer = nn.Linear(case.output.flatten(1).shape[1], math.prod(shape))
        return nn.Sequential(layer, nn.Unflatten(1, shape) if shape else nn.Flatten(0))

    own = [recipe(model=Built(built), batch_size=4, optimizer=SGD(lr=rate), epochs=2) for rate in (0.05, 0.1)]
    assert_pack_alike(of(case), own, recorded_from=RECORDED)


def uneven(seed: int) -> Splits:
    """A validation set that has more samples with some seeds than with others."""
    splits = task.data(0)
    return replace(splits, val=tuple(tensor[: 10 + seed] for tensor in splits.val))


def test_validation_sets_of_other_sizes() -> None:
    assert_pack_alike(replace(task, data=uneven), [recipe(seed=k, epochs=2) for k in range(3)])


def doubled(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(tensor.double() if tensor.is_floating_point() else tensor for tensor in tensors)


DOUBLE = doubled(task.data(0).train)


def test_a_batch_that_all_have_is_held_once() -> None:
    at_hand, held = task.data(0), PreparedOnce()
    runs = [
        Run.start(task, recipe(optimizer=SGD(lr=rate)), splits=at_hand, device=CPU, prepare=held)
        for rate in (0.05, 0.1)
    ]

    def first(*, once: bool) -> tuple[Tensor, ...]:
        return next(iter(Feed(runs, once=once).batches(runs, 4)))

    apart, together = first(once=False), first(once=True)
    assert [tensor.stride(0) for tensor in together] == [0, 0]
    torch.testing.assert_close(together, apart, rtol=0.0, atol=0.0)
    runs[1].begin_epoch()  # one that has joined earlier or later has another order
    assert all(tensor.stride(0) > 0 for tensor in first(once=True))


@pytest.mark.parametrize("recorded_from", [RECORDED, COMPUTED], ids=["recorded", "computed"])
def test_a_batch_that_is_written_into_is_each_member_s_own(recorded_from: int) -> None:
    built = Built(lambda: nn.Sequential(nn.LeakyReLU(0.5, inplace=True), nn.Linear(2, 3)))
    own = [recipe(model=built, optimizer=SGD(lr=rate), epochs=3) for rate in (0.05, 0.1)]
    drawn = task.data(0)
    at_hand = Splits(**{name: doubled(drawn.named()[name]) for name in ("train", "val", "test")})
    assert program_of(started(task, own[0])).steady
    for metrics in ({"accuracy": accuracy}, {"accuracy": middling}):
        given = replace(task, data=lambda _: at_hand, metrics=metrics)
        assert_pack_alike(given, own, recorded_from=recorded_from)


def strided(seed: int) -> Splits:
    """Every other sample, or the first half: both begin at one place in memory."""
    half = len(DOUBLE[-1]) // 2
    return replace(task.data(0), train=tuple(tensor[: 2 * half : 2] if seed else tensor[:half] for tensor in DOUBLE))


def test_samples_that_begin_at_one_place_are_not_taken_for_the_same() -> None:
    assert_pack_alike(replace(task, data=strided), [recipe(seed=k, epochs=2) for k in range(2)])
