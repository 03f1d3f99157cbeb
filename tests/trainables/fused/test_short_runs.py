"""What only shows in whole runs is refused, made equal, or let through where it is rounding."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import InitVar, dataclass, replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.trainables.fused.alike import assert_pack_alike, started
from tests.trainables.fused.test_dry import Layered
from tests.trainables.fused.test_marks import Built
from tests.trainables.fused.test_rules import Own
from tests.trainables.small import clusters, recipe, task
from trainables import BF16, FP32, FP64, SGD, AdamW, Balanced, DropoutRamp, GradientNoise, Recipe, Splits, WholeSet
from trainables.fit import fit
from trainables.fused.built import differences
from trainables.fused.dry import refused
from trainables.fused.structure import structure

OWN = "in a pack train/loss of epoch 1 is not what it is alone"


def why(**changes: Any) -> str | None:
    """Why a run by such a recipe is refused."""
    return refused(started(task, recipe(**changes)))


def built(make: Callable[[], nn.Module]) -> Built:
    return Built(lambda _: make())


class Masked(Layered):
    """Values that are drawn, a buffer, and reached in another way."""

    mask: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mask", torch.rand(6).double())
        self.hold(self.mask)

    def hold(self, mask: Tensor) -> None:
        raise NotImplementedError


class ByList(Masked):
    def hold(self, mask: Tensor) -> None:
        self.masks = [mask]

    def middle(self, x: Tensor) -> Tensor:
        return x * self.masks[0]


class ByFunction(Masked):
    def hold(self, mask: Tensor) -> None:
        self.masked = lambda x: x * mask

    def middle(self, x: Tensor) -> Tensor:
        out: Tensor = self.masked(x)
        return out


class ByObject(Masked):
    def hold(self, mask: Tensor) -> None:
        self.held = SimpleNamespace(mask=mask)

    def middle(self, x: Tensor) -> Tensor:
        out: Tensor = x * self.held.mask
        return out


class Gated(Layered):
    """A gate by which little depends, reached through a list."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Parameter(torch.zeros(6))
        self.gates = [self.gate]

    def middle(self, x: Tensor) -> Tensor:
        return x + 1e-3 * x * self.gates[0]


class Counted(Layered):
    """A buffer that counts every pass, in evaluation too."""

    passes: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("passes", torch.zeros(()))

    def middle(self, x: Tensor) -> Tensor:
        self.passes += 1
        return x / (1 + self.passes)


class Long(Layered):
    """What it does with a batch depends on how many samples it has."""

    def middle(self, x: Tensor) -> Tensor:
        return x[x[:, 0] > 0].mean() + x if len(x) > 6 else x


@pytest.mark.parametrize(
    ("make", "changes", "said"),
    [
        (ByList, {}, OWN),
        (ByFunction, {}, OWN),
        (ByObject, {}, OWN),
        (Gated, {"precision": FP32()}, "is not what it is alone"),
        (Counted, {}, "it writes passes in evaluation, which a pack passes through more often"),
        (Long, {}, "vmap cannot take it"),
    ],
)
def test_modules_that_would_not_be_in_a_pack_what_they_are_alone_are_refused(
    make: Callable[[], nn.Module], changes: dict[str, Any], said: str
) -> None:
    run = started(task, recipe(model=built(make), **changes))
    if run.device.type != "cpu" and issubclass(make, Masked):  # type: ignore[arg-type]
        said = "vmap cannot take it"  # what lies on the GPU is another tensor than what is held elsewhere
    assert said in str(refused(run))


