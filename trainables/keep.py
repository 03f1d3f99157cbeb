"""What a run keeps on disk, and under which names."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainables.task import Maximise, Minimise

FORMAT = 4
"""Version of what checkpoints hold; another one is refused, never guessed at."""

LAST = "last.pt"
"""The state from which a run goes on."""

BEFORE = "before.pt"
"""The state before it, used when the last is damaged."""

BEST = "best.safetensors"
"""The weights of the best epoch by validation."""

ANY = "epoch-*.safetensors"
"""The weights of any other epoch that is kept."""

TEMPORARY = ".tmp"
"""How the name ends of what is not yet whole."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Keep:
    """What a run keeps on disk beside its last two states and the weights of its best epoch, which it always does.

    The ``top`` best epochs by the goal's validation value, and each ``every``-th, have their weights kept in a file of their own,
    ``epoch-0007.safetensors``; what is no longer among them is deleted. ``steps`` writes the state after so many steps of the
    optimizer too, where an epoch is long to lose. ``compress`` deflates states: those of AdamW shrink by 9 % and take five times as
    long to write; ``python -m trainables.checkpoints`` says it of one's own. Nothing of it changes what is learned.
    """

    top: int = 1
    every: int | None = None
    steps: int | None = None
    compress: bool = False

    def wanted(self, history: Sequence[Mapping[str, Any]], goal: Maximise | Minimise) -> set[int]:
        """The epochs of a history whose weights have a file of their own; of equal ones the earlier are better."""
        chosen = {row["epoch"] for row in history if self.every is not None and row["epoch"] % self.every == 0}
        if self.top > 1:
            sign = -1.0 if goal.mode == "max" else 1.0
            values = [(row.get(f"val/{goal.metric}"), row["epoch"]) for row in history]
            ranked = sorted(
                (sign * value, epoch) for value, epoch in values if value is not None and math.isfinite(value)
            )
            chosen |= {epoch for _, epoch in ranked[: self.top]}
        return chosen

    def files(self, epochs: int) -> int:
        """How many files of weights lie there at most, the best's among them, in a run of so many epochs."""
        top = self.top if self.top > 1 else 0
        return 1 + min(epochs, top + (epochs // self.every if self.every is not None else 0))

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        if not isinstance(self.top, int) or isinstance(self.top, bool) or self.top < 1:
            yield f"Keep top {self.top!r} must be a whole number from 1, which keeps the best epoch alone"
        for name, unit in (("every", "epochs"), ("steps", "steps")):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
                yield f"Keep {name} {value!r} must be a whole number of {unit} from 1; None switches it off"
        if not isinstance(self.compress, bool):
            yield f"Keep compress {self.compress!r} must be True or False"


def named(epoch: int) -> str:
    """The file of an epoch's weights."""
    return f"epoch-{epoch:04d}.safetensors"
