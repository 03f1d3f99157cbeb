"""Every average: its weights, its buffers, its state."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn

from tests.trainables.small import recipe, task
from trainables import Splits
from trainables.averages import EMA, SWA, Average, Averaged
from trainables.fit import fit
from trainables.recipe import Part

MEMBERS: list[Any] = [EMA(decay=0.9), EMA(decay=0.9, warmup=False), SWA(epochs=1), SWA(epochs=2), SWA(epochs=9)]
every = pytest.mark.parametrize("settings", MEMBERS, ids=repr)
EPOCHS = 4
DATA = [torch.sin(torch.arange(24, dtype=torch.float64).reshape(6, 4) + number) for number in range(3)]


def network(*, normed: bool = True) -> nn.Sequential:
    torch.manual_seed(0)
    norm: nn.Module = nn.BatchNorm1d(8) if normed else nn.LayerNorm(8)
    return nn.Sequential(nn.Linear(4, 8), norm, nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3)).double()


def batches() -> Iterator[tuple[Tensor, ...]]:
    yield from ((x,) for x in DATA)


def untouched() -> Iterator[tuple[Tensor, ...]]:
    raise AssertionError("the training set was gone through for nothing")


def trained(
    module: nn.Module,
    average: Averaged,
    epochs: range = range(1, EPOCHS + 1),
    ended: Callable[[int], None] = lambda _: None,
    inputs: Callable[[], Iterator[tuple[Tensor, ...]]] = batches,
) -> None:
    """Steps as the loop takes them; ``ended`` is told of each epoch's end."""
    optimizer = torch.optim.SGD(module.parameters(), 0.1)
    for epoch in epochs:
        torch.manual_seed(epoch)
        module.train()
        for x in DATA:
            optimizer.zero_grad()
            module(x).square().mean().backward()
            optimizer.step()
            average.update()
        average.epoch_ended(epoch, EPOCHS, inputs)
        ended(epoch)


def same(a: nn.Module, b: nn.Module, atol: float = 1e-12) -> None:
    for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True):
        torch.testing.assert_close(x, y, rtol=0, atol=atol)


def test_ema_without_warm_up_is_torch_s() -> None:
    module = network()
    mine = EMA(decay=0.9, warmup=False).build(module)
    averaging: Any = get_ema_multi_avg_fn  # without types in torch
    theirs = AveragedModel(module, multi_avg_fn=averaging(0.9), use_buffers=True)
    optimizer = torch.optim.SGD(module.parameters(), 0.1)
    for x in [*DATA, *DATA]:
        module(x).square().mean().backward()
        optimizer.step()
        mine.update()
        theirs.update_parameters(module)
    floating = {name: value for name, value in mine.module.state_dict().items() if value.is_floating_point()}
    for name, value in floating.items():
        torch.testing.assert_close(value, theirs.module.state_dict()[name], rtol=0, atol=1e-12)


def test_ema_s_warm_up_follows_its_formula_and_survives_a_reload() -> None:
    module = nn.Linear(1, 1, bias=False).double()
    average: Averaged = EMA(decay=0.99).build(module)
    value = module.weight.item()
    expected = value
    for update in range(1, 40):
        module.weight.data.fill_(value + update)
        average.update()
        decay = min(0.99, (1 + update) / (10 + update))
        expected = decay * expected + (1 - decay) * (value + update)
        if update == 20:
            state = average.state()
            average = EMA(decay=0.99).build(module)
            average.load(state)
    assert average.module.state_dict()["weight"].item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("last", [1, 2, 3, 9])
def test_swa_is_torch_s(last: int) -> None:
    """Of the last epochs' ends, all equal; torch's update_bn lets dropout act, so there is none here."""
    module = network()
    module[3] = nn.Identity()
    mine = SWA(epochs=last).build(module)
    theirs = AveragedModel(module)

    def ended(epoch: int) -> None:
        if epoch <= EPOCHS - last:
            same(mine.module, module)
            return
        theirs.update_parameters(module)
        update_bn(DATA, theirs)
        same(mine.module, theirs.module)

    trained(module, mine, ended=ended)
    assert int(theirs.n_averaged) == min(last, EPOCHS)
    weights = [p.detach() for p in mine.module.parameters()]
    if last > 1:
        assert not torch.allclose(weights[0], next(module.parameters()))