class Rated(Layered):
    """Its code goes by the rate of a layer."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.drop = nn.Dropout(rate)

    def middle(self, x: Tensor) -> Tensor:
        return x * (1 - self.drop.p)


class Handing(Rated):
    """It hands the rate on to a function."""

    def middle(self, x: Tensor) -> Tensor:
        return functional.dropout(x, self.drop.p, self.training)


def test_code_that_reads_a_rate_of_dropout_has_the_member_s_own() -> None:
    members = [recipe(model=Built(Rated, rate), seed=seed) for seed, rate in enumerate((0.1, 0.3, 0.6))]
    assert refused(started(task, members[0])) is None
    assert_pack_alike(task, members)
    assert_pack_alike(task, [replace(one, dropout=DropoutRamp(start=0.5, end=0.1)) for one in members])


def test_where_it_cannot_have_that_it_is_refused() -> None:
    assert "vmap cannot take it" in str(why(model=Built(Handing, 0.3)))
    assert "vmap cannot take it" in str(why(model=Built(Handing, 0.0)))


def words(seed: int) -> Splits:
    """Sequences of words, of which number 0 fills the rest, from the second half of them on."""
    splits = clusters(seed)

    def read(points: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        numbers = (points.abs() * 3).long().clamp(1, 6).repeat(1, 2)
        numbers[len(numbers) // 2 :, 3:] = 0
        return numbers, classes

    return Splits(train=read(*splits.train), val=read(*splits.val), test=read(*splits.test))


class Padded(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(7, 4, padding_idx=0), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.read(x).flatten(1))
        return out

    def read(self, x: Tensor) -> Tensor:
        out: Tensor = self.table(x)
        return out


class PaddedByHand(Padded):
    def read(self, x: Tensor) -> Tensor:
        return functional.embedding(x, self.table.weight, padding_idx=0)


def test_a_row_for_padding_learns_nothing_in_any_member() -> None:
    reading = replace(task, data=words)
    members = [recipe(model=built(Padded), seed=seed) for seed in range(3)]
    assert refused(started(reading, members[0])) is None
    for run in assert_pack_alike(reading, members):
        table: Any = run.module.get_submodule("table")
        assert not table.weight[0].any()
        assert table.weight[1].any()
    assert "with a padding_idx" in str(refused(started(reading, recipe(model=built(PaddedByHand)))))


class Shrinking:
    """A clip of one's own that puts other tensors in the place of the gradients."""

    def __call__(self, parameters: Sequence[nn.Parameter]) -> Tensor | float:
        norm = torch.stack([self.of(parameter).norm() for parameter in parameters]).norm()
        for parameter in parameters:
            self.shrink(parameter)
        return norm

    def of(self, parameter: nn.Parameter) -> Tensor:
        assert parameter.grad is not None
        return parameter.grad

    def shrink(self, parameter: nn.Parameter) -> None:
        parameter.grad = self.of(parameter) * 0.1

    def conflicts(self) -> Iterator[str]:
        return iter(())


class ShrinkingData(Shrinking):
    def shrink(self, parameter: nn.Parameter) -> None:
        self.of(parameter).data = self.of(parameter) * 0.1


class Telling(Shrinking):
    def __call__(self, parameters: Sequence[nn.Parameter]) -> float:
        return float(super().__call__(parameters))


class Taking(Shrinking):
    def shrink(self, parameter: nn.Parameter) -> None:
        parameter.grad = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Shifting(GradientNoise):
    def __call__(self, parameters: Sequence[nn.Parameter], step: int, seed: int) -> None:
        for parameter in parameters:
            assert parameter.grad is not None
            parameter.grad = parameter.grad + 0.01 * (step + seed)


class Decaying(torch.optim.SGD):
    """It writes its own learning rate."""

    def step(self, closure: Any = None) -> Any:
        super().step(closure)
        for group in self.param_groups:
            group["lr"] *= 0.9


class Averaging(torch.optim.SGD):
    """It puts other tensors in the place of the parameters', as Lookahead may."""

    def step(self, closure: Any = None) -> Any:
        super().step(closure)
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.data = parameter.detach() * 0.99


class Remembering(Shrinking):
    """A clip that goes by the norms before."""

    def __init__(self) -> None:
        self.norms: list[Tensor] = []

    def __call__(self, parameters: Sequence[nn.Parameter]) -> Tensor:
        norm = torch.stack([self.of(parameter).norm() for parameter in parameters]).norm()
        self.norms.append(norm)
        most = torch.stack(self.norms).mean()
        for parameter in parameters:
            self.of(parameter).mul_((most / norm).clamp(max=1))
        return norm


def test_a_clip_that_remembers_is_each_run_s_own() -> None:
    clip = Remembering()
    members = [recipe(seed=seed, clip=clip) for seed in range(3)]
    assert refused(started(task, members[0])) is None
    assert_pack_alike(task, members)
    assert not clip.norms


