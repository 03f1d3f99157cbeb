"""What modules, losses and models have beside their tensors is told apart."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count

import pytest
import torch
from torch import Tensor, nn

from tests.trainables.fused.alike import started
from tests.trainables.small import recipe, task
from trainables import MeanSquaredError
from trainables.fused.built import differences, shapes
from trainables.fused.marks import marks_of
from trainables.fused.structure import structure


@dataclass(frozen=True, slots=True)
class Built:
    """A model of any kind, with a rate of dropout that it may read."""

    make: Callable[[float], nn.Module]
    dropout: float = 0.0

    def build(self) -> nn.Module:
        return self.make(self.dropout)


class Rated(nn.Module):
    """Its rate is no layer's."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate, self.layer = rate, nn.Linear(2, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(nn.functional.dropout(x, self.rate, self.training))
        return out


class Attending(nn.Module):
    def __init__(self, rate: float) -> None:
        super().__init__()
        self.attention, self.head = nn.MultiheadAttention(2, 1, dropout=rate, batch_first=True), nn.Linear(2, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = x.unsqueeze(1)
        out: Tensor = self.head(self.attention(x, x, x)[0].squeeze(1))
        return out


class Masked(nn.Module):
    """A tensor that is neither parameter nor buffer, drawn."""

    def __init__(self) -> None:
        super().__init__()
        self.mask, self.layer = torch.rand(3).double(), nn.Linear(2, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x) * self.mask
        return out


class Permuted(nn.Module):
    """A list of numbers, drawn."""

    def __init__(self) -> None:
        super().__init__()
        self.order, self.layer = torch.randperm(30).tolist(), nn.Linear(2, 3)


class Extra(nn.Module):
    """A part that is not registered, of which the weights are constants."""

    def __init__(self) -> None:
        super().__init__()
        self.parts, self.layer = [nn.Linear(2, 2)], nn.Linear(2, 3)


class Calling(nn.Module):
    """A function that closes over a rate."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.change, self.layer = lambda x: nn.functional.dropout(x, rate), nn.Linear(2, 3)


def local(rate: float) -> nn.Module:
    """A class whose methods close over a rate."""

    class Closing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 3)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.layer(nn.functional.dropout(x, rate, self.training))
            return out

    return Closing()


class Leaky(nn.Dropout):
    """A dropout of one's own."""


def layered(layer: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(2, 3), layer)


def unlike(rate: float) -> nn.Module:
    """A width that is the rate's."""
    return nn.Linear(2, 3, bias=rate > 0.2)


def scripted(_: float) -> nn.Module:
    script: nn.Module = torch.jit.trace(nn.Linear(2, 3), torch.ones(1, 2))  # type: ignore[no-untyped-call]
    return script


def with_hook(rate: float) -> nn.Module:
    layer = nn.Linear(2, 3)
    layer.register_forward_hook(lambda *given: given[-1] * rate)
    return layer


BY_RATE: dict[str, Callable[[float], nn.Module]] = {
    "functional": Rated,
    "attention": Attending,
    "closure": Calling,
    "local class": local,
    "subclass": lambda rate: layered(Leaky(rate)),
    "all": lambda rate: layered(nn.Dropout(1.0 if rate > 0.2 else rate)),
    "bias": unlike,
    "hook": with_hook,
    "recurrent": lambda rate: layered(nn.GRU(3, 3, num_layers=2, dropout=rate)),
    "function": lambda rate: layered(nn.TransformerEncoderLayer(3, 1, dropout=0.0, activation=lambda x: x * rate)),
}

SAME_BY_RATE: dict[str, Callable[[float], nn.Module]] = {
    "dropout": lambda rate: layered(nn.Dropout(rate)),
    "channels": lambda rate: layered(nn.Dropout2d(rate)),
    "alpha": lambda rate: layered(nn.AlphaDropout(rate)),
}

BY_SEED: dict[str, Callable[[float], nn.Module]] = {
    "tensor": lambda _: Masked(),
    "list": lambda _: Permuted(),
    "unregistered part": lambda _: Extra(),
}


@pytest.mark.parametrize("name", BY_RATE)
def test_a_rate_that_is_no_layer_s_own_is_told_apart(name: str) -> None:
    runs = [started(task, recipe(model=Built(BY_RATE[name], rate))) for rate in (0.1, 0.3)]
    assert structure(task, runs[0].recipe) == structure(task, runs[1].recipe)
    assert shapes(runs[0]) != shapes(runs[1])
    assert len(list(differences(runs))) == 1
    assert shapes(started(task, runs[0].recipe)) == shapes(runs[0])


@pytest.mark.parametrize("name", SAME_BY_RATE)
def test_a_rate_that_is_a_layer_s_own_is_not(name: str) -> None:
    runs = [started(task, recipe(model=Built(SAME_BY_RATE[name], rate))) for rate in (0.1, 0.3)]
    assert not list(differences(runs))


@pytest.mark.parametrize("name", BY_SEED)
def test_what_is_drawn_beside_parameters_and_buffers_is_told_apart(name: str) -> None:
    runs = [started(task, recipe(model=Built(BY_SEED[name]), seed=seed)) for seed in (1, 2, 1)]
    assert shapes(runs[0]) == shapes(runs[2])
    assert len(list(differences(runs))) == 1


def weighted(share: float) -> Callable[[Tensor, Tensor], Tensor]:
    def loss(output: Tensor, target: Tensor, share: float = share) -> Tensor:
        return share * nn.functional.cross_entropy(output, target)

    return loss


def test_losses_of_one_name_are_told_apart() -> None:
    """Functions made by one line, which differ in a default."""
    runs = [started(task, recipe(loss=weighted(share))) for share in (0.5, 0.7, 0.5)]
    assert shapes(runs[0]) != shapes(runs[1])
    assert shapes(runs[0]) == shapes(runs[2])


class Nothing:
    """It has no settings."""


class Numbers(Iterator[int]):
    """What it holds Python does not show."""

    __slots__ = ("source",)

    def __init__(self) -> None:
        self.source = count()

    def __next__(self) -> int:
        return next(self.source)


def test_objects_without_settings_are_alike_and_those_that_show_nothing_are_not() -> None:
    assert marks_of(Nothing()) == marks_of(Nothing())
    assert marks_of(MeanSquaredError()) == marks_of(copy.deepcopy(MeanSquaredError()))
    kept = [Numbers(), Numbers(), count(), count()]
    assert len({marks_of(one) for one in kept}) == 4
