"""The verdict: which levels are best, which differences are real, and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from analysis.ledger import Goal
from analysis.records import Scalar, Turn

if TYPE_CHECKING:
    from analysis.front import FrontPoint
    from analysis.scaling import Scaling
    from analysis.spread import Spread

Interval = tuple[float | None, float | None]
"""Lower and upper end; None where that side is unbounded."""


def bounded(ends: Interval | None) -> bool:
    """True where an interval says anything: below the fewest seeds both its ends are unbounded."""
    return ends is not None and ends != (None, None)


@dataclass(frozen=True, kw_only=True, slots=True)
class CostToTarget:
    """Training seconds until validation first reached the target, median over the finals.

    ``seconds`` and ``interval`` are None where there is no target, where fewer than half of the finals reached it, or where the
    lane does not know seconds (a fused member). ``samples`` and ``steps`` are counted alike.
    """

    seconds: float | None
    interval: Interval | None
    reached: int
    n: int
    samples: float | None = None
    steps: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class LevelResult:
    """One compared level: its tuned point, with the settings ``earlier`` in the run where they change, and how its finals went.

    ``scores`` are the judged test values by seed, None for a final that diverged or was lost. ``mean`` and ``interval`` are over
    the finals that finished; ``interval`` is this level's own, not simultaneous.
    """

    level: Mapping[str, Scalar]
    label: str
    point: Mapping[str, Scalar]
    n: int
    mean: float | None
    interval: Interval | None
    rank_group: int
    diverged: int
    lost: int
    scores: Mapping[str, float | None]
    cost_to_target: CostToTarget | None
    heats: int = 0
    stopped: int = 0
    earlier: Sequence[Turn] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Level a against level b on the goal's metric: mean of the paired differences a - b, simultaneous interval, p-values."""

    a: str
    b: str
    difference: float
    interval: Interval
    p: float
    p_adjusted: float


@dataclass(frozen=True, kw_only=True, slots=True)
class SpeedComparison:
    """How many times as long a takes as b to reach the target: paired over seeds, simultaneous interval."""

    a: str
    b: str
    ratio: float
    interval: Interval
    p: float
    p_adjusted: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """One look at the finals that was declared beforehand: after how many seeds, and the alpha it may spend."""

    seeds: int
    alpha: float
    taken: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Needs:
    """How many seeds would tell the best from the runner-up, None where that cannot be said; and why."""

    seeds: int | None
    why: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What the finals say; ``levels`` best first. ``scaling`` is there where numbers of workers are compared, ``spread`` where
    what the seeds draw is: levels are then in the sweep's order, all of one rank.

    ``also`` is the second goal of the search where it has one, ``front`` what the heats reached in both. ``sources`` says how many
    finals each version of the code ran.
    """

    sweep: str
    goal: Goal
    factor: Sequence[str]
    levels: Sequence[LevelResult]
    comparisons: Sequence[Comparison]
    speed: Sequence[SpeedComparison]
    varied: Sequence[str]
    fixed: Sequence[str]
    method: str
    looks: Sequence[Look]
    smallest_detectable_gap: float | None
    answer: str
    confidence: float
    needs: Needs
    scaling: Scaling | None = None
    spread: Spread | None = None
    also: Goal | None = None
    front: Sequence[FrontPoint] = ()
    sources: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The object that ``verdict.json`` holds."""
        return asdict(self)
