"""The loss and the gradient of all members for one batch each."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from trainables.describe import join
from trainables.fused.drops import vary
from trainables.fused.layers import base_of, dropping
from trainables.fused.marks import marks, marks_of
from trainables.fused.recorded import Recording
from trainables.fused.rows import Rows, shaped
from trainables.fused.steady import parts, steady
from trainables.fused.varied import with_own
from trainables.losses import summed
from trainables.losses.loss import wide
from trainables.modules import own, reads_only

if TYPE_CHECKING:
    from trainables.fused.rows import Slot
    from trainables.losses import Loss
    from trainables.precision import Precision
    from trainables.task import Tensors

WORTH = 10
"""Steps of one shape from which they are recorded: recording takes as long as playing saves in 10 to 20 of them, in 40 to 60 of a
recurrent network's."""

CAPTURED = 4
"""Times as many from which what is recorded is captured on a GPU, for each size of pack: that takes as long as some 20 of them."""

LOOKS = 5
"""The same for passes over validation and test sets."""

KEPT = 8
"""Recordings for packs of one size alone that are kept: a pack that shrinks does not come back to a size."""

Recordings = dict[tuple[Hashable, ...], "Recording | None"]
"""By what they are of; None where it cannot be recorded."""

Call = Callable[..., tuple[Tensor, Tensor]]

T = TypeVar("T")


