"""Draws that are the same for one and for several."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.func import vmap
from torch.nn import functional

from trainables.fused.drops import vary
from trainables.fused.even_draws import EvenDraws

DRAWS: dict[str, Callable[[Tensor], Tensor]] = {
    "rand": lambda x: x + torch.rand(3),
    "rand_like": lambda x: x + torch.rand_like(x),
    "uniform_": lambda x: x + torch.empty_like(x).uniform_(-2, 1),
    "randn": lambda x: x + torch.randn(2, 3),
    "randn_like": lambda x: x * torch.randn_like(x),
    "normal_": lambda x: x + torch.empty_like(x).normal_(1, 0.5),
    "normal": lambda x: x + torch.normal(torch.zeros(3), torch.ones(3)),
    "exponential_": lambda x: x + torch.empty_like(x).exponential_(2.0),
    "randint": lambda x: x + torch.randint(2, 9, (3,)),
    "randperm": lambda x: x[torch.randperm(2)],
    "bernoulli": lambda x: x * torch.bernoulli(torch.tensor([0.1, 0.5, 0.9])),
    "bernoulli_": lambda x: x * torch.empty_like(x).bernoulli_(0.7),
    "cauchy_": lambda x: x + torch.empty_like(x).cauchy_(1, 2),
    "log_normal_": lambda x: x + torch.empty_like(x).log_normal_(0, 1),
    "geometric_": lambda x: x + torch.empty_like(x).geometric_(0.3),
    "poisson": lambda x: x + torch.poisson(x),
    "multinomial": lambda x: x + torch.multinomial(x.softmax(-1), 2).sum(-1, keepdim=True),
    "multinomial, put back": lambda x: x + torch.multinomial(x.softmax(-1), 5, replacement=True).sum(-1, keepdim=True),
    "dropout": lambda x: functional.dropout(x, 0.3),
    "feature dropout": lambda x: functional.dropout1d(x.unsqueeze(0), 0.3)[0],
    "gumbel": lambda x: functional.gumbel_softmax(x),
}


@pytest.mark.parametrize("name", DRAWS)
def test_several_have_what_each_has_alone(name: str) -> None:
    draw = DRAWS[name]
    given = torch.arange(12.0).view(2, 2, 3)
    with EvenDraws() as even:
        alone = torch.stack([draw(own) for own in given])
        again = torch.stack([draw(own) for own in given])
        together = vmap(draw, randomness="different")(given)
    torch.testing.assert_close(alone, again, rtol=0, atol=0)
    torch.testing.assert_close(together, alone, rtol=0, atol=0)
    assert even.met
    assert not even.missed


@pytest.mark.parametrize("rate", [0.0, 0.3, 0.61, 0.62, 0.9])
def test_a_layer_of_dropout_is_in_a_pack_what_it_is_alone(rate: float) -> None:
    plain, packed = nn.Dropout(rate), nn.Dropout(rate)
    vary(packed)
    x = torch.ones(4, dtype=torch.float64)
    with EvenDraws():
        torch.testing.assert_close(packed(x), plain(x))


def test_in_inference_what_comes_as_one_operation_is_held_too() -> None:
    with torch.inference_mode(), EvenDraws() as even:
        found = [functional.dropout(torch.ones(50), 0.4) for _ in range(2)]
    torch.testing.assert_close(found[0], torch.full((50,), 1 / 0.6))
    torch.testing.assert_close(found[1], found[0])
    assert not even.missed


def test_a_generator_of_one_s_own_draws_what_it_draws() -> None:
    def drawn() -> Tensor:
        return torch.randn(5, generator=torch.Generator().manual_seed(7))

    wanted = drawn()
    with EvenDraws() as even:
        found = drawn()
    assert torch.equal(found, wanted)
    assert not even.met


def test_what_cannot_be_held_is_named() -> None:
    before, even = torch.manual_seed, EvenDraws()
    with even.held():
        torch.binomial(torch.ones(3), torch.ones(3))
        functional.scaled_dot_product_attention(*torch.ones(3, 1, 1, 2, 2))
        functional.rrelu(torch.ones(3), training=True)
        torch.manual_seed(1)
    assert even.missed >= {"rrelu_with_noise", "manual_seed"}
    assert not any("attention" in name for name in even.missed)
    assert torch.manual_seed is before


def test_who_draws_until_it_is_something_else_is_stopped() -> None:
    def drawn() -> None:
        while float(torch.rand(())) < 0.7:
            pass

    with pytest.raises(RuntimeError, match="more than 20,000 draws"), EvenDraws():
        drawn()