@pytest.mark.parametrize(
    "changes",
    [
        {"clip": Shrinking()},
        {"clip": ShrinkingData()},
        {"clip": Telling()},
        {"noise": Shifting()},
        {"optimizer": Own(lambda parameters: Decaying(parameters, lr=0.1))},
        {"optimizer": Own(lambda parameters: Averaging(parameters, lr=0.1))},
    ],
    ids=["clip", "clip's data", "clip's number", "noise", "rate", "parameters"],
)
def test_parts_of_one_s_own_may_put_other_tensors_in_the_place_of_what_they_are_given(changes: dict[str, Any]) -> None:
    members = [recipe(seed=seed, **changes) for seed in range(3)]
    assert refused(started(task, members[0])) is None
    assert_pack_alike(task, members)


def test_a_clip_that_takes_gradients_away_is_refused() -> None:
    assert "was taken away" in str(why(clip=Taking()))


def of_its_own_kind(scale: float) -> nn.Module:
    """A module of a class that is made for it."""

    def begin(self: Any) -> None:
        nn.Module.__init__(self)
        self.layer = nn.Linear(2, 3)

    def forward(self: Any, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x) * scale
        return out

    kind: Any = type("Made", (nn.Module,), {"__init__": begin, "forward": forward})
    module: nn.Module = kind()
    return module


def test_classes_of_one_name_that_compute_otherwise_are_told_apart() -> None:
    runs = [started(task, recipe(model=Built(of_its_own_kind, rate))) for rate in (0.1, 0.5, 0.1)]
    assert "is not built as the first is" in next(differences(runs[:2]))
    assert not [*differences([runs[0], runs[2]])]


def limited(output: Tensor, target: Tensor) -> Tensor:
    """A loss that writes into its targets."""
    target.masked_fill_(target > 1, 1)
    return functional.cross_entropy(output, target, reduction="none")


def test_a_loss_that_writes_into_its_targets_leaves_the_sets_as_they_are() -> None:
    changed = recipe(loss=limited)
    splits = task.load(3)
    before = [tensor.clone() for _, tensor in (splits.train, splits.val, splits.test)]
    *_, last = fit(task, changed, splits=splits)
    assert last.metrics["val/loss"] > 0
    assert all(
        torch.equal(one[1], was) for one, was in zip((splits.train, splits.val, splits.test), before, strict=True)
    )
    assert_pack_alike(task, [replace(changed, seed=seed) for seed in range(2)])


@dataclass(frozen=True)
class Strict:
    """A model with a rule for its rate, and a setting that it does not keep."""

    width: InitVar[int]
    dropout: float = 0.2

    def __post_init__(self, width: int) -> None:
        if not 0 < self.dropout < 1:
            raise ValueError("dropout must lie between 0 and 1")
        object.__setattr__(self, "wide", width)

    def build(self) -> nn.Module:
        return nn.Sequential(nn.Linear(2, 3), nn.Dropout(self.dropout))


def test_a_model_s_own_rules_are_not_broken_to_see_what_it_has_in_common_with_others() -> None:
    first, second = (structure(task, recipe(model=Strict(4, rate))) for rate in (0.2, 0.4))
    assert first == second


class Sign(torch.optim.Optimizer):
    """Steps by the gradient's sign alone, which for a gradient that is nothing but rounding is rounding's."""

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        super().__init__(parameters, {"lr": 0.01})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:  # noqa: ARG002
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.add_(parameter.grad.sign(), alpha=-group["lr"])