def test_swa_follows_the_weights_at_the_ends_of_epochs_only() -> None:
    module = network()
    average = SWA(epochs=1).build(module)
    start = {name: value.clone() for name, value in average.module.state_dict().items()}
    trained(module, EMA().build(module))
    average.update()
    assert all(torch.equal(value, start[name]) for name, value in average.module.state_dict().items())
    average.epoch_ended(1, EPOCHS, untouched)
    same(average.module, module)


def test_swa_begins_anew_where_a_run_was_made_longer() -> None:
    module = network()
    average = SWA(epochs=2).build(module)
    trained(module, average)
    average.epoch_ended(5, 20, untouched)
    same(average.module, module)
    assert average.state()["averaged"] == 0


def test_swa_measures_batch_norm_s_statistics_on_the_averaged_weights() -> None:
    """By definition: the plain mean over the batches of what the averaged first layer gives, dropout off, all modes put back."""
    module = network()
    average = SWA(epochs=3).build(module)
    modes = [part.training for part in average.module.modules()]
    momentum = average.module[1].momentum  # type: ignore[index]
    trained(module, average)
    first, norm = average.module[0], average.module[1]  # type: ignore[index]
    out = [first(x) for x in DATA]
    mean = torch.stack([o.mean(0) for o in out]).mean(0)
    variance = torch.stack([o.var(0) for o in out]).mean(0)
    torch.testing.assert_close(norm.running_mean, mean, rtol=0, atol=1e-12)
    torch.testing.assert_close(norm.running_var, variance, rtol=0, atol=1e-12)
    raw = module.state_dict()["1.running_mean"]
    assert not torch.allclose(norm.running_mean, raw, atol=1e-3)
    assert [part.training for part in average.module.modules()] == modes
    assert norm.momentum == momentum


def test_swa_leaves_the_statistics_of_frozen_layers_alone() -> None:
    """A frozen part is in evaluation mode while the rest is trained."""
    module = network()
    module[1].eval()
    average = SWA(epochs=9).build(module)
    average.epoch_ended(1, EPOCHS, untouched)
    same(average.module, module)


def test_swa_s_pass_over_the_data_draws_nothing_and_stands_a_single_sample() -> None:
    """Dropout in it would take numbers from the generator that training draws from."""
    module = network()
    module.insert(0, nn.Dropout(0.5))
    average = SWA(epochs=9).build(module)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    average.epoch_ended(1, EPOCHS, lambda: iter([(DATA[0],), (DATA[1][:1],)]))
    assert torch.equal(torch.get_rng_state(), before)
    expected = average.module[1](DATA[0]).mean(0)  # type: ignore[index]
    torch.testing.assert_close(average.module[2].running_mean, expected)  # type: ignore[index]


def test_swa_puts_the_modes_back_when_the_pass_fails() -> None:
    average = SWA(epochs=9).build(network())
    average.module.eval()

    def broken() -> Iterator[tuple[Tensor, ...]]:
        yield (DATA[0],)
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        average.epoch_ended(1, EPOCHS, broken)
    assert not any(part.training for part in average.module.modules())
    assert average.module[1].momentum == 0.1  # type: ignore[index]


@every
def test_no_pass_over_the_data_without_batch_norm(settings: Average) -> None:
    module = network(normed=False)
    trained(module, settings.build(module), inputs=untouched)


@pytest.mark.parametrize("settings", MEMBERS[:2], ids=repr)
def test_ema_never_goes_over_the_data(settings: Average) -> None:
    module = network()
    trained(module, settings.build(module), inputs=untouched)


@dataclass(frozen=True, kw_only=True, slots=True)
class Normed:
    """Two inputs, three classes, BatchNorm and dropout between."""

    def build(self) -> nn.Module:
        return nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3))


def by_class(seed: int) -> Splits:
    """The set in the order of its classes, as a stratified split leaves it."""
    splits = task.data(seed)
    order = splits.train[-1].argsort(stable=True)
    return replace(splits, train=tuple(tensor[order] for tensor in splits.train))


