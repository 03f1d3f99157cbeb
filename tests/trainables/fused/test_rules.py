"""Optimizers over rows, each beside the plain one of every member."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.trainables.fused.alike import assert_near
from trainables.fused.rows import Rows
from trainables.fused.rules import rule_of
from trainables.fused.rules.kernels import Adams, Descents
from trainables.fused.rules.mean_square import MeanSquare
from trainables.fused.rules.one_by_one import OneByOne
from trainables.fused.rules.rectified import Rectified
from trainables.fused.rules.trust_ratio import TrustRatios
from trainables.optimizers import LAMB, SGD, Adam, AdamW, Optimizer, RAdam, RMSprop

MEMBERS = 4
BETAS = [(0.9, 0.999), (0.0, 0.9), (0.8, 0.5), (0.95, 0.99)]


def modules() -> list[nn.Module]:
    """A matrix of weights, vectors, a scalar and a tensor of three dimensions, in mixed order."""
    made = []
    for member in range(MEMBERS):
        torch.manual_seed(member)
        module = nn.Module()
        module.scale = nn.Parameter(torch.tensor(1.5))
        module.inner = nn.Sequential(nn.Linear(3, 4), nn.Conv1d(2, 3, 2), nn.LayerNorm(4))
        module.zero = nn.Parameter(torch.zeros(2, 2))
        made.append(module.double())
    return made


SHAPES = [parameter.shape for parameter in modules()[0].parameters()]


@cache
def gradients(member: int, step: int) -> list[Tensor]:
    """Some of every size, and some that are 0."""
    drawn = torch.Generator().manual_seed(1000 * member + step)
    size = 10.0 ** (step % 5 - 3) * (step % 7 > 0)
    return [size * torch.randn(shape, generator=drawn, dtype=torch.float64) for shape in SHAPES]


Kinds = Sequence[Callable[[int], Optimizer]]

KNOWN: dict[str, tuple[type, Callable[[int], Optimizer]]] = {
    "adamw": (
        Adams,
        lambda k: AdamW(lr=0.01 * (k + 1), betas=BETAS[k], eps=10.0 ** -(k + 5), weight_decay=0.02 * (k + 1)),
    ),
    "adamw none": (Adams, lambda k: AdamW(lr=0.01 * (k + 1), weight_decay=0.0)),
    "adamw vectors": (Adams, lambda k: AdamW(lr=0.01, weight_decay=0.1 * (k + 1), decay_vectors=True)),
    "adam": (Adams, lambda k: Adam(lr=0.01 * (k + 1), betas=BETAS[k], weight_decay=0.02 * (k + 1))),
    "sgd": (Descents, lambda k: SGD(lr=0.01 * (k + 1), weight_decay=0.02 * (k + 1))),
    "momentum": (Descents, lambda k: SGD(lr=0.01 * (k + 1), momentum=0.2 * (k + 1), weight_decay=0.01 * (k + 1))),
    "some momentum": (Descents, lambda k: SGD(lr=0.01 * (k + 1), momentum=0.3 * k)),
    "nesterov": (Descents, lambda k: SGD(lr=0.01, momentum=0.2 * (k + 1), nesterov=True)),
    "radam": (Rectified, lambda k: RAdam(lr=0.01 * (k + 1), betas=BETAS[k], weight_decay=0.02 * (k + 1))),
    "radam coupled": (Rectified, lambda k: RAdam(lr=0.01 * (k + 1), weight_decay=0.02 * (k + 1), decoupled=False)),
    "rmsprop": (MeanSquare, lambda k: RMSprop(lr=0.01 * (k + 1), alpha=0.9 + 0.02 * k, weight_decay=0.01 * (k + 1))),
    "rmsprop momentum": (
        MeanSquare,
        lambda k: RMSprop(lr=0.01, alpha=0.8, momentum=0.2 * (k + 1), eps=10.0 ** -(k + 4)),
    ),
    "rmsprop centered": (
        MeanSquare,
        lambda k: RMSprop(lr=0.01, momentum=0.1 * (k + 1), centered=True, weight_decay=0.1 * (k + 1)),
    ),
    "lamb": (TrustRatios, lambda k: LAMB(lr=0.01 * (k + 1), betas=BETAS[k], weight_decay=0.02 * k)),
    "lamb vectors": (TrustRatios, lambda k: LAMB(lr=0.01 * (k + 1), weight_decay=0.02 * k, decay_vectors=True)),
}


@dataclass(frozen=True, slots=True)
class Own:
    """Any torch optimizer."""

    make: Callable[[list[nn.Parameter]], torch.optim.Optimizer]
    lr: float = 0.01

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        return self.make(list(parameters))

    def conflicts(self) -> Iterator[str]:
        return iter(())


class Halving(torch.optim.SGD):
    """A subclass that steps in another way."""

    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad.mul_(0.5)
        return super().step(closure)


def watched(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """Plain SGD that a hook runs ahead of."""
    optimizer = torch.optim.SGD(parameters, lr=0.01)
    optimizer.register_step_pre_hook(turned)
    return optimizer


def turned(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    """Climb instead of descending."""
    for parameter in optimizer.param_groups[0]["params"]:
        parameter.grad.neg_()


def patched(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """Plain SGD that a scheduler of torch's has been put around."""
    optimizer = torch.optim.SGD(parameters, lr=0.01)
    step = optimizer.step

    def doubled(closure: Any = None) -> Any:
        step(closure)
        return step(closure)

    optimizer.step = doubled  # type: ignore[method-assign]
    return optimizer


