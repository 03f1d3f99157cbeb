"""What every search offers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from sweeps.engine.search.domain import Domain
from trainables.describe import Scalar

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


@runtime_checkable
class Search(Protocol):
    """A part that builds an Optuna sampler; ``trials`` heats at most are dealt to each level."""

    @property
    def trials(self) -> int: ...

    @property
    def completed_only(self) -> bool:
        """True when the sampler looks at completed heats alone, so that a stopped one must be told as such to count."""
        ...

    @property
    def learns(self) -> bool:
        """True when where it looks next depends on what was found before."""
        ...

    def heats(self, domain: Domain, known: Sequence[Mapping[str, Scalar]]) -> int:
        """Heats that a level gets in all, those at the points ``known`` already among them."""
        ...

    def build(self, domain: Domain, seed: int) -> BaseSampler:
        """A sampler of this domain that draws from this seed."""
        ...

    def conflicts(self, domain: Domain) -> Iterator[str]:
        """What is wrong with the settings, or with using them here."""
        ...


def few_trials(name: str, trials: int) -> Iterator[str]:
    """The conflict of a search without a heat."""
    if trials < 1:
        yield f"{name} trials {trials} must be at least 1: every level needs a point to send to the finals"


def few_startup(name: str, startup: int, trials: int) -> Iterator[str]:
    """The conflict of a model that has nothing to learn from."""
    if startup < 1:
        yield f"{name} startup {startup} must be at least 1; 5 is usual for {max(trials, 1)} trials"


def conditional(name: str, domain: Domain) -> Iterator[str]:
    """The conflict of a search that needs the same holes in every trial."""
    inside = domain.conditional()
    if inside:
        yield (
            f"{name} needs the same holes in every trial, but {', '.join(inside)} stands inside an option of a choice; "
            "take TPE, which knows such spaces, or compare the options by each()"
        )