def test_fit_validates_and_resumes_swa() -> None:
    """What is validated is the mean of the weights at the last epochs' ends, with statistics of its own, also after a resume."""
    asked = recipe(model=Normed(), average=SWA(epochs=3), epochs=5, batch_size=14)
    ordered = replace(task, data=by_class)
    ends: list[list[Tensor]] = []
    states: list[Any] = []
    for epoch in fit(ordered, asked):
        run = epoch.run
        states.append(copy.deepcopy(run.state()))
        ends.append([p.detach().clone() for p in run.module.parameters()])
        averaged = ends[2:] or ends[-1:]
        for deployed, *values in zip(run.deployed.parameters(), *averaged, strict=True):
            torch.testing.assert_close(deployed, torch.stack(values).mean(0), rtol=0, atol=1e-12)
        raw, mine = run.module.state_dict()["1.running_mean"], run.deployed.state_dict()["1.running_mean"]
        assert torch.equal(raw, mine) == (epoch.epoch < 3)
        assert (epoch.metrics["val/loss"] == epoch.metrics["val/loss_raw"]) == (epoch.epoch < 3)
    for after in (2, 4):
        *_, last = fit(ordered, asked, state=states[after - 1])
        for name, value in run.deployed.state_dict().items():
            assert torch.equal(value, last.run.deployed.state_dict()[name]), name


def test_fit_measures_swa_s_statistics_whatever_the_order_of_the_data() -> None:
    """Batches of one class each would have variances far below the set's."""
    asked = recipe(model=Normed(), average=SWA(epochs=1), epochs=1, batch_size=300)
    many = replace(task, data=lambda seed: repeated(by_class(seed), 20))
    (epoch,) = fit(many, asked)
    first = epoch.run.deployed.get_submodule("0")(epoch.run.splits.train[0])
    statistics = epoch.run.deployed.get_submodule("1").state_dict()
    assert ((statistics["running_mean"] - first.mean(0)) / first.std(0)).abs().max() < 0.1
    torch.testing.assert_close(statistics["running_var"], first.var(0), rtol=0.1, atol=0.0)


def repeated(splits: Splits, times: int) -> Splits:
    return replace(splits, train=tuple(tensor.repeat_interleave(times, 0) for tensor in splits.train))


@every
@pytest.mark.parametrize("after", [1, 2, 3])
def test_a_reloaded_state_goes_on_bit_for_bit(settings: Average, after: int) -> None:
    module = network()
    whole = settings.build(module)
    trained(module, whole)

    again = network()
    begun = settings.build(again)
    trained(again, begun, range(1, after + 1))
    state = begun.state()
    resumed = settings.build(again)
    resumed.load(state)
    trained(again, resumed, range(after + 1, EPOCHS + 1))
    for name, value in whole.module.state_dict().items():
        assert torch.equal(value, resumed.module.state_dict()[name])


@every
def test_an_average_has_a_module_of_its_own(settings: Average) -> None:
    module = network()
    average = settings.build(module)
    same(average.module, module)
    assert not any(parameter.requires_grad for parameter in average.module.parameters())
    mine = {tensor.data_ptr() for tensor in average.module.state_dict().values()}
    assert mine.isdisjoint({tensor.data_ptr() for tensor in module.state_dict().values()})
    raw = {name: value.clone() for name, value in module.state_dict().items()}
    average.update()
    average.epoch_ended(1, EPOCHS, batches)
    assert all(torch.equal(value, raw[name]) for name, value in module.state_dict().items())


@pytest.mark.parametrize(
    ("part", "said"), [(EMA(decay=1.0), "decay 1.0"), (EMA(decay=0.0), "decay 0.0"), (SWA(epochs=0), "epochs 0")]
)
def test_settings_that_make_no_sense_are_said(part: Part, said: str) -> None:
    conflicts = list(part.conflicts())
    assert len(conflicts) == 1
    assert said in conflicts[0]


@every
def test_the_members_themselves_have_no_conflict(settings: Average) -> None:
    assert list(settings.conflicts()) == []
