"""The loss and the gradient of all members for one batch each."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx, nn
from torch.func import functional_call, vmap
from torch.fx.experimental.proxy_tensor import make_fx

from trainables.data.source import head
from trainables.fused.layers import base_of, dropping
from trainables.fused.rows import Rows, shaped
from trainables.fused.varied import parts, with_own
from trainables.losses import summed

if TYPE_CHECKING:
    from trainables.fused.rows import Slot
    from trainables.losses import Loss
    from trainables.precision import Precision
    from trainables.run import Run
    from trainables.task import Tensors

OWN = ("torch.nn.", "trainables.models.", "trainables.losses.", "trainables.fused.", "torch.ao.")
"""Where code comes from that does the same at every call."""

WORTH = 50
"""Steps of one shape from which recording them pays: it takes about as long as thirty."""

Call = Callable[..., tuple[Tensor, Tensor]]


class Program:
    """Computes what one step of all members needs, and their outputs.

    Modules and losses run under vmap, unchanged. Where all of their code is torch's or this package's, which does the same at every
    call, the operations of a step are recorded once for each shape and played back: without Python's and autograd's part a step of
    a small network takes two thirds of the time. A recording is kept for as long as the program is.
    """

    def __init__(self, module: nn.Module, loss: Loss, precision: Precision, device: torch.device) -> None:
        normal = any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in module.modules())
        self.steady = not normal and all(_own(part) for part in [*module.modules(), *parts(loss)])
        self._base = base_of(module, linear=self.steady)
        self._loss, self._precision, self._device = loss, precision, device
        self.dropping = dropping(self._base)
        self._calls: dict[Any, Call] = {}
        self._played: dict[Any, Call] = {}
        self._met: dict[Any, int] = {}

    def gradient(
        self,
        rows: Rows,
        batch: Tensors,
        *,
        scale: Tensor,
        held: Mapping[str, Tensor],
        own: Mapping[str, Tensor],
    ) -> tuple[Tensor, Tensor]:
        """The summed loss of each member's batch, [K], and the gradient of ``scale`` times it, [K, P].

        ``batch`` is (input…, target), [K, B, ...] each; ``scale`` is [K]; ``held`` what modules have beside their parameters, and
        ``own`` the losses' settings, [K, ...] each. Buffers are written in place.
        """
        arguments = (rows.flat, scale, *held.values(), *own.values(), *batch)
        self._mode(training=True)
        names = (tuple(held), tuple(own), len(batch))
        call = self._calls.get(names)
        if call is None:
            call = self._calls[names] = self._call(rows.slots, *names)
        played = self._recorded(call, arguments) if self.steady else None
        with torch.no_grad() if played is not None else torch.enable_grad():
            return (played or call)(*arguments)

    def unused(self, rows: Rows, batch: Tensors, *, held: Mapping[str, Tensor]) -> list[str]:
        """The parameters that have no gradient."""
        self._mode(training=True)
        one = self._one()
        with torch.enable_grad():
            parts = {name: part.detach().requires_grad_() for name, part in rows.shaped().items()}
            losses = vmap(one, randomness="different")(parts, dict(held), {}, *batch)
            gradients = torch.autograd.grad(losses.sum(), list(parts.values()), allow_unused=True)
        return [name for name, gradient in zip(parts, gradients, strict=True) if gradient is None]

    def outputs(
        self,
        rows: Rows,
        inputs: Sequence[Tensor],
        *,
        held: Mapping[str, Tensor],
        own: Mapping[str, Tensor],
        shared: bool,
        then: Callable[[Loss, Tensor, Tensor], Tensor],
    ) -> Tensor:
        """``then(loss, output, target)`` of each member in evaluation, [K, ...].

        ``inputs`` are (input…, target), [K, B, ...] each, or [B, ...] where they are ``shared`` by all members.
        """

        def one(
            parameters: Mapping[str, Tensor], kept: Mapping[str, Tensor], settings: Mapping[str, Tensor], *batch: Tensor
        ) -> Tensor:
            *given, target = batch
            with self._precision.autocast(self._device):
                output = functional_call(self._base, {**parameters, **kept}, tuple(given))
                return then(with_own(self._loss, settings), output, target)

        self._mode(training=False)
        dims = (0, 0, 0, *[None if shared else 0 for _ in inputs])
        with torch.no_grad():
            found: Tensor = vmap(one, in_dims=dims)(rows.shaped(), dict(held), dict(own), *inputs)
        return found

    def _mode(self, *, training: bool) -> None:
        if self._base.training != training:
            self._base.train(training)

    def _one(self) -> Callable[..., Tensor]:
        """The summed loss of one member."""

        def one(
            parameters: Mapping[str, Tensor], kept: Mapping[str, Tensor], settings: Mapping[str, Tensor], *batch: Tensor
        ) -> Tensor:
            *inputs, target = batch
            with self._precision.autocast(self._device):
                output = functional_call(self._base, {**parameters, **kept}, tuple(inputs))
                return summed(with_own(self._loss, settings), output, target)

        return one

    def _call(self, slots: Sequence[Slot], held: tuple[str, ...], own: tuple[str, ...], sets: int) -> Call:
        """Loss and gradient as a function of tensors alone."""
        every = vmap(self._one(), randomness="different")

        def call(flat: Tensor, scale: Tensor, *rest: Tensor) -> tuple[Tensor, Tensor]:
            kept, settings, batch = rest[: len(held)], rest[len(held) : len(rest) - sets], rest[len(rest) - sets :]
            leaf = flat.detach().requires_grad_()
            losses = every(
                shaped(leaf, slots),
                dict(zip(held, kept, strict=True)),
                dict(zip(own, settings, strict=True)),
                *batch,
            )
            (gradient,) = torch.autograd.grad((losses * scale).sum(), leaf)
            return losses.detach(), gradient

        return call

    def _recorded(self, call: Call, arguments: Sequence[Tensor]) -> Call | None:
        """A step of these shapes as it was recorded; None where there were too few of them yet."""
        key = tuple((tensor.shape, tensor.dtype) for tensor in arguments)
        if key in self._played:
            return self._played[key]
        self._met[key] = self._met.get(key, 0) + 1
        if self._met[key] < WORTH:
            return None
        with torch.enable_grad():
            self._played[key] = simplified(make_fx(call)(*arguments))
        return self._played[key]


def simplified(recorded: fx.GraphModule) -> fx.GraphModule:
    """Without what only autograd needed, and views that change nothing."""
    graph = recorded.graph
    for node in list(graph.nodes):
        if node.op != "call_function" or node.target not in _VIEWS:
            continue
        source = node.args[0]
        before, after = source.meta.get("val"), node.meta.get("val")
        if (
            before is not None
            and after is not None
            and before.shape == after.shape
            and before.stride() == after.stride()
        ):
            node.replace_all_uses_with(source)
    graph.eliminate_dead_code()
    recorded.recompile()
    return recorded


_VIEWS = (
    torch.ops.aten.detach.default,
    torch.ops.aten.view.default,
    torch.ops.aten._unsafe_view.default,
    torch.ops.aten.expand.default,
    torch.ops.aten.permute.default,
    torch.ops.aten.alias.default,
)


def _own(part: object) -> bool:
    """Whether an object's code is torch's or this package's."""
    kind = part if callable(part) and hasattr(part, "__code__") else type(part)
    return getattr(kind, "__module__", "").startswith(OWN) or f"{getattr(kind, '__module__', '')}." in OWN


def refused(run: Run) -> str | None:
    """Why a run's module or loss cannot be computed for several members at once, by a step of two copies; None where it can."""
    names = [name for name, parameter in run.module.named_parameters() if parameter.requires_grad]
    rows = Rows([copy.deepcopy(run.module) for _ in range(2)], names)
    program = Program(run.module, run.loss, run.recipe.precision, run.device)
    few = head(run.splits.train, min(4, run.plan.batch_size))
    batch = tuple(torch.stack([tensor, tensor]) for tensor in few)
    held = {**rows.held, **{f"{name}.rate": torch.zeros(2, device=run.device) for name in program.dropping}}
    try:
        unused = program.unused(rows, batch, held=held)
    except Exception as error:
        said = str(error).strip().splitlines() or [""]
        return f"{type(run.recipe.model).__name__}: vmap cannot take it ({type(error).__name__}: {said[0][:160]})"
    if unused:
        return f"{type(run.recipe.model).__name__}: {', '.join(unused)} take no part in the loss, which an optimizer leaves alone"
    return None