def groups(first: list[nn.Parameter], then: list[nn.Parameter], **settings: Any) -> list[dict[str, Any]]:
    """Two groups, the second with settings of its own."""
    return [{"params": first}, {"params": then, **settings}]


UNKNOWN: dict[str, Callable[[int], Optimizer]] = {
    "adagrad": lambda k: Own(lambda p: torch.optim.Adagrad(p, lr=0.01, lr_decay=0.1 * k)),
    "amsgrad": lambda k: Own(lambda p: torch.optim.Adam(p, amsgrad=True, weight_decay=0.1 * k)),
    "maximise": lambda k: Own(lambda p: torch.optim.SGD(p, lr=0.01, maximize=True, momentum=0.1 * k)),
    "dampening": lambda k: Own(lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9, dampening=0.1 * (k + 1))),
    "subclass": lambda _: Own(lambda p: Halving(p, lr=0.01)),
    "hook": lambda _: Own(watched),
    "patched": lambda _: Own(patched),
    "some parameters": lambda _: Own(lambda p: torch.optim.Adam(p[:-1], weight_decay=0.1)),
    "groups across rows": lambda _: Own(lambda p: torch.optim.SGD(groups(p[::2], p[1::2], momentum=0.9))),
    "settings by group": lambda _: Own(lambda p: torch.optim.AdamW(groups(p[:1], p[1:], betas=(0.5, 0.6)))),
    "kinds": lambda k: SGD(lr=0.01) if k % 2 else AdamW(lr=0.01),
    "switches": lambda k: SGD(lr=0.01, momentum=0.9, nesterov=k % 2 == 0),
    "centred or not": lambda k: RMSprop(lr=0.01, centered=k % 2 == 0),
    "some decay": lambda k: AdamW(lr=0.01, weight_decay=0.1 * k),
    "decay as they like": lambda k: RAdam(lr=0.01, weight_decay=0.1, decoupled=k % 2 == 0),
}


class Side:
    """Members by themselves and as rows, with the same gradients."""

    def __init__(self, kind: Callable[[int], Optimizer]) -> None:
        self.kind = kind
        self.alone, self.rows_of = modules(), modules()
        self.plain = [kind(k).build(module.parameters()) for k, module in enumerate(self.alone)]
        self.fused = [kind(k).build(module.parameters()) for k, module in enumerate(self.rows_of)]
        self.taken = 0

    def by_themselves(self, steps: int, both: bool = False) -> None:
        """Some steps of the plain optimizers, or of those that are rows later too."""
        for number in range(self.taken, self.taken + steps):
            sides = [(self.alone, self.plain), *([(self.rows_of, self.fused)] if both else [])]
            for own, optimizers in sides:
                for member, (module, optimizer) in enumerate(zip(own, optimizers, strict=True)):
                    self._rate(optimizer, member, number)
                    for parameter, gradient in zip(module.parameters(), gradients(member, number), strict=True):
                        parameter.grad = gradient.clone()
                    optimizer.step()
                    optimizer.zero_grad()
        self.taken += steps if both else 0

    def as_rows(self, steps: int) -> object:
        """As many steps of all at once; the rule that took them comes back."""
        names = [name for name, _ in self.rows_of[0].named_parameters()]
        rows = Rows(self.rows_of, names)
        rule = rule_of(rows, self.fused)
        for number in range(self.taken, self.taken + steps):
            gradient = torch.empty_like(rows.flat)
            for member, (module, optimizer) in enumerate(zip(self.rows_of, self.fused, strict=True)):
                self._rate(optimizer, member, number)
                rows.point(member, gradient)
                for parameter, given in zip(module.parameters(), gradients(member, number), strict=True):
                    assert parameter.grad is not None
                    parameter.grad.copy_(given)
                    parameter.grad = None
            with torch.no_grad():
                rule.step(gradient)
        rule.settle()
        return rule

    def assert_alike(self) -> None:
        """Weights, and all that the optimizers remember."""
        for mine, its, fused, plain in zip(self.rows_of, self.alone, self.fused, self.plain, strict=True):
            for (name, parameter), wanted in zip(mine.named_parameters(), its.parameters(), strict=True):
                assert_near(parameter.detach(), wanted.detach(), where=name)
                assert_near(fused.state.get(parameter, {}), plain.state.get(wanted, {}), where=name)

    @staticmethod
    def _rate(optimizer: torch.optim.Optimizer, member: int, number: int) -> None:
        for group in optimizer.param_groups:
            group["lr"] = 0.01 * (member + 1) / (1 + number % 13)


