"""Test-time augmentation: a prediction averaged over several views of the same sample."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import torch
from torch import nn

from trainables.batches import split
from trainables.metrics import WholeSet, kept, whole
from trainables.modules import harmless
from trainables.spread import Spread, spread

if TYPE_CHECKING:
    from torch import Tensor

    from trainables.losses import Loss
    from trainables.precision import Precision
    from trainables.task import Metric, Tensors
    from trainables.views import View

ROUNDS, SECONDS = 7, 0.01
"""Rounds by which the cost is told, and how long the cheaper of the two is run in each."""


@final
class OverViews(nn.Module):
    """A module whose output [B, ...] is the mean over the samples as they are and every view of them.

    With ``probabilities`` outputs are logits [B, C], whose softmax is averaged (Lakshminarayanan et al., 2017, for ensembles);
    what comes out is its logarithm, so it serves as logits. A single logit [B] or [B, 1] is that of class 1. Otherwise outputs
    themselves are averaged, as for a regression. In half precision the mean is taken, and given, in single.
    """

    def __init__(self, module: nn.Module, views: Sequence[View], *, probabilities: bool) -> None:
        super().__init__()
        self.module = module
        self._views = tuple(views)
        self._probabilities = probabilities

    def forward(self, first: Tensor, *rest: Tensor) -> Tensor:
        """The averaged output."""
        seen_by = harmless(self.module)
        outputs = [seen_by(first, *rest)]
        for view in self._views:
            output = seen_by(view.change(first), *rest)
            outputs.append(view.undo(output) if view.undo is not None else output)
        seen = torch.stack(outputs)
        seen = seen.float() if seen.element_size() < 4 else seen
        if not self._probabilities:
            return seen.mean(0)
        if seen.ndim == 2 or seen.shape[-1] == 1:
            # The mean of the probabilities of both classes, as a logit again.
            yes, no = nn.functional.logsigmoid(seen).logsumexp(0), nn.functional.logsigmoid(-seen).logsumexp(0)
            return yes - no
        return seen.log_softmax(-1).logsumexp(0) - math.log(len(outputs))


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """Values by metric (and ``loss``) for each sample [N], or their mean [1] where a metric gives no more."""

    values: Mapping[str, Tensor]


def by_sample(
    module: nn.Module,
    samples: Tensors,
    *,
    loss: Loss,
    metrics: Mapping[str, Metric],
    precision: Precision,
    size: int,
) -> Seen:
    """What each sample scores in evaluation mode, in double precision on the CPU; the training mode is put back.

    Raises ValueError for a metric that gives another number of values than samples.
    """
    found: dict[str, list[Tensor]] = {name: [] for name in ("loss", *metrics)}
    judges = {name: judge for name, judge in {"loss": loss, **metrics}.items() if not isinstance(judge, WholeSet)}
    counts, parts = [], []
    training = module.training
    module.eval()
    try:
        with torch.inference_mode(), precision.arithmetic():
            for *inputs, target in split(samples, size):
                with precision.autocast(inputs[0].device):
                    output = harmless(module)(*inputs)
                    for name, judge in judges.items():
                        found[name].append(_values(judge(output, target), len(target)))
                if len(judges) <= len(metrics):
                    parts.append(kept(output, target))
                counts.append(len(target))
    finally:
        module.train(training)
    wholes = {name: metrics[name](*whole(parts)).reshape(1) for name in metrics if name not in judges}
    return Seen(values={name: wholes[name] if name in wholes else _joined(its, counts) for name, its in found.items()})


def _values(value: Tensor, samples: int) -> Tensor:
    """One value a sample [B], or their mean [] as it was given."""
    value = value.detach().double().cpu()
    if value.ndim == 0:
        return value
    if len(value) != samples:
        raise ValueError(
            f"a loss or metric gave {tuple(value.shape)} for {samples} samples; give one value a sample, or their mean"
        )
    return value.reshape(samples, -1).mean(dim=1)


def _joined(values: Sequence[Tensor], counts: Sequence[int]) -> Tensor:
    if all(value.ndim for value in values):
        return torch.cat(list(values))
    weights = torch.tensor(counts, dtype=torch.float64)
    return (torch.stack([value.mean() for value in values]) * weights).sum().reshape(1) / weights.sum()


def cost(plain: Callable[[], object], averaged: Callable[[], object], *, device: torch.device) -> Spread:
    """How many times as long the second takes: the ratio in each round, in which both run in turn, after one of each untimed.

    Each is run as often as makes ``SECONDS`` of the first. On a CPU its own time is counted, on a GPU that of the wall.
    """
    averaged()
    plain()
    count = max(1, math.ceil(SECONDS / _seconds(plain, 1, device)))
    ratios = []
    for _ in range(ROUNDS):
        first = _seconds(plain, count, device)
        ratios.append(_seconds(averaged, count, device) / first)
    return spread(ratios)


def _seconds(run: Callable[[], object], count: int, device: torch.device) -> float:
    gpu = device.type == "cuda"
    clock = time.perf_counter if gpu else time.process_time
    if gpu:
        torch.cuda.synchronize(device)
    begun = clock()
    for _ in range(count):
        run()
    if gpu:
        torch.cuda.synchronize(device)
    return max(clock() - begun, 1e-6)
