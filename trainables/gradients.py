"""The gradient of one step: the exact mean over the effective batch, in micro-batches, over all workers."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from trainables.batches import parts
from trainables.data.source import head, moved
from trainables.losses import summed, weight
from trainables.losses.loss import each
from trainables.micro_batch import Auto, out_of_memory, release

if TYPE_CHECKING:
    from trainables.run import Run
    from trainables.task import Tensors


def accumulate(run: Run, batch: Tensors) -> tuple[list[Tensor], Tensor | float]:
    """Add the gradient of the batch's mean loss to the parameters.

    The sum of each of this worker's micro-batches' losses comes back, and the weight of the whole batch.

    The mean is over the weights of the whole effective batch: over its samples, or what a ``Weighing`` loss counts instead.
    """
    if isinstance(run.recipe.micro_batch, Auto):
        return _fitted(run, batch)
    return _accumulated(run, batch)


def _accumulated(run: Run, batch: Tensors) -> tuple[list[Tensor], Tensor | float]:
    """Micro-batch by micro-batch; the workers meet in the last one's backward pass."""
    share, whole = _share(run, batch)
    if len(share[-1]) == 0:
        _attend(run, batch)
        return [], whole
    # The workers' gradients are averaged, which takes out their number again.
    scale = _scale(run.world.size, whole, run.parameters[0].dtype)
    micro_batches = list(parts(share, run.micro_batch))
    losses = []
    for number, (*inputs, target) in enumerate(micro_batches, start=1):
        with nullcontext() if number == len(micro_batches) else run.world.apart(run.replica):
            with run.recipe.precision.autocast(run.device):
                loss = summed(run.loss, run.replica(*inputs), target)
            run.scaler.scale(loss * scale).backward()  # type: ignore[no-untyped-call]
        losses.append(loss.detach())
    return losses, whole


def _share(run: Run, batch: Tensors) -> tuple[Tensors, Tensor | float]:
    """This worker's samples, and what the mean over all workers' is divided by: a number where the device need not be asked."""
    share = batch if run.streamed else run.world.part(batch)
    alike = each(run.loss, batch[-1])
    if alike is not None:
        return share, alike * run.whole(batch)
    whole = weight(run.loss, batch[-1])
    return share, run.world.total(whole) if run.streamed else whole


def _scale(workers: int, whole: Tensor | float, dtype: torch.dtype) -> Tensor | float:
    """What a sum of losses is multiplied by; a batch of which nothing counts has no gradient anyhow."""
    return workers / whole if isinstance(whole, float) else (workers / whole.where(whole > 0, 1.0)).to(dtype)


def _attend(run: Run, batch: Tensors) -> None:
    """Take part in a step without a sample of one's own: one of the others', with weight zero."""
    run.replica.eval()  # one sample is too few for BatchNorm in training, and must not enter its statistics
    if len(batch[-1]) == 0:
        batch = moved(head(run.splits.train, 1), run.device, run.recipe.precision.dtype())
    *inputs, target = (tensor[:1] for tensor in batch)
    with run.recipe.precision.autocast(run.device):
        loss = summed(run.loss, run.replica(*inputs), target)
    run.scaler.scale(loss * 0.0).backward()  # type: ignore[no-untyped-call]
    run.training()


def _fitted(run: Run, batch: Tensors) -> tuple[list[Tensor], Tensor | float]:
    """The same with the micro-batch halved, in all workers, until the step fits into memory everywhere.

    No worker waits for another inside a micro-batch: they meet once at the end, to tell whether all got through and to average.
    Raises MemoryError when a single sample does not fit.
    """
    again = _rewind(run)
    while True:
        taken = None
        try:
            taken = _accumulated(run, batch)
        except Exception as error:
            if not out_of_memory(error):
                raise
            said = str(error)
        # Outside the handler: its traceback would keep the failed step's activations alive.
        if run.world.meet(run.parameters, failed=taken is None) and taken is not None:
            return taken
        if run.micro_batch == 1:
            raise MemoryError(
                f"a micro-batch of one sample does not fit: {said if taken is None else 'in another worker'}"
            )
        run.micro_batch = math.ceil(run.micro_batch / 2)
        run.optimizer.zero_grad()
        release()
        again()


def _rewind(run: Run) -> Callable[[], None]:
    """Remember what a step changes beside gradients, generators and buffers; calling the result puts it back."""
    device = run.device
    cpu = torch.get_rng_state()
    gpu = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    buffers = [(buffer, buffer.clone()) for buffer in run.module.buffers()]

    def again() -> None:
        torch.set_rng_state(cpu)
        if gpu is not None:
            torch.cuda.set_rng_state(gpu, device)
        run.training()
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)

    return again
