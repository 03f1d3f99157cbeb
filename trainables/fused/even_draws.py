"""Draws that are the same numbers for one and for several."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

U = 0.618034
"""What is drawn between 0 and 1; a chance comes about where it is above 1 - U, so that a layer drops out at a rate above U."""


class EvenDraws(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Within, torch's global generators give the same number at each call, however many members ask for it at once.

    What is drawn by a generator of one's own stays what it is. ``met`` says whether anything was drawn, ``missed`` names operations
    that draw and cannot be held so.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.met, self.missed = False, set[str]()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """The operation, or what is put in the place of what it draws."""
        kwargs = dict(kwargs or {})
        if torch.Tag.nondeterministic_seeded not in func.tags or kwargs.get("generator") is not None:
            return func(*args, **kwargs)
        with self:  # one that consists of others is taken apart: in inference they come as one
            parts = func.decompose(*args, **kwargs)
        if parts is not NotImplemented:
            return parts
        given = {argument.name: argument.default_value for argument in func._schema.arguments}
        given |= dict(zip(given, args, strict=False)) | kwargs
        drawn = func(*args, **kwargs)
        held = DRAWS.get(func.overloadpacket.__name__)
        if held is not None:
            self.met = True
            held(drawn, given)
        elif given.get(
            "dropout_p", given.get("dropout", 1.0)
        ):  # the kernels of attention and recurrent layers draw nothing at 0
            self.missed.add(str(func))
        return drawn


def _uniform(drawn: Tensor, given: Mapping[str, Any]) -> None:
    begin, end = given.get("from", 0.0), given.get("to", 1.0)
    drawn.fill_(begin + U * (end - begin))


def _normal(drawn: Tensor, given: Mapping[str, Any]) -> None:
    mean, deviation = given.get("mean", 0.0), given.get("std", 1.0)
    drawn.copy_(torch.as_tensor(mean + U * deviation))


def _exponential(drawn: Tensor, given: Mapping[str, Any]) -> None:
    drawn.fill_(U / given.get("lambd", 1.0))


def _integers(drawn: Tensor, given: Mapping[str, Any]) -> None:
    low, high = given.get("low", 0), given["high"]
    drawn.copy_(torch.as_tensor(low + U * (high - low)).floor())


def _order(drawn: Tensor, given: Mapping[str, Any]) -> None:  # noqa: ARG001
    drawn.copy_(torch.arange(len(drawn)))


def _chance(drawn: Tensor, given: Mapping[str, Any]) -> None:
    """``p`` is what ``bernoulli`` is asked for; where it has none, its tensor is the chances."""
    chances = given.get("p", given["self"])
    drawn.copy_(torch.as_tensor(chances, dtype=torch.float64) > 1 - U)


def _dropout(drawn: tuple[Tensor, Tensor], given: Mapping[str, Any]) -> None:
    """(output, mask)"""
    rate, (output, mask) = given["p"], drawn
    if given["train"] is not False:
        output.copy_(given["input"] / (1 - rate) if rate < U else torch.zeros(()))
        mask.fill_(rate < U)


DRAWS: Mapping[str, Callable[[Any, Mapping[str, Any]], None]] = {
    **dict.fromkeys(("rand", "rand_like", "uniform", "uniform_"), _uniform),
    **dict.fromkeys(("randn", "randn_like", "normal", "normal_"), _normal),
    **dict.fromkeys(("exponential", "exponential_"), _exponential),
    **dict.fromkeys(("randint", "randint_like"), _integers),
    **dict.fromkeys(("bernoulli", "bernoulli_"), _chance),
    "randperm": _order,
    "native_dropout": _dropout,
}
"""What is put in the place of what an operation has drawn, by its name."""
