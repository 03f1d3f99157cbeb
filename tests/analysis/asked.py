"""Questions for planted sweeps, without a folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from analysis.ledger import Goal, Question
from analysis.records import Scalar


def asked(
    levels: Sequence[Scalar] | Mapping[str, Sequence[Scalar]],
    *,
    seeds: int,
    target: float | None = None,
    mode: str = "max",
    metric: str = "accuracy",
    looks: Sequence[int] | None = None,
    varied: Sequence[str] = ("init", "order", "split"),
) -> Question:
    """The question that ``planted_question`` writes; several factors as a mapping."""
    return Question(
        sweep="planted",
        task="digits",
        goal=Goal(metric=metric, mode=mode, target=target),
        factors=levels if isinstance(levels, Mapping) else {"batch_size": levels},
        seeds=seeds,
        varied=varied,
        raw={} if looks is None else {"looks": list(looks)},
    )
