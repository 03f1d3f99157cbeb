"""A random sample after every epoch, and a full pass now and then."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trainables.validation.validation import sharing, whole

if TYPE_CHECKING:
    from trainables.run import Run
    from trainables.task import Maximise, Minimise


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampled:
    """A random ``share`` of every validation set after each epoch, as ``val/accuracy_sample``; every ``every``-th has a full pass.

    The samples are drawn anew for each epoch, from the seed of the order, the same for all workers. What a sample says is off by
    chance: with accuracy a of n samples by about sqrt(a (1 - a) / n). So it is for looking at, and chooses nothing: the best epoch
    and everything else go by the full passes. A stream has no samples by number and is refused.
    """

    share: float = 0.2
    every: int = 5

    @property
    def kind(self) -> str:
        """Values are a sample's."""
        return "sample"

    @property
    def picks(self) -> bool:
        """Samples are asked for by number."""
        return True

    def full(
        self,
        epoch: int,
        epochs: int,  # noqa: ARG002
        history: Sequence[Mapping[str, Any]],  # noqa: ARG002
        goal: Maximise | Minimise,  # noqa: ARG002
    ) -> bool:
        """By the epoch's number alone."""
        return epoch % self.every == 0

    def instead(self, run: Run) -> Mapping[str, float]:
        """The sample."""
        from trainables.validation.passes import sample_pass

        return sample_pass(run, self.share)

    def within(self, steps: int) -> frozenset[int]:  # noqa: ARG002
        """Nowhere."""
        return frozenset()

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        yield from sharing("Sampled", "share", self.share, all_of_it="is a full pass; EveryEpoch() makes those")
        yield from whole("Sampled", "every", self.every, "epochs")
