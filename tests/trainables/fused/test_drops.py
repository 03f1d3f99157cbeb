"""Dropout at a rate of each member's own."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.utils._python_dispatch import TorchDispatchMode

from tests.trainables.fused.alike import (
    COMPUTED,
    RECORDED,
    alone,
    assert_alike,
    assert_pack_alike,
    pack_of,
    program_of,
    started,
    together,
)
from tests.trainables.small import recipe, task
from trainables import DropoutRamp
from trainables.fused.layers import base_of, dropping
from trainables.fused.pack import Pack
from trainables.models import GRU, LSTM, MLP, MultiPlasticity, ResidualMLP, StateSpace, Transformer
from trainables.recipe import Model

LAYERS: list[tuple[nn.Module, tuple[int, ...]]] = [
    (nn.Dropout(0.3), (200, 100)),
    (nn.Dropout(0.3, inplace=True), (200, 100)),
    (nn.Dropout1d(0.3), (200, 100, 2)),
    (nn.Dropout2d(0.3), (200, 100, 2, 2)),
    (nn.Dropout2d(0.3, inplace=True), (200, 100, 2, 2)),
    (nn.Dropout3d(0.3), (200, 100, 2, 2, 2)),
    (nn.AlphaDropout(0.3), (200, 100)),
    (nn.FeatureAlphaDropout(0.3), (200, 100, 2)),
]
RATES = torch.tensor([0.0, 0.2, 0.6, 0.6], dtype=torch.float64)


def dropped(layer: nn.Module, x: Tensor, *, training: bool = True) -> Tensor:
    """What a layer gives for four members, each at its own rate: [4, ...]."""
    base = base_of(layer, linear=False).train(training)
    assert dropping(base) == [""]

    def one(rate: Tensor, own: Tensor) -> Tensor:
        out: Tensor = functional_call(base, {"p": rate}, (own,))
        return out

    return vmap(one, randomness="different")(RATES, x.expand(4, *x.shape).clone())


@pytest.mark.parametrize(("layer", "shape"), LAYERS, ids=[str(layer) for layer, _ in LAYERS])
def test_each_member_drops_at_its_own_rate_what_torch_s_layer_drops(layer: nn.Module, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    x = torch.ones(shape, dtype=torch.float64)
    out = dropped(layer, x)
    masks = []
    for rate, mine in zip(RATES.tolist(), out, strict=True):
        layer.p = rate
        its = layer.train()(x.clone())
        # Of ones, what is kept is one number and what is dropped another; both are torch's.
        assert torch.allclose(mine.unique(), its.unique(), rtol=1e-12, atol=1e-12)
        lost = mine == mine.min() if rate else torch.zeros_like(mine, dtype=torch.bool)
        if lost.ndim > 2:
            assert torch.equal(lost.flatten(2).all(2), lost.flatten(2).any(2))  # whole channels
            lost = lost.flatten(2).all(2)
        # Twenty thousand draws: four standard errors of the share.
        assert lost.double().mean().item() == pytest.approx(
            rate, abs=4 * math.sqrt(rate * (1 - rate) / lost.numel()) + 1e-12
        )
        masks.append(lost)
    both = (masks[2] & masks[3]).double().mean().item()
    assert both == pytest.approx(0.36, abs=0.02)  # two members draw apart
    assert torch.equal(out[0], x)
    assert torch.equal(dropped(layer, x, training=False), x.expand(4, *shape))


def test_rates_are_exact_in_half_precision() -> None:
    """Where a draw of eight bits would drop a half per cent more or less."""
    torch.manual_seed(0)
    layer = nn.Dropout(0.5)
    x = torch.ones(1000, 1000, dtype=torch.bfloat16)
    base = base_of(layer, linear=False)
    out = vmap(lambda rate: functional_call(base, {"p": rate}, (x,)), randomness="different")(torch.tensor([0.0025]))
    assert (out == 0).double().mean().item() == pytest.approx(0.0025, abs=0.0003)


def test_a_layer_that_drops_all_still_does() -> None:
    base = base_of(nn.Sequential(nn.Dropout(1.0)), linear=False)
    assert dropping(base) == []
    assert not base(torch.ones(5)).any()


@pytest.mark.parametrize(
    "layer", [nn.Dropout1d(0.5), nn.Dropout2d(0.5), nn.Dropout3d(0.5), nn.FeatureAlphaDropout(0.5)]
)
def test_a_shape_that_torch_reads_in_another_way_is_refused(layer: nn.Module) -> None:
    with pytest.raises(ValueError, match="dimensions"):
        base_of(layer, linear=False)(torch.ones(3))


DROPPING: list[Model] = [
    MLP(widths=(8,), dropout=0.4),
    ResidualMLP(width=8, depth=1, dropout=0.4),
    GRU(width=4, dropout=0.4),
    LSTM(width=4, dropout=0.4),
    MultiPlasticity(width=4, dropout=0.4),
    StateSpace(width=4, depth=1, states=2, dropout=0.4),
    Transformer(width=4, depth=1, heads=2, dropout=0.4),
]


@pytest.mark.parametrize("model", DROPPING, ids=[type(model).__name__ for model in DROPPING])
def test_runs_that_drop_are_those_alone_in_distribution(model: Model) -> None:
    """The mean loss of one epoch, over members that differ in what they draw alone."""
    base = recipe(model=model, epochs=1)
    runs = [started(task, base) for _ in range(40)]
    pack_of(runs).epoch()
    mine = torch.tensor([run.history[0]["train/loss"] for run in runs])
    # Alone, what is dropped comes from the seed of the order, which is left the same for all members here.
    drawn = []
    for number in range(40):
        run = started(task, base)
        torch.manual_seed(number)
        drawn.append(losses_of(run))
    its = torch.tensor(drawn)
    assert mine.std() > 0
    error = math.sqrt((mine.var() + its.var()).item() / 40)
    assert abs((mine.mean() - its.mean()).item()) < 4 * error
    assert 0.5 < (mine.std() / its.std()).item() < 2.0


def losses_of(run: object) -> float:
    """The mean loss of a plain epoch that draws on from where torch's generator is."""
    from trainables.data import feed
    from trainables.gradients import accumulate
    from trainables.run import Run

    assert isinstance(run, Run)
    run.begin_epoch()
    total = 0.0
    for batch in feed.training(run, run.plan.batch_size):
        losses, _ = accumulate(run, batch)
        total += float(losses[0])
        run.schedule()
        run.optimizer.step()
        run.optimizer.zero_grad()
        run.step += 1
    return total / run.plan.samples