@pytest.mark.parametrize("name", KNOWN)
def test_a_hundred_steps_are_each_member_s_own(name: str) -> None:
    rule, kind = KNOWN[name]
    side = Side(kind)
    side.by_themselves(100)
    assert type(side.as_rows(100)) is rule
    side.assert_alike()


@pytest.mark.parametrize("name", KNOWN)
def test_steps_go_on_from_where_an_optimizer_was(name: str) -> None:
    """From 7 plain steps, over rows that are made twice, and on by themselves."""
    rule, kind = KNOWN[name]
    side = Side(kind)
    side.by_themselves(7, both=True)
    for steps in (20, 13):
        side.by_themselves(steps)
        assert type(side.as_rows(steps)) is rule
        side.taken += steps
        side.assert_alike()
    side.rows_of = [copy.deepcopy(module) for module in side.rows_of]
    memory = [optimizer.state_dict() for optimizer in side.fused]
    side.fused = [kind(k).build(module.parameters()) for k, module in enumerate(side.rows_of)]
    for optimizer, state in zip(side.fused, memory, strict=True):
        optimizer.load_state_dict(state)
    side.by_themselves(5, both=True)
    side.assert_alike()


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_no_rule_knows_is_stepped_by_each_member_s_own(name: str) -> None:
    side = Side(UNKNOWN[name])
    side.by_themselves(20)
    assert type(side.as_rows(20)) is OneByOne
    side.assert_alike()


def test_torch_s_adam_may_decay_as_adamw_does() -> None:
    """A switch of torch's own that says it beside the class."""
    side = Side(lambda k: Own(lambda p: torch.optim.Adam(p, weight_decay=0.1 * (k + 1), decoupled_weight_decay=True)))
    side.by_themselves(20)
    assert type(side.as_rows(20)) is Adams
    side.assert_alike()


def test_betas_may_be_a_list() -> None:
    side = Side(lambda k: Own(lambda p: torch.optim.Adam(p, betas=[0.8, 0.9 + 0.01 * k])))  # type: ignore[arg-type]
    side.by_themselves(20)
    assert type(side.as_rows(20)) is Adams
    side.assert_alike()


def test_parameters_that_have_taken_unequal_steps_are_each_optimizer_s_own() -> None:
    """A state that stems from another recipe, which froze some: no rule knows a step for each parameter."""
    side = Side(lambda _: AdamW(lr=0.01))
    for own, optimizers in ((side.alone, side.plain), (side.rows_of, side.fused)):
        for module, optimizer in zip(own, optimizers, strict=True):
            first = next(module.parameters())
            first.grad = torch.ones_like(first)
            optimizer.step()
            optimizer.zero_grad()
    side.by_themselves(20)
    assert type(side.as_rows(20)) is OneByOne
    side.assert_alike()


@pytest.mark.parametrize("name", KNOWN)
def test_a_member_that_diverges_moves_no_other(name: str) -> None:
    def run(diverging: bool) -> list[list[Tensor]]:
        own = modules()
        rows = Rows(own, [parameter for parameter, _ in own[0].named_parameters()])
        rule = rule_of(rows, [KNOWN[name][1](k).build(module.parameters()) for k, module in enumerate(own)])
        for number in range(10):
            drawn = torch.Generator().manual_seed(number)
            gradient = torch.randn(rows.flat.shape, generator=drawn, dtype=torch.float64)
            if diverging and number >= 3:
                gradient[1] = [torch.nan, torch.inf][number % 2]
            with torch.no_grad():
                rule.step(gradient)
        return [[parameter.detach().clone() for parameter in module.parameters()] for module in own]

    sound, struck = run(False), run(True)
    assert any(parameter.isnan().any() for parameter in struck[1])
    for member in (0, 2, 3):
        assert_near(struck[member], sound[member], 0.0)
