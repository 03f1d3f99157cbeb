"""One pass over a set without learning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from trainables.data.feed import looked_at
from trainables.data.source import count
from trainables.modules import harmless

if TYPE_CHECKING:
    from torch import Tensor, nn

    from trainables.data.source import Set
    from trainables.losses import Loss
    from trainables.precision import Precision
    from trainables.task import Metric
    from trainables.world import World


def evaluate(
    module: nn.Module,
    samples: Set,
    *,
    loss: Loss,
    metrics: Mapping[str, Metric],
    precision: Precision,
    size: int,
    world: World | None = None,
) -> dict[str, float]:
    """The loss, divided by what it counts, and each metric averaged over all samples, or of all at once (``WholeSet``).

    Sums run on the device in double precision and come over in one copy; each of several workers takes its part of the set. The
    module's training mode is put back. Batches of tensors on the device are slices of them (see ``data.Held`` for sources), copied
    for those that may write into them. They follow one another: on a CPU each takes all threads; to a GPU they are handed
    without waiting for a result, so that the next is queued while one is computed.
    """
    import torch

    from trainables.losses import weighed
    from trainables.metrics import WholeSet, kept, whole
    from trainables.world import World

    world = world or World()
    parameter = next(module.parameters(), None)
    device = parameter.device if parameter is not None else torch.device("cpu")  # a session of another runtime has none
    averaged = {name: metric for name, metric in metrics.items() if not isinstance(metric, WholeSet)}
    sums, parts = torch.zeros(2 + len(averaged), dtype=torch.float64, device=device), []
    training = module.training
    module.eval()
    outputs = harmless(module)
    with torch.inference_mode():
        for *inputs, target in looked_at(samples, size, world, device, precision.dtype()):
            if not len(target):
                continue  # a set smaller than the number of workers: the mean over nothing is not a number
            target = target.clone()  # losses and metrics may write into it, and the next pass is over the same set
            with precision.autocast(device):
                output = outputs(*inputs)
                values = [total(metric(output, target), len(target)) for metric in averaged.values()]
                values += weighed(loss, output, target)
            if len(averaged) < len(metrics):
                parts.append(kept(output, target))
            # A metric of another library comes from the CPU.
            sums += torch.stack([value.to(sums) for value in values])
    module.train(training)
    *totals, lost, weight = world.total(sums).tolist()
    found = {name: value / count(samples) for name, value in zip(averaged, totals, strict=True)}
    if len(averaged) < len(metrics):
        # The first worker has them all.
        every = [part for its in world.gathered(parts) for part in its]
        given = whole(every) if every else ()
        wholes = {name: float(metrics[name](*given)) for name in metrics if given and name not in averaged}
        found |= world.told(wholes)
    return {"loss": lost / weight if weight else 0.0, **{name: found[name] for name in metrics}}


def total(value: Tensor, samples: int) -> Tensor:
    """The sum over samples of what a loss or metric gave: one value a sample [B, ...], or their mean (a scalar).

    Raises ValueError for another number of values, such as flattened tokens.
    """
    if value.is_floating_point() and value.element_size() < 4:
        value = value.float()  # a sum in float16 ends at 65504
    if value.ndim == 0:
        return value * samples
    if len(value) != samples:
        raise ValueError(
            f"a loss or metric gave {tuple(value.shape)} for {samples} samples; give one value a sample, or their mean"
        )
    return value.reshape(len(value), -1).mean(dim=1).sum()
