"""The workers that train one model together, as one of them sees them."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from trainables.modules import harmless

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.distributed import ProcessGroup

    from trainables.losses import Loss
    from trainables.task import Tensors

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """Worker ``rank`` of ``size``, joined by a process group of torch; one alone needs none.

    Every worker draws the same order of the data and takes its own part of each batch, so what a step learns from does not depend
    on how many there are. What is summed or told here comes out the same for all of them.
    """

    rank: int = 0
    size: int = 1
    group: ProcessGroup | None = None

    @property
    def first(self) -> bool:
        """True for the worker that writes and reports."""
        return self.rank == 0

    @property
    def stream(self) -> tuple[int, ...]:
        """What sets this worker's dropout apart from the others'; nothing for the first, which draws what one alone would."""
        return (self.rank,) if self.rank else ()

    def part(self, batch: Tensors) -> Tensors:
        """This worker's share of a batch, [B, ...] -> [b, ...]: sizes differ by one at most, some are 0 where B is too small."""
        if self.size == 1:
            return batch
        return tuple(tensor.tensor_split(self.size)[self.rank] for tensor in batch)

    def span(self, samples: int) -> tuple[int, int]:
        """Where this worker's share of so many samples begins and ends; the same samples as those of ``part``."""
        each, more = divmod(samples, self.size)
        begin = self.rank * each + min(self.rank, more)
        return begin, begin + each + (self.rank < more)

    def total(self, tensor: Tensor) -> Tensor:
        """The sum over workers, in place."""
        if self.size > 1:
            dist.all_reduce(tensor, group=self.group)
        return tensor

    def most(self, tensor: Tensor) -> Tensor:
        """The greatest over workers, element by element, in place."""
        if self.size > 1:
            dist.all_reduce(tensor, op=dist.ReduceOp.MAX, group=self.group)
        return tensor

    def told(self, value: T) -> T:
        """What the first worker has; the others' own ``value`` is not looked at. It travels as a pickle."""
        if self.size == 1:
            return value
        box = [value if self.first else None]
        dist.broadcast_object_list(box, group=self.group, group_src=0)
        return box[0]  # type: ignore[return-value]

    def gathered(self, value: T) -> list[T]:
        """What each worker has, in the order of their ranks, for the first; nothing for the others. It travels as a pickle."""
        if self.size == 1:
            return [value]
        box: list[T | None] | None = [None] * self.size if self.first else None
        dist.gather_object(value, box, group=self.group, group_dst=0)
        return box or []  # type: ignore[return-value]

    def joined(self, module: nn.Module, *, unused: bool) -> nn.Module:
        """The module to call in training: its gradients are averaged over workers as they are made.

        Its parameters become the first worker's. ``unused`` says that some of them take no part in the loss.
        """
        if self.size == 1:
            return module
        # Buffers are settled once an epoch instead of being sent ahead of every step.
        return DistributedDataParallel(
            module, process_group=self.group, forward_sync_buffers=False, find_unused_parameters=unused
        )

    def meet(self, parameters: Sequence[nn.Parameter], *, failed: bool = False) -> bool:
        """Average the gradients over the workers, in place; False, with nothing changed, when a worker says that it ``failed``.

        A parameter that has a gradient in one worker alone counts as zero in the others.
        """
        if self.size == 1:
            return not failed
        device = parameters[0].device
        there = torch.tensor([failed, *(parameter.grad is not None for parameter in parameters)], dtype=torch.uint8)
        flags = self.most(there.to(device)).tolist()
        if flags[0]:
            return False
        touched = [parameter for parameter, flag in zip(parameters, flags[1:], strict=True) if flag]
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in touched]
        summed = self.total(torch.cat([grad.flatten() for grad in grads])) / self.size
        for parameter, part in zip(touched, _pieces(summed, grads), strict=True):
            parameter.grad = part.view_as(parameter).clone()
        return True

    def apart(self, module: nn.Module) -> AbstractContextManager[object]:
        """A micro-batch in it adds to the gradients without a word to the other workers."""
        return module.no_sync() if isinstance(module, DistributedDataParallel) else nullcontext()

    def settle(self, buffers: Iterable[Tensor]) -> None:
        """Make buffers the same for all, in place: floating ones (BatchNorm's statistics) their mean, others the first's."""
        if self.size == 1:
            return
        for buffer in buffers:
            if buffer.is_floating_point():
                dist.all_reduce(buffer, group=self.group)
                buffer /= self.size
            else:
                dist.broadcast(buffer, group=self.group, group_src=0)


def _pieces(flat: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """Consecutive parts of a flat tensor, as many values each as the tensors they are for."""
    return list(flat.split([tensor.numel() for tensor in like]))  # type: ignore[no-untyped-call]


def idle_parameters(module: nn.Module, batch: Tensors, loss: Loss) -> bool:
    """True when some trainable parameter gets no gradient from this batch; the module is left as it was."""
    probe = copy.deepcopy(module).eval()
    loss(harmless(probe)(*batch[:-1]), batch[-1]).sum().backward()  # type: ignore[no-untyped-call]
    return any(parameter.grad is None for parameter in probe.parameters() if parameter.requires_grad)