def test_a_ramp_is_each_member_s_own() -> None:
    """One falls, one rises over more epochs, one stays: the share of zeros that a layer gives."""
    seen: list[list[float]] = []

    def zeros(output: Tensor, target: Tensor) -> Tensor:
        return (output == 0).double().mean() + 0 * nn.functional.cross_entropy(output, target)

    base = recipe(model=Wide(dropout=0.5), loss=zeros)
    members = [
        replace(base, epochs=3, dropout=DropoutRamp(start=0.6, end=0.0)),
        replace(base, epochs=5, dropout=DropoutRamp(start=0.0, end=0.8)),
        replace(base, model=Wide(dropout=0.3)),
    ]
    runs = [started(task, one) for one in members]
    pack = pack_of(runs)
    for _ in range(3):
        seen.append([epoch.metrics["train/loss"] for epoch in pack.epoch()])
    for found, wanted in zip(seen, [(0.6, 0.0, 0.3), (0.3, 0.2, 0.3), (0.0, 0.4, 0.3)], strict=True):
        assert found == pytest.approx(wanted, abs=0.02)
    assert [row["dropout"] for row in runs[1].history] == pytest.approx([0.0, 0.2, 0.4])
    assert "dropout" not in runs[2].history[0]


@dataclass(frozen=True, slots=True)
class Wide:
    """A thousand numbers, of which some are dropped, twice by one layer that has two names."""

    dropout: float

    def build(self) -> nn.Module:
        return nn.Sequential(nn.Linear(2, 1000), nn.Dropout(self.dropout))

    def conflicts(self) -> Iterator[str]:
        return iter(())


