"""Gradients by finite differences: of the loss of a batch, with respect to chosen elements of a module's parameters."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, final

import torch
from torch import Tensor
from torch.func import functional_call, vmap

from trainables.losses import mean, weighed

if TYPE_CHECKING:
    from torch import nn

    from trainables.losses import Loss

BYTES = 2**25
"""What the copies of a parameter that are evaluated at once may hold: enough to fill a batched product, and near the caches."""


@final
class Objective:
    """The mean loss of one batch as a function of the parameters, in double precision, on a copy of the module.

    ``inputs`` are one tensor or several, each [B, ...]; ``passes`` counts forward passes. The module keeps its mode; in training
    mode every pass draws the same random numbers, from torch's global generators, which are left moved.
    """

    def __init__(self, module: nn.Module, inputs: Tensor | Sequence[Tensor], target: Tensor, loss: Loss) -> None:
        self.module = copy.deepcopy(module).double()
        self.inputs = tuple(_double(one) for one in ((inputs,) if isinstance(inputs, Tensor) else inputs))
        self.target = _double(target)
        self.loss = loss
        self.passes = 0
        self._here: float | None = None
        self.parameters = {
            name: one for name, one in self.module.named_parameters() if one.requires_grad and one.numel()
        }
        for parameter in self.parameters.values():
            parameter.data = parameter.data.contiguous()  # its elements are then those of a flat view

    def __call__(self) -> float:
        """The loss as the parameters are."""
        self.passes += 1
        with torch.no_grad():
            return float(self._loss(self._output()))

    def here(self) -> float:
        """The loss where the module was; one pass, the first time."""
        if self._here is None:
            self._here = self()
        return self._here

    def gradient(self) -> dict[str, Tensor]:
        """By autograd, of every parameter; zero for one that takes no part in the loss."""
        self.passes += 1
        wanted = list(self.parameters.values())
        found = torch.autograd.grad(self._loss(self._output()), wanted, allow_unused=True, materialize_grads=True)
        return dict(zip(self.parameters, found, strict=True))

    def at(self, changed: Mapping[str, Tensor]) -> Tensor:
        """The loss with some parameters replaced, without touching the module; can be mapped by ``vmap``."""
        return self._loss(functional_call(self.module, dict(changed), self.inputs))

    def _output(self) -> Tensor:
        if self.module.training:
            torch.manual_seed(0)
        output: Tensor = self.module(*self.inputs)
        return output

    def _loss(self, output: Tensor) -> Tensor:
        return mean(*weighed(self.loss, output, self.target))


Method = Callable[[Objective, str, Tensor, float], Tensor]
"""(objective, a parameter's name, indices into it as if it were flat [n], step) -> the derivatives by these elements, [n]."""


def central(objective: Objective, name: str, elements: Tensor, step: float) -> Tensor:
    """(L(w + step) - L(w - step)) / (2 step), an element at a time: 2 n passes, an error of the order of step²."""
    flat = objective.parameters[name].detach().view(-1)
    found = [_moved(objective, flat, at, step) - _moved(objective, flat, at, -step) for at in elements.tolist()]
    return torch.tensor(found, dtype=torch.float64) / (2 * step)


def one_sided(objective: Objective, name: str, elements: Tensor, step: float) -> Tensor:
    """(L(w + step) - L(w)) / step, an element at a time: n + 1 passes, an error of the order of step."""
    flat = objective.parameters[name].detach().view(-1)
    here = objective.here()
    found = [_moved(objective, flat, at, step) - here for at in elements.tolist()]
    return torch.tensor(found, dtype=torch.float64) / step


def central_at_once(objective: Objective, name: str, elements: Tensor, step: float) -> Tensor:
    """As ``central``, many elements in each call by ``vmap``: what comes before the parameter is computed once for all of them."""
    return (_mapped(objective, name, elements, step) - _mapped(objective, name, elements, -step)) / (2 * step)


def one_sided_at_once(objective: Objective, name: str, elements: Tensor, step: float) -> Tensor:
    """As ``one_sided``, many elements in each call by ``vmap``."""
    return (_mapped(objective, name, elements, step) - objective.here()) / step


def along(objective: Objective, name: str, direction: Tensor, step: float) -> float:
    """The central difference along a direction of a whole parameter's shape: 2 passes."""
    parameter = objective.parameters[name].detach()
    before = parameter.clone()
    values = []
    for moved in (step, -step):
        parameter.add_(direction, alpha=moved)
        values.append(objective())
        parameter.copy_(before)
    return (values[0] - values[1]) / (2 * step)


def _moved(objective: Objective, flat: Tensor, at: int, step: float) -> float:
    """The loss with one element moved; it is put back as it was, to the bit."""
    before = float(flat[at])
    flat[at] = before + step
    value = objective()
    flat[at] = before
    return value


@torch.no_grad()
def _mapped(objective: Objective, name: str, elements: Tensor, step: float) -> Tensor:
    """The losses with each of the elements moved by itself, [n]."""
    parameter = objective.parameters[name].detach()
    size = max(1, BYTES // (parameter.numel() * parameter.element_size()))
    call = vmap(lambda one: objective.at({name: one}))
    found = []
    for chosen in elements.split(size):  # type: ignore[no-untyped-call]
        copies = parameter.repeat(len(chosen), *[1] * parameter.ndim)
        copies.view(len(chosen), -1)[torch.arange(len(chosen)), chosen] += step
        found.append(call(copies))
        objective.passes += len(chosen)
    return torch.cat(found).cpu()


def _double(tensor: Tensor) -> Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor
