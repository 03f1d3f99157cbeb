"""Metrics, tried on outputs like a model's before anything is started."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from sweeps.engine.errors import QuestionError

if TYPE_CHECKING:
    from torch import Tensor

    from trainables.data.source import Set
    from trainables.task import Metric

MOST = 512
"""Targets that metrics are asked about."""


def try_all(metrics: Mapping[str, Metric], output: Tensor, samples: Set) -> None:
    """Ask each metric about targets of a set and as many outputs, which are like the few, [B, ...], that a model gave.

    Raises QuestionError for one that is no mean over samples and would be taken for one; what metrics raise is raised.
    """
    import torch

    from trainables.metrics import WholeSet, kept, no_mean

    target = _spread(samples)
    outputs = output[torch.arange(len(target)) % len(output)]
    for name, metric in metrics.items():
        if isinstance(metric, WholeSet):
            metric(*kept(outputs, target))
        elif (values := no_mean(metric, outputs, target)) is not None:
            every, mean = values
            raise QuestionError(
                f"the metric {name!r} gives {every:.4g} for {len(target)} samples and {mean:.4g} as the mean over two parts of "
                "them: it is no mean over samples, and sets are measured in batches. Let it have a whole set at once: "
                f"metrics={{{name!r}: WholeSet(…)}}, from trainables import WholeSet"
            )


def _spread(samples: Set) -> Tensor:
    """Targets from all over a set, which may be sorted by class; of one that is read on the way, the first."""
    import torch

    from trainables.data.source import head

    if not isinstance(samples, tuple):
        return head(samples, MOST)[-1]
    target: Tensor = samples[-1]
    return target[torch.linspace(0, len(target) - 1, min(MOST, len(target))).long()]
