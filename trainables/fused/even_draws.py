"""Draws that are the same numbers for one and for several."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

U = 0.618034
"""What is drawn between 0 and 1; a chance comes about where it is above 1 - U, so that a layer drops out at a rate above U."""


MOST = 20_000
"""Draws of a few short runs: those of a hundred layers are some two thousand."""


class EvenDraws(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Within, torch's global generators give the same number at each call, however many members ask for it at once.

    All values of a draw are that number. What is drawn by a generator of one's own stays what it is. ``met`` says whether anything
    was drawn, ``missed`` names operations that draw and cannot be held so, ``manual_seed`` among them. Raises RuntimeError after
    ``MOST`` draws: to draw until it is another number would take for ever.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.missed: set[str] = set()
        self._draws = 0

    @property
    def met(self) -> bool:
        return self._draws > 0

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within, ``torch.manual_seed`` is missed too: what is drawn after it is the same for all, which held draws do not tell."""
        before = torch.manual_seed

        def seeded(seed: Any) -> torch.Generator:
            self.missed.add("manual_seed")
            return before(seed)

        torch.manual_seed = seeded
        try:
            with self:
                yield
        finally:
            torch.manual_seed = before

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """The operation, or what is put in the place of what it draws."""
        kwargs = dict(kwargs or {})
        held = DRAWS.get(func.overloadpacket.__name__)
        draws = held is not None or torch.Tag.nondeterministic_seeded in func.tags
        if not draws or kwargs.get("generator") is not None:
            return func(*args, **kwargs)
        with self:  # one that consists of others is taken apart: in inference they come as one
            parts = func.decompose(*args, **kwargs)
        if parts is not NotImplemented:
            return parts
        given = {argument.name: argument.default_value for argument in func._schema.arguments}
        given |= dict(zip(given, args, strict=False)) | kwargs
        drawn = func(*args, **kwargs)
        if held is not None:
            self._draws += 1
            if self._draws > MOST:
                raise RuntimeError(f"more than {MOST:,} draws in a few steps")
            held(drawn, given)
        elif given.get(
            "dropout_p", given.get("dropout", 1.0)
        ):  # kernels of attention and recurrent layers may draw nothing
            self.missed.add(func.overloadpacket.__name__)
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


def _heavy(drawn: Tensor, given: Mapping[str, Any]) -> None:
    drawn.fill_(given.get("median", 0.0) + U * given.get("sigma", 1.0))


def _log_normal(drawn: Tensor, given: Mapping[str, Any]) -> None:
    drawn.fill_(math.exp(given.get("mean", 1.0) + U * given.get("std", 2.0)))


def _geometric(drawn: Tensor, given: Mapping[str, Any]) -> None:
    drawn.fill_(math.ceil(U / given["p"]))


def _poisson(drawn: Tensor, given: Mapping[str, Any]) -> None:
    drawn.copy_((given["self"] + U).floor())


def _choices(drawn: Tensor, given: Mapping[str, Any]) -> None:
    """The likeliest, as many as are asked for; each time the same where it is put back."""
    chances, count = given["self"], given["num_samples"]
    best = chances.argmax(-1, keepdim=True) if given["replacement"] else chances.topk(count).indices
    drawn.copy_(best.expand(drawn.shape))


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
    "cauchy_": _heavy,
    "log_normal_": _log_normal,
    "geometric_": _geometric,
    "poisson": _poisson,
    "multinomial": _choices,
    "randperm": _order,
    "native_dropout": _dropout,
}
"""What is put in the place of what an operation has drawn, by its name."""