class Program:
    """Computes what one step of all members needs, and their outputs.

    Modules and losses run under vmap, unchanged. Where all of their code is torch's or this package's, which does the same at every
    call, the operations of a step are recorded once, for smaller packs too where these do the same, and played back: without
    Python's and autograd's part a step of a small network takes about half of the time. A recording is kept for as long as the
    program is.
    """

    def __init__(
        self,
        module: nn.Module,
        loss: Loss,
        precision: Precision,
        device: torch.device,
        *,
        recorded_from: int = WORTH,
    ) -> None:
        self.steady, self._recorded_from = steady(module, loss), recorded_from
        self.reads_only = reads_only(module) and all(map(own, parts(loss)))
        self.base = base_of(module, linear=self.steady)
        self.dropping, self._places = dropping(self.base), places(self.base)
        self._marks = (marks(module), marks_of(loss))
        self._loss, self._precision, self._device = loss, precision, device
        self._still: tuple[str, ...] = ()
        self._idle: tuple[str, ...] = ()
        self._training: bool | None = None
        self._calls: dict[Any, Call] = {}
        self._recordings: Recordings = {}
        self._particular: Recordings = {}
        self._met: dict[Any, int] = {}

    def fits(self, module: nn.Module, loss: Loss) -> bool:
        """Whether a module and a loss compute what this was made for."""
        return self._marks == (marks(module), marks_of(loss))

    def follow(self, module: nn.Module, *, idle: Collection[str] = ()) -> None:
        """Keep those parts in evaluation mode in training that are in it in ``module``, such as frozen ones; of those that are
        ``dropping``, the ``idle`` ones drop nothing.
        """
        self._still = tuple(name for name, part in module.named_modules() if not part.training)
        self._idle = tuple(name for name in self.dropping if name in idle)
        self._training = None
        for name in self.dropping:
            vary(self.base.get_submodule(name), idle=name in idle)

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
        played = (
            self._recorded((names, self._still, self._idle), call, arguments, len(arguments)) if self.steady else None
        )
        with torch.no_grad() if played is not None else torch.enable_grad():
            return (played or call)(*arguments)

    def outputs(
        self,
        rows: Rows,
        inputs: Sequence[Tensor],
        *,
        held: Mapping[str, Tensor],
        own: Mapping[str, Tensor],
        shared: bool,
        then: Callable[[Loss, Tensor, Tensor], Tensor],
        kind: Hashable = None,
    ) -> Tensor:
        """``then(loss, output, target)`` of each member in evaluation, [K, ...].

        ``inputs`` are (input…, target), [K, B, ...] each, or [B, ...] where they are ``shared`` by all members. What ``then`` does
        is recorded too where ``kind`` names it: equal kinds do the same at every call.
        """

        def one(
            parameters: Mapping[str, Tensor], kept: Mapping[str, Tensor], settings: Mapping[str, Tensor], *batch: Tensor
        ) -> Tensor:
            *given, target = batch
            with self._precision.autocast(self._device):
                output = _judged(self._output({**parameters, **kept}, given))
                return then(with_own(self._loss, settings), output, target)

        self._mode(training=False)
        dims = (0, 0, 0, *[None if shared else 0 for _ in inputs])
        every, slots, names, settings_of = vmap(one, in_dims=dims), rows.slots, tuple(held), tuple(own)

        def call(flat: Tensor, *rest: Tensor) -> Tensor:
            kept, its = dict(zip(names, rest, strict=False)), dict(zip(settings_of, rest[len(names) :], strict=False))
            found: Tensor = every(shaped(flat, slots), kept, its, *rest[len(names) + len(settings_of) :])
            return found

        arguments = (rows.flat, *held.values(), *own.values(), *inputs)
        known, stacked = (kind, shared, names, settings_of), len(arguments) - (len(inputs) if shared else 0)
        recordable = self.steady and kind is not None
        played = self._recorded(known, call, arguments, stacked, LOOKS) if recordable else None
        with torch.no_grad():
            return (played or call)(*arguments)

    def _mode(self, *, training: bool) -> None:
        if self._training == training:
            return
        self.base.train(training)
        for name in self._still if training else ():
            self.base.get_submodule(name).training = False
        self._training = training

    def _output(self, tensors: Mapping[str, Tensor], inputs: Sequence[Tensor]) -> Any:
        """What the module gives with these tensors in place of its own."""
        # Place by place: torch's own way of tying loses weights that are tied where a part has two names.
        placed = {place: tensors[name] for place, name in self._places.items()}
        output = functional_call(self.base, placed, tuple(inputs), tie_weights=False)
        for place, name in self._places.items():
            if placed[place] is not tensors[name]:
                # A buffer that was not written in place but exchanged for another tensor.
                tensors[name].copy_(placed[place].detach())
        return output

    def _one(self) -> Callable[..., Tensor]:
        """The summed loss of one member."""

        def one(
            parameters: Mapping[str, Tensor], kept: Mapping[str, Tensor], settings: Mapping[str, Tensor], *batch: Tensor
        ) -> Tensor:
            *inputs, target = batch
            with self._precision.autocast(self._device):
                output = _judged(self._output({**parameters, **kept}, inputs))
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

    def _recorded(
        self, kind: Hashable, call: Callable[..., T], arguments: Sequence[Tensor], stacked: int, least: int = WORTH
    ) -> Callable[..., T] | None:
        """A step of this kind and these shapes as it was recorded; None where there were fewer than ``least`` of them yet.

        The first ``stacked`` arguments are [K, ...], for any number of members K.
        """
        # Views that are recorded hold for tensors that lie as those did, and those of a pack of one for such packs.
        members = len(arguments[0])
        lines = [(tensor.shape[1:], tensor.stride(), tensor.dtype) for tensor in arguments[:stacked]]
        shared = [(tensor.shape, tensor.stride(), tensor.dtype) for tensor in arguments[stacked:]]
        key = (kind, members > 1, tuple(lines), tuple(shared))
        player = self._player(self._recordings, key, call, arguments, stacked, least)
        first = self._recordings.get(key)
        if player is not None or first is None:
            return player
        own = (*key, members)
        player = self._player(self._particular, own, call, arguments, stacked, least)
        if player is not None and members > first.size:
            self._recordings[key] = self._particular.pop(own)  # it serves more sizes
        if len(self._particular) > KEPT:
            del self._particular[next(iter(self._particular))]
        return player

    def _player(
        self,
        held: Recordings,
        key: tuple[Hashable, ...],
        call: Callable[..., T],
        arguments: Sequence[Tensor],
        stacked: int,
        least: int,
    ) -> Callable[..., T] | None:
        """What plays the recording under this key, which is made when it has been asked for often enough; None where none does."""
        try:
            if key not in held:
                self._met[key] = self._met.get(key, 0) + 1
                if self._met[key] < min(least, self._recorded_from):
                    return None
                captured_from = CAPTURED * self._recorded_from
                held[key] = Recording(call, arguments, stacked, captured_from=captured_from)
            recording = held[key]
            return recording.player(arguments) if recording is not None else None
        except Exception:
            # What cannot be recorded is computed; if anything is wrong with it, it will say so there.
            logging.getLogger(__name__).debug("a step is not recorded", exc_info=True)
            held[key] = None
            return None


def _judged(output: Any) -> Any:
    """A module's output for losses and metrics: what they are made of, autocast takes in single precision, but not under vmap."""
    autocast = isinstance(output, Tensor) and torch.is_autocast_enabled(output.device.type)
    return wide(output) if autocast else output


def places(module: nn.Module) -> dict[str, str]:
    """Every place where a module has a tensor, each part under one of its names, and the name of the tensor there."""
    names: dict[int, str] = {}
    for tensors in (module.named_parameters(), module.named_buffers()):
        for name, tensor in tensors:
            names.setdefault(id(tensor), name)
    found: dict[str, str] = {}
    for path, part in module.named_modules():
        for group in (part._parameters, part._buffers):
            found |= {join(path, leaf): names[id(tensor)] for leaf, tensor in group.items() if tensor is not None}
    return found
