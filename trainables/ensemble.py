"""Ensembles: several runs of one recipe that answer together, and how sure they are.

All is computed in double precision from what the members put out, stacked as [K, B, ...] for K members.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from trainables.batches import split
from trainables.checkpoints import load_weights
from trainables.modules import harmless

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True, slots=True)
class Classified:
    """What an ensemble of classifiers says of each sample; entropies in nats (Depeweg et al., 2018).

    ``probabilities`` [B, C] are the members' softmax averaged (Lakshminarayanan et al., 2017). ``entropy`` [B] is theirs, the
    whole uncertainty; ``expected_entropy`` [B] is the members' own, averaged: noise in the data; ``mutual_information`` [B], the
    rest, is what the members do not agree on, which more data would settle. ``disagreement`` [B] is the share of pairs of members
    that choose different classes; 0 for one member.
    """

    probabilities: Tensor
    entropy: Tensor
    expected_entropy: Tensor
    mutual_information: Tensor
    disagreement: Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Regressed:
    """What an ensemble of regressions says of each sample: the members' ``mean`` and the ``variance`` between them, both [B, ...].

    The variance is that of the members around their mean, divided by K: what they do not agree on, not the noise in the data.
    """

    mean: Tensor
    variance: Tensor


@dataclass(frozen=True, slots=True)
class Ensemble:
    """Modules that were trained apart on the same task, at least one; called with inputs [B, ...] they put out [K, B, ...]."""

    members: tuple[nn.Module, ...]

    def __post_init__(self) -> None:
        if not self.members:
            raise ValueError("an ensemble needs at least one member")

    @classmethod
    def loaded(
        cls, build: Callable[[], nn.Module], paths: Sequence[Path], device: str | torch.device = "cpu"
    ) -> Ensemble:
        """The members of these files (``best.safetensors``), each in a module of its own that ``build`` makes.

        Raises ValueError, naming the file, for one that is missing, is damaged, or does not fit the module.
        """
        return cls(tuple(with_weights(build(), path, device) for path in paths))

    def __call__(self, *inputs: Tensor) -> Tensor:
        """The members' outputs in evaluation mode, without a gradient; their training modes are put back."""
        return torch.stack([_answered(member, inputs) for member in self.members])

    def over(self, inputs: tuple[Tensor, ...], size: int = 1024) -> Tensor:
        """The same for a whole set, ``size`` samples at a time."""
        return torch.cat([self(*batch) for batch in split(inputs, size)], dim=1)


def with_weights(module: nn.Module, path: Path, device: str | torch.device) -> nn.Module:
    """The module with the weights of a file (``best.safetensors``), on a device.

    Raises ValueError, naming the file, for one that is missing, is damaged, or does not fit the module.
    """
    weights = load_weights(path, device)
    if weights is None:
        raise ValueError(f"{path} does not exist; train that member again, or leave it out")
    try:
        module.load_state_dict(weights.module)
    except (KeyError, RuntimeError) as error:
        first = str(error).strip().splitlines()[0]
        raise ValueError(
            f"{path} does not fit the model that was built ({first}); build the one it was trained as"
        ) from error
    return module.to(device)


def classified(logits: Tensor) -> Classified:
    """Average what members say in logits [K, B, C]."""
    logs = logits.double().log_softmax(-1)
    members = logs.exp()
    probabilities = members.mean(0)
    entropy = torch.special.entr(probabilities).sum(-1)
    expected = torch.special.entr(members).sum(-1).mean(0)
    return Classified(
        probabilities=probabilities,
        entropy=entropy,
        expected_entropy=expected,
        # Rounding alone can bring it below 0 where members agree.
        mutual_information=(entropy - expected).clamp(min=0),
        disagreement=_disagreement(logits.argmax(-1), logits.shape[-1]),
    )


def regressed(outputs: Tensor) -> Regressed:
    """Average what members say in values [K, B, ...]."""
    variance, mean = torch.var_mean(outputs.double(), dim=0, correction=0)
    return Regressed(mean=mean, variance=variance)


def _disagreement(chosen: Tensor, classes: int) -> Tensor:
    """The share of the K (K - 1) / 2 pairs of members that choose different classes, [B], of their choices [K, B]."""
    members = len(chosen)
    if members == 1:
        return torch.zeros(chosen.shape[1], dtype=torch.float64, device=chosen.device)
    votes = torch.nn.functional.one_hot(chosen, classes).sum(0).double()
    return 1 - (votes * (votes - 1)).sum(-1) / (members * (members - 1))


def _answered(module: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
    training = module.training
    module.eval()
    try:
        with torch.inference_mode():
            output: Tensor = harmless(module)(*inputs)
    finally:
        module.train(training)
    return output
