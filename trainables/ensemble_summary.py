"""What an ensemble of classifiers gains over one of its members, on samples that none of them has learned from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean
from typing import TYPE_CHECKING

import torch

from trainables.calibration import brier, calibration_error, negative_log_likelihood, temperature
from trainables.ensemble import classified
from trainables.seeds import generator

if TYPE_CHECKING:
    from torch import Tensor

COVERAGES = (0.8, 0.9, 1.0)
BLOCK = 2**20
"""Numbers drawn at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scores:
    """How good and how honest the probabilities of one classifier are; ``nll`` in nats."""

    accuracy: float
    nll: float
    brier: float
    calibration_error: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """A value with the ends of its confidence interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Covered:
    """The accuracy on the ``samples`` that the ensemble is surest of, a ``share`` of all: the rest is left to somebody else."""

    share: float
    samples: int
    accuracy: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """Members, their mean and the ensemble on ``samples`` samples, with intervals at the level ``confidence``.

    ``accuracy`` is the ensemble's with Wilson's interval (1927). The gains are the ensemble's less the members' mean, a sample
    against itself, with percentile bootstrap intervals over samples: they say how sure the gain is for these members on other
    samples, not for other members. ``nll_gain`` is below 0 where the ensemble is better. ``disagreement`` and
    ``mutual_information`` are means over samples. ``scaled`` is the ensemble with its averaged probabilities p turned into
    p^(1 / ``temperature``), made to sum to 1, the temperature being the best on validation samples: averaging alone makes
    probabilities less sure, also where the members were not sure enough (Rahaman and Thiery, 2021). None without such samples.
    """

    samples: int
    confidence: float
    members: tuple[Scores, ...]
    mean: Scores
    ensemble: Scores
    accuracy: Interval
    accuracy_gain: Interval
    nll_gain: Interval
    disagreement: float
    mutual_information: float
    coverage: tuple[Covered, ...]
    temperature: float | None
    scaled: Scores | None


def summary(
    logits: Tensor,
    target: Tensor,
    *,
    validation: tuple[Tensor, Tensor] | None = None,
    confidence: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
    coverages: Sequence[float] = COVERAGES,
) -> Summary:
    """Compare the members' logits [K, N, C] and their ensemble against classes [N]; the uncertainty left out first is the entropy.

    ``validation`` holds logits [K, M, C] and classes [M] to calibrate on: not the samples that are compared on.
    The bootstrap draws ``draws`` times from a generator of its own, seeded by ``seed``. Raises ValueError for shapes that do not
    fit.
    """
    if logits.ndim != 3 or target.shape != logits.shape[1:2] or 0 in logits.shape:
        raise ValueError(
            f"an ensemble of {tuple(logits.shape)} against targets {tuple(target.shape)}; give [K, N, C] and [N]"
        )
    logits, target = logits.detach().cpu().double(), target.cpu()
    together = classified(logits)
    probabilities = [*logits.softmax(-1), together.probabilities]
    *members, ensemble = [_scores(each, target) for each in probabilities]
    right = torch.stack([(each.argmax(1) == target).double() for each in probabilities])
    surprise = torch.stack([-each.gather(1, target.unsqueeze(1)).squeeze(1).log() for each in probabilities])
    gains = torch.stack([values[-1] - values[:-1].mean(0) for values in (right, surprise)], dim=1)
    accuracy_gain, nll_gain = bootstrapped(gains, confidence, draws, seed)
    degrees = None if validation is None else temperature(scalable(validation[0]), validation[1])
    return Summary(
        samples=len(target),
        confidence=confidence,
        members=tuple(members),
        mean=Scores(
            accuracy=fmean(each.accuracy for each in members),
            nll=fmean(each.nll for each in members),
            brier=fmean(each.brier for each in members),
            calibration_error=fmean(each.calibration_error for each in members),
        ),
        ensemble=ensemble,
        accuracy=wilson(ensemble.accuracy, len(target), confidence),
        accuracy_gain=accuracy_gain,
        nll_gain=nll_gain,
        disagreement=float(together.disagreement.mean()),
        mutual_information=float(together.mutual_information.mean()),
        coverage=tuple(_covered(right[-1], together.entropy, share) for share in coverages),
        temperature=degrees,
        scaled=None if degrees is None else _scores((scalable(logits) / degrees).softmax(1), target),
    )


def scalable(logits: Tensor) -> Tensor:
    """The logarithms of the averaged probabilities [N, C] of logits [K, N, C]: divided by a temperature they are logits."""
    return logits.cpu().double().log_softmax(-1).logsumexp(0) - math.log(len(logits))


def _scores(probabilities: Tensor, target: Tensor) -> Scores:
    return Scores(
        accuracy=float((probabilities.argmax(1) == target).double().mean()),
        nll=negative_log_likelihood(probabilities, target),
        brier=brier(probabilities, target),
        calibration_error=calibration_error(probabilities, target),
    )


def _covered(right: Tensor, uncertainty: Tensor, share: float) -> Covered:
    kept = uncertainty.argsort(stable=True)[: max(1, math.ceil(share * len(right) - 1e-9))]
    return Covered(share=share, samples=len(kept), accuracy=float(right[kept].mean()))


def wilson(share: float, samples: float, confidence: float) -> Interval:
    """A share of so many samples with Wilson's interval: unlike the bootstrap's it has a width where all samples are right."""
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    centre = (share + z**2 / (2 * samples)) / (1 + z**2 / samples)
    half = z / (1 + z**2 / samples) * math.sqrt(share * (1 - share) / samples + z**2 / (4 * samples**2))
    return Interval(value=share, low=max(0.0, centre - half), high=min(1.0, centre + half))


def bootstrapped(values: Tensor, confidence: float, draws: int, seed: int) -> list[Interval]:
    """The mean of each column [N, M] with its percentile interval; all columns are drawn alike."""
    samples, drawn = len(values), generator("bootstrap", seed)
    size = max(1, BLOCK // samples)
    means = torch.cat(
        [
            values[torch.randint(samples, (min(size, draws - start), samples), generator=drawn)].mean(1)
            for start in range(0, draws, size)
        ]
    )
    tail = (1 - confidence) / 2
    low, high = means.quantile(tail, dim=0).tolist(), means.quantile(1 - tail, dim=0).tolist()
    return [Interval(value=v, low=a, high=b) for v, a, b in zip(values.mean(0).tolist(), low, high, strict=True)]
