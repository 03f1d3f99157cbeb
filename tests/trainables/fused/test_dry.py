"""What the dry step refuses, and what it lets through."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.trainables.fused.alike import assert_pack_alike, started
from tests.trainables.fused.test_architectures import MODELS
from tests.trainables.fused.test_architectures import task as waves
from tests.trainables.fused.test_marks import Attending, Built, Rated
from tests.trainables.fused.test_modules import Exchanged, Mixed
from tests.trainables.small import recipe, task
from trainables import BF16, EMA, FP32, FP64, CrossEntropy, Recipe
from trainables.fused.built import unfit_run
from trainables.fused.dry import refused
from trainables.models import CNN, MLP


class Layered(nn.Module):
    """A linear layer to six values, something of one's own, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(2, 6), nn.Linear(6, 3)

    def middle(self, x: Tensor) -> Tensor:
        return x

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(self.middle(self.first(x)))
        return out


class Asking(Layered):
    def middle(self, x: Tensor) -> Tensor:
        return x / x.abs().max().item()


class Deciding(Layered):
    def middle(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


class Choosing(Layered):
    def middle(self, x: Tensor) -> Tensor:
        return x[x.sum(1) > 0].mean() + x


class ByNumpy(Layered):
    def middle(self, x: Tensor) -> Tensor:
        return x + torch.from_numpy(x.detach().numpy()).mean()


class Idle(Layered):
    """A parameter that the loss does not go by."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.ones(2))


class Counting(Layered):
    """A number that is no buffer, and goes up with every call."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def middle(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x / (1 + self.calls)


class Remembering(Layered):
    """The last batch's mean, in a plain attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.before = torch.tensor(0.0)

    def middle(self, x: Tensor) -> Tensor:
        out = x + self.before
        self.before = x.detach().mean()
        return out


class Normed(Layered):
    """Weight norm as a parametrisation, whose kernel vmap does not know."""

    def __init__(self) -> None:
        super().__init__()
        nn.utils.parametrizations.weight_norm(self.first)


class Growing(Layered):
    """A buffer that becomes longer."""

    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(1))

    def middle(self, x: Tensor) -> Tensor:
        self.seen = torch.cat([self.seen, x.detach().mean().reshape(1).to(self.seen)])
        return x


class Cumulative(Layered):
    """BatchNorm that asks its counter for a number."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(6, momentum=None)

    def middle(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(x)
        return out


class Reading(nn.Module):
    """A kernel of torch's that computes for one member alone."""

    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.cell, self.head = cell, nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.cell(x.unsqueeze(-1))[0][:, -1, :4])
        return out


class Drawing(Layered):
    """By Python's own generator."""

    def middle(self, x: Tensor) -> Tensor:
        return x * random.random()


class Detached(Layered):
    """A part without a gradient."""

    def middle(self, x: Tensor) -> Tensor:
        return x + x.detach()


REFUSALS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "item": (Asking, "vmap cannot take it"),
    "if": (Deciding, "vmap cannot take it"),
    "selection": (Choosing, "vmap cannot take it"),
    "numpy": (ByNumpy, "vmap cannot take it"),
    "unused": (Idle, "unused take no part in the loss, which an optimizer leaves alone"),
    "calls": (Counting, "it changes calls as it computes, which is no buffer"),
    "memory": (Remembering, "it changes before as it computes, which is no buffer"),
    "drawn": (Drawing, "it draws what torch's generators do not, and members would all have the same"),
    "weight norm": (Normed, "vmap cannot take it"),
    "growing": (Growing, "vmap cannot take it"),
    "cumulative": (Cumulative, "vmap cannot take it"),
    "two layers": (lambda: Reading(nn.GRU(1, 4, num_layers=2, batch_first=True)), "vmap cannot take it"),
    "both ways": (lambda: Reading(nn.LSTM(1, 4, bidirectional=True, batch_first=True)), "vmap cannot take it"),
    "projection": (lambda: Reading(nn.LSTM(1, 5, proj_size=4, batch_first=True)), "vmap cannot take it"),
    "plain recurrence": (lambda: Reading(nn.RNN(1, 4, batch_first=True)), "vmap cannot take it"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_cannot_be_computed_for_several_is_refused_with_the_reason(name: str) -> None:
    make, said = REFUSALS[name]
    reason = refused(started(task, recipe(model=Built(lambda _: make()))))
    assert reason is not None
    assert reason.startswith("Built: ")
    assert said in reason


class Hidden(Layered):
    """An operation that has another meaning under vmap: what it gives is only found beside what each gives alone."""

    def middle(self, x: Tensor) -> Tensor:
        twice: Tensor = Doubled.apply(torch.ones_like(x))  # type: ignore[no-untyped-call]
        return x * twice


class Doubled(torch.autograd.Function):
    """Its rule for several members is not its rule for one."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x * 2

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # noqa: ARG004
        return gradient * 2

    @staticmethod
    def vmap(info: Any, in_dims: Any, x: Tensor) -> tuple[Tensor, int]:  # noqa: ARG004
        return x * 3, in_dims[0]


class OnlyLooking(Hidden):
    """The same in evaluation alone."""

    def middle(self, x: Tensor) -> Tensor:
        return x if self.training else super().middle(x)


def test_what_is_computed_otherwise_for_several_is_refused() -> None:
    def of(kind: type[nn.Module]) -> str | None:
        return refused(started(task, recipe(model=Built(lambda _: kind()))))

    assert of(Hidden) == "Built: several at once do not have the loss that each has alone"
    assert of(OnlyLooking) == "Built: several at once do not have the outputs in evaluation that each has alone"


def test_a_loss_that_asks_for_a_number_is_refused() -> None:
    def loss(output: Tensor, target: Tensor) -> Tensor:
        return nn.functional.cross_entropy(output, target) / float(output.std())

    assert "vmap cannot take it" in str(refused(started(task, recipe(loss=loss))))


def through(name: str) -> nn.Module:
    made: dict[str, Callable[[], nn.Module]] = {
        "tied and shared": Mixed,
        "exchanged": Exchanged,
        "dropout by hand": lambda: Rated(0.3),
        "attention": lambda: Attending(0.0),
        "embedding": lambda: nn.Sequential(Numbered(), nn.Flatten(), nn.Linear(8, 3)),
        "transformer": lambda: nn.Sequential(
            nn.Unflatten(1, (1, 2)),
            nn.TransformerEncoderLayer(2, 1, 4, dropout=0.2, batch_first=True),
            nn.Flatten(),
            nn.Linear(2, 3),
        ),
        "gru": lambda: Reading(nn.GRU(1, 4, batch_first=True)),
        "lstm": lambda: Reading(nn.LSTM(1, 4, batch_first=True)),
        "states": Stateful,
        "alpha dropout": lambda: nn.Sequential(nn.Linear(2, 8), nn.SELU(), nn.AlphaDropout(0.0), nn.Linear(8, 3)),
        "no statistics": lambda: nn.Sequential(
            nn.Linear(2, 8), nn.BatchNorm1d(8, track_running_stats=False), nn.Linear(8, 3)
        ),
        "instance norm": lambda: nn.Sequential(
            nn.Unflatten(1, (1, 2)),
            nn.InstanceNorm1d(1, track_running_stats=True, affine=True),
            nn.Flatten(),
            nn.Linear(2, 3),
        ),
        "orthogonal": lambda: nn.Sequential(nn.Linear(2, 6), nn.utils.parametrizations.orthogonal(nn.Linear(6, 3))),
        "detached": Detached,
    }
    return made[name]()


class Stateful(nn.Module):
    """Recurrent layers that are given a first state, and of which the last ones are read; time comes first in the second."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.then, self.head = nn.GRU(1, 4, batch_first=True), nn.LSTM(4, 4), nn.Linear(4, 3)
        self.begin = nn.Parameter(torch.randn(1, 1, 4))

    def forward(self, x: Tensor) -> Tensor:
        seen, last = self.first(x.unsqueeze(-1), self.begin.expand(1, len(x), 4).contiguous())
        seen, (last, cell) = self.then(seen.transpose(0, 1), (last, last))
        out: Tensor = self.head(last[-1] + cell[-1] + seen[0])
        return out


class Numbered(nn.Module):
    """Two embeddings, of the sign of each value."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(2, 4)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.table((x > 0).long())
        return out


THROUGH = (
    *("tied and shared", "exchanged", "dropout by hand", "attention", "embedding", "gru", "lstm", "instance norm"),
    *("orthogonal", "detached", "states", "alpha dropout", "no statistics", "transformer"),
)


@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")
@pytest.mark.parametrize("name", THROUGH)
def test_what_is_let_through_is_equal_alone(name: str) -> None:
    members = [recipe(model=Built(lambda _: through(name)), seed=seed, average=None, epochs=2) for seed in range(2)]
    assert refused(started(task, members[0])) is None
    if name not in ("dropout by hand", "transformer"):
        assert_pack_alike(task, members)


@pytest.mark.parametrize("precision", [FP64(), FP32(), BF16()], ids=["double", "single", "mixed"])
@pytest.mark.parametrize("name", MODELS)
def test_every_architecture_is_let_through(name: str, precision: Any) -> None:
    run = started(waves, Recipe(model=MODELS[name], batch_size=8, precision=precision))
    assert refused(run) is None


def test_a_dry_step_leaves_everything_as_it_was() -> None:
    run = started(task, recipe(model=CNN(channels=(4,), image=(1, 2, 1)), average=EMA()))
    before = {name: tensor.clone() for name, tensor in run.module.state_dict().items()}
    generators = torch.get_rng_state(), random.getstate()
    assert refused(run) is None
    assert all(torch.equal(tensor, before[name]) for name, tensor in run.module.state_dict().items())
    assert torch.equal(torch.get_rng_state(), generators[0])
    assert random.getstate() == generators[1]
    assert all(parameter.requires_grad and parameter.grad is None for parameter in run.parameters)


def test_few_samples_are_enough() -> None:
    for size in (1, 3):
        run = started(task, recipe(batch_size=size, model=MLP(widths=(4,)), loss=CrossEntropy(ignore=0, smoothing=0.1)))
        assert refused(run) is None


def test_frozen_parts_are_as_in_training() -> None:
    run = started(task, recipe(model=CNN(channels=(4,), image=(1, 2, 1)), freeze=("blocks.0.1.*",)))
    assert refused(run) is None


class Drawing(nn.Module):
    """Leaves a layer out now and then, as Python's generator, or numpy's, says."""

    def __init__(self, draw: Callable[[], float]) -> None:
        super().__init__()
        self.draw, self.layer = draw, nn.Linear(2, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x)
        return out * 2 if self.training and self.draw() < 1e-6 else out


def by_python() -> float:
    return random.random()


def by_numpy() -> float:
    return float(np.random.random())


@pytest.mark.parametrize("draw", [by_python, by_numpy])
def test_what_other_generators_draw_is_refused_however_seldom_it_changes_a_step(draw: Callable[[], float]) -> None:
    found = refused(started(task, recipe(model=Built(lambda _: Drawing(draw)))))
    assert found is not None
    assert "draws what torch's generators do not" in found


def hook(gradient: Tensor) -> Tensor:
    return gradient * 0.5


def hooked_weight() -> nn.Module:
    module = nn.Linear(2, 3)
    module.weight.register_hook(hook)
    return module


def hooked_after() -> nn.Module:
    module = nn.Linear(2, 3)
    module.weight.register_post_accumulate_grad_hook(lambda _: None)
    return module


def tied_by_data() -> nn.Module:
    module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 3)).double()
    module[0].weight.data = module[1].weight.data
    return module


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (hooked_weight, "the parameter weight has a hook"),
        (hooked_after, "the parameter weight has a hook"),
        (tied_by_data, "0.weight and 1.weight lie in the same memory"),
    ],
)
def test_what_a_pack_would_leave_out_in_silence_is_refused_as_it_is_built(
    make: Callable[[], nn.Module], said: str
) -> None:
    run = started(task, recipe(model=Built(lambda _: make())))
    reasons = list(unfit_run(run))
    if make is tied_by_data and run.device.type != "cpu":
        assert not reasons  # moved there they have come apart, alone too
        return
    assert len(reasons) == 1
    assert said in reasons[0]
    assert not list(unfit_run(started(task, recipe(model=Built(lambda _: nn.Linear(2, 3))))))