class Rooted(nn.Module):
    """A norm in single precision, as many write it."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(64))

    def forward(self, x: Tensor) -> Tensor:
        single = x.float()
        return (single * torch.rsqrt(single.pow(2).mean(-1, keepdim=True) + 1e-6)).type_as(x) * self.scale


class Single(Layered):
    """It takes single precision alone."""

    def middle(self, x: Tensor) -> Tensor:
        return x @ torch.eye(6, device=x.device)


class Noisy(Layered):
    """It draws in training and in evaluation."""

    def middle(self, x: Tensor) -> Tensor:
        return functional.dropout(x * (1 + 0.1 * torch.randn_like(x)), 0.3)


def normed() -> nn.Module:
    """A bias that the norm takes out again, so that its gradient is nothing but rounding."""
    return nn.Sequential(nn.Linear(2, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3))


def rooted() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 64), Rooted(), nn.GELU(), nn.Linear(64, 64), Rooted(), nn.Linear(64, 3))


@pytest.mark.parametrize("precision", [FP64(), FP32(), BF16()], ids=["double", "single", "mixed"])
@pytest.mark.parametrize(
    "optimizer", [SGD(lr=0.1, momentum=0.9), AdamW(lr=0.01), Own(Sign)], ids=["sgd", "adamw", "sign"]
)
@pytest.mark.parametrize("make", [normed, rooted, Single, Noisy])
def test_rounding_and_draws_are_no_reason(make: Callable[[], nn.Module], optimizer: Any, precision: Any) -> None:
    if make is Single and isinstance(precision, FP64):
        return  # it cannot be trained so
    assert why(model=built(make), optimizer=optimizer, precision=precision) is None


def in_order(seed: int) -> Splits:
    """Samples that lie by class, so that the first ones are of one alone."""
    splits = clusters(seed)
    order = splits.train[1].argsort()
    return Splits(train=tuple(tensor[order] for tensor in splits.train), val=splits.val, test=splits.test)


@pytest.mark.parametrize(
    "changes", [{}, {"sampling": Balanced()}, {"batch_size": 60}, {"batch_size": 1000}, {"epochs": 1}]
)
def test_nor_are_samples_that_lie_by_class_and_batches_of_any_size(changes: dict[str, Any]) -> None:
    made: Recipe = recipe(**changes)
    assert refused(started(replace(task, data=in_order), made)) is None


def of_both_classes(output: Tensor, target: Tensor) -> float:
    """A metric that a set of few samples, or of one class, does not have."""
    if len(target) < 20:
        raise ValueError("too few samples")
    return float((output.argmax(1) == target).double().mean())


def test_a_metric_of_whole_sets_is_not_asked_of_a_few_samples() -> None:
    measured = replace(task, metrics={**task.metrics, "both": WholeSet(of_both_classes)})
    assert refused(started(measured, recipe())) is None


def test_what_cannot_be_tried_for_a_few_samples_is_trained_alone() -> None:
    measured = replace(task, metrics={"accuracy": lambda output, target: torch.tensor(of_both_classes(output, target))})
    assert refused(started(measured, recipe())) == ("MLP: a short run of it fails alone (ValueError: too few samples)")


def rare(seed: int) -> Splits:
    """Many classes, of which few samples have few."""
    splits = clusters(seed)
    numbers = torch.arange(len(splits.train[1])) % 50
    return Splits(train=(splits.train[0], numbers), val=splits.val, test=splits.test)


def test_classes_that_a_few_samples_do_not_have_are_no_reason() -> None:
    assert refused(started(replace(task, data=rare), recipe())) is None


HELD: dict[int, Tensor] = {}


class Caching(Layered):
    """A tensor that is kept outside by the length of a batch, in the type of the first one."""

    def middle(self, x: Tensor) -> Tensor:
        if len(x) not in HELD:
            HELD[len(x)] = torch.ones(6).to(x)
        return x @ torch.diag(HELD[len(x)])


def test_what_is_tried_leaves_nothing_of_another_type_behind() -> None:
    single = recipe(model=built(Caching), precision=FP32(), batch_size=8)
    assert refused(started(task, single)) is None
    assert {tensor.dtype for tensor in HELD.values()} == {torch.float32}


class Named(Layered):
    """Layers that are called with their input by its name."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.drop = nn.BatchNorm1d(6), nn.Dropout(0.1)

    def middle(self, x: Tensor) -> Tensor:
        out: Tensor = self.drop(input=self.norm(input=x))
        return out


class Seeding(Layered):
    """A fixed projection, drawn in every pass from a seed, beside noise."""

    def middle(self, x: Tensor) -> Tensor:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            fixed = torch.randn(6).to(x)
        return x * fixed + 1e-9 * torch.randn_like(x)


class Standing(Layered):
    """Noise of mean 0 and deviation 1, which one number alone has not."""

    def middle(self, x: Tensor) -> Tensor:
        noise = torch.randn_like(x)
        return x + (noise - noise.mean()) / noise.std()


def test_layers_may_be_called_by_name() -> None:
    assert why(model=built(Named)) is None


@pytest.mark.parametrize(
    ("make", "said"), [(Seeding, "it draws by manual_seed"), (Standing, "what it draws cannot be held")]
)
def test_draws_that_hide_what_is_compared_are_refused(make: Callable[[], nn.Module], said: str) -> None:
    assert said in str(why(model=built(make)))
