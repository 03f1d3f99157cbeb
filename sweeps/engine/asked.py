"""What a search asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from analysis.records import Turn
from trainables.describe import Scalar

if TYPE_CHECKING:
    from optuna.trial import Trial


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Asked:
    """A point to be tried, the level's own values included, and Optuna's handle to it where it is Optuna that asks.

    A segment of a population's training also has the settings before it, the epoch at which it ends, and the job before it.
    """

    point: Mapping[str, Scalar]
    earlier: tuple[Turn, ...] = ()
    until: int | None = None
    parent: str | None = None
    trial: Trial | None = None
