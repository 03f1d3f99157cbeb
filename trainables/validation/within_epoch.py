"""Looks within an epoch, for runs whose epochs last hours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trainables.validation.validation import sharing

if TYPE_CHECKING:
    from trainables.run import Run
    from trainables.task import Maximise, Minimise


@dataclass(frozen=True, kw_only=True, slots=True)
class WithinEpoch:
    """A full pass after every epoch, and looks within it, after each such fraction of it (0.25) or so many batches (500).

    The looks stand in the epoch's row of the history as a list under ``within``, ``{"batch": 250, "step": 1250, "val/loss": 0.3}``,
    over a random ``share`` of each set where that is less than 1 (``val/loss_sample``). They choose nothing: training goes on as if
    nobody had looked. Beside an average the raw weights are looked at too (``val/loss_raw``); SWA's own are those of the last
    epoch's end. Of several workers each has its own statistics of BatchNorm until the epoch ends, and looks with those.
    """

    every: float = 0.25
    share: float = 1.0

    @property
    def kind(self) -> str:
        """Values are a sample's, where the share is less than 1."""
        return "sample" if self.picks else ""

    @property
    def picks(self) -> bool:
        """Whether a part of the samples is asked for by number."""
        return self.share < 1

    def full(
        self,
        epoch: int,  # noqa: ARG002
        epochs: int,  # noqa: ARG002
        history: Sequence[Mapping[str, Any]],  # noqa: ARG002
        goal: Maximise | Minimise,  # noqa: ARG002
    ) -> bool:
        """Always."""
        return True

    def instead(self, run: Run) -> Mapping[str, float]:
        """All samples, or some."""
        from trainables.validation.passes import full_pass, sample_pass

        return sample_pass(run, self.share) if self.picks else full_pass(run)

    def within(self, steps: int) -> frozenset[int]:
        """After every so many batches, or those nearest to each fraction of the epoch."""
        if isinstance(self.every, int):
            return frozenset(range(self.every, steps, self.every))
        # A hair less than 1, so that ten tenths are nine looks.
        looks = int((1 - 1e-9) / self.every)
        return frozenset(round(steps * number * self.every) for number in range(1, looks + 1)) - {0, steps}

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        # 1.0 is refused: it reads like all of the epoch, and would be a look after each batch.
        batches = isinstance(self.every, int) and not isinstance(self.every, bool) and self.every >= 1
        if not batches and not (isinstance(self.every, float) and 0 < self.every < 1):
            yield (
                f"WithinEpoch every {self.every!r} must be a fraction of the epoch below 1, or a whole number of batches from 1; "
                "0.25 looks after each quarter, EveryEpoch() at the end alone"
            )
        yield from sharing("WithinEpoch", "share", self.share, all_of_it="is all of each set")