class Draws(TorchDispatchMode):
    """Counts how often something is drawn, but for orders of samples."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        drawn = torch.Tag.nondeterministic_seeded in func.tags and "randperm" not in str(func)
        self.count += drawn
        return func(*args, **(kwargs or {}))


def test_nothing_is_drawn_in_an_epoch_in_which_no_member_drops() -> None:
    """At a rate of 0, where a ramp begins or ends there, and again once another member joins that drops."""
    base = recipe(model=MLP(widths=(8, 8), dropout=0.0), epochs=4)
    still = [base, replace(base, seed=3), replace(base, dropout=DropoutRamp(start=0.0, end=0.9))]
    runs = [started(task, one) for one in still]
    program = program_of(runs[0], RECORDED)
    ramped = pack_of(runs, program)
    drawn = [drawn_in(ramped) for _ in range(3)]
    assert drawn[0] == 0
    assert drawn[1] > 0
    assert drawn[2] > 0
    assert_alike(runs[0], alone(task, base, 3))  # at a rate of 0 beside one that drops
    mixed = [started(task, base), started(task, replace(base, model=MLP(widths=(8, 8), dropout=0.5)))]
    assert drawn_in(pack_of(mixed, program)) > 0
    assert_alike(mixed[0], alone(task, base, 1))
    assert drawn_in(pack_of([started(task, one) for one in still[:2]], program)) == 0


def drawn_in(pack: Pack) -> int:
    """How often something is drawn in an epoch."""
    with Draws() as draws:
        pack.epoch()
    return draws.count


@pytest.mark.parametrize("model", [replace(model, dropout=0.0) for model in DROPPING], ids=lambda m: type(m).__name__)  # type: ignore[call-arg]
@pytest.mark.parametrize("recorded_from", [RECORDED, COMPUTED])
def test_a_rate_of_nothing_gives_what_each_has_alone(model: Model, recorded_from: int) -> None:
    assert_pack_alike(task, [recipe(model=model, seed=seed) for seed in range(3)], 2, recorded_from=recorded_from)


def test_what_is_written_into_the_output_of_a_layer_that_drops_nothing_is_written_as_alone() -> None:
    """Torch hands the very tensor on, and so does a pack."""

    class Written(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.drop, self.head = nn.Linear(2, 4), nn.Dropout(0.0), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x)
            self.drop(x).add_(1)
            return self.head(x)

    @dataclass(frozen=True, slots=True)
    class Writing:
        def build(self) -> nn.Module:
            return Written()

    assert_pack_alike(task, [recipe(model=Writing(), seed=seed) for seed in range(2)], 2)


class Shared(nn.Module):
    """One layer of dropout by two names, and in a list."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 4000)
        self.drop = nn.Dropout(rate)
        self.again = nn.Sequential(self.drop, nn.Identity(), self.drop)
        self.also = [self.drop]

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer(x)
        return torch.cat([self.drop(x), self.again(x), self.also[0](x)], 1)


@dataclass(frozen=True, slots=True)
class SharedDrop:
    dropout: float

    def build(self) -> nn.Module:
        return Shared(self.dropout)


def test_a_layer_with_several_names_has_its_member_s_rate_under_each() -> None:
    def zeros(output: Tensor, target: Tensor) -> Tensor:
        first, twice, listed = (part == 0 for part in output.chunk(3, 1))
        told = first.double().mean() + 100 * twice.double().mean() + 10_000 * listed.double().mean()
        return told + 0 * nn.functional.cross_entropy(output, target)

    runs = together(task, [recipe(model=SharedDrop(rate), loss=zeros) for rate in (0.1, 0.5)], 1)
    for run, rate in zip(runs, (0.1, 0.5), strict=True):
        twice = 1 - (1 - rate) ** 2
        assert run.history[0]["train/loss"] == pytest.approx(rate + 100 * twice + 10_000 * rate, rel=0.03)


def test_what_is_frozen_drops_nothing() -> None:
    """A part of which all parameters are frozen stays in evaluation, so that there is nothing to draw."""

    @dataclass(frozen=True, slots=True)
    class Half:
        def build(self) -> nn.Module:
            return nn.Sequential(nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Dropout(0.5)), nn.Linear(8, 3))

    members = [recipe(model=Half(), freeze=("0.*",), seed=seed) for seed in range(2)]
    runs = assert_pack_alike(task, members, 2)
    for run in runs:
        assert not run.module.get_submodule("0.1").training
        state = run.module.state_dict()
        assert state["0.1.num_batches_tracked"] == 0


def test_a_module_that_keeps_a_part_in_evaluation_is_followed() -> None:
    class Kept(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.drop, self.head = nn.BatchNorm1d(2), nn.Dropout(0.5), nn.Linear(2, 3)

        def train(self, mode: bool = True) -> Kept:
            super().train(mode)
            self.norm.eval()
            self.drop.eval()
            return self

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.head(self.drop(self.norm(x)))
            return out

    @dataclass(frozen=True, slots=True)
    class Keeping:
        def build(self) -> nn.Module:
            return Kept()

    member = recipe(model=Keeping())
    runs = [started(task, member), started(task, replace(member, seed=5))]
    pack = pack_of(runs, program_of(runs[0]))
    pack.epoch()
    pack.epoch()
    assert_alike(runs[0], alone(task, member, 2))
