"""The learning-rate range test: the rate rises from step to step until the loss explodes, and the curve suggests one.

After Smith (2017), "Cyclical learning rates for training neural networks". One such curve depends on the weights it started from
and on the order of the batches, so it is drawn several times, and the suggestion has a spread.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from trainables.errors import ConflictError
from trainables.range_curve import RangeCurve, Watch, figure, judged
from trainables.seeds import Seeds
from trainables.spread import Spread, spread

if TYPE_CHECKING:
    import torch

    from trainables.recipe import Recipe
    from trainables.run import Run
    from trainables.task import Splits, Task, Tensors

BELOW = 10.0
"""The suggestion lies this far below the rate of the lowest loss, where training is about to become unstable."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RangeTest:
    """Rates from ``low`` to ``high``, each the same factor above the one before, in ``steps`` steps, ``repeats`` times.

    ``decay`` smooths the losses. A sweep ends early once its loss has risen ``explosion`` times as far as it had fallen.
    """

    low: float = 1e-6
    high: float = 10.0
    steps: int = 140
    repeats: int = 6
    decay: float = 0.9
    explosion: float = 3.0

    def rates(self) -> list[float]:
        """The rates in their order."""
        return [self.low * (self.high / self.low) ** (step / (self.steps - 1)) for step in range(self.steps)]

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        if not 0 < self.low < self.high < math.inf:
            yield f"RangeTest from {self.low:g} to {self.high:g} must rise, and begin above 0; 1e-6 to 10 is usual"
        if not isinstance(self.steps, int) or self.steps < 20:
            yield f"RangeTest steps {self.steps} must be a whole number from 20; 140 is usual, twenty for each power of ten"
        if not isinstance(self.repeats, int) or self.repeats < 1:
            yield f"RangeTest repeats {self.repeats} must be a whole number from 1; six give an interval at 97 %"
        if not 0 <= self.decay < 1:
            yield f"RangeTest decay {self.decay} must lie in [0, 1); 0.9 is usual, 0 smooths nothing"
        if not 0 < self.explosion < math.inf:
            yield f"RangeTest explosion {self.explosion} must be above 0 and finite; 3 is usual"


@dataclass(frozen=True, kw_only=True, slots=True)
class RangeFound:
    """The curves, and the rates that more than half of them agree to give; ``reason`` says why one is None.

    ``tenth`` is a tenth of the rate at which the loss is lowest, ``steepest`` the rate at which it falls most steeply.
    """

    settings: RangeTest
    curves: tuple[RangeCurve, ...]
    tenth: Spread | None
    steepest: Spread | None
    reason: str | None

    @property
    def suggested(self) -> Spread | None:
        """The rate to take as the peak of a schedule."""
        return self.tenth if self.tenth is not None else self.steepest

    def says(self) -> str:
        """The outcome as a sentence."""
        found = self.suggested
        if found is None:
            return f"There is no rate to suggest: {self.reason}."
        steep = f"the loss falls most steeply at {written(self.steepest)}" if self.steepest is not None else ""
        what = (
            f"a tenth of the rate of the lowest loss; {steep}" if self.tenth is not None else f"{steep}; {self.reason}"
        )
        agree = (
            f"{found.count} of {len(self.curves)} sweeps" if found.count < len(self.curves) else f"{found.count} sweeps"
        )
        sure = (
            f"{agree}, from the lowest to the highest of them, which holds their median at {100 * found.confidence:.0f} %"
            if found.count > 1
            else f"{agree}, so nothing is known of the spread"
        )
        return f"Take {written(found)}: {what} ({sure})."


def written(rate: Spread) -> str:
    """``1.2e-3 [8.0e-4, 2.1e-3]``; without the interval where there was one sweep alone."""
    return figure(rate.value) + (f" [{figure(rate.low)}, {figure(rate.high)}]" if rate.count > 1 else "")


@dataclass(frozen=True, slots=True)
class _Fixed:
    """The schedule of one step."""

    multiplier: float

    def __call__(self, progress: float) -> float:  # noqa: ARG002
        return self.multiplier

    def conflicts(self) -> Iterator[str]:
        yield from ()


DEFAULT = RangeTest()


def range_test(
    task: Task,
    recipe: Recipe,
    settings: RangeTest = DEFAULT,
    *,
    splits: Splits[Any] | None = None,
    device: str | torch.device = "cpu",
    workers: int = 1,
    state: Mapping[str, Any] | None = None,
) -> RangeFound:
    """Test the rate of a recipe's optimizer, from scratch or from the ``state`` that a run has come to (``Run.state``).

    Loss, batch, precision, clip and all that a step is made of are the recipe's; its schedule is set aside, and the rates are those
    of ``optimizer.lr``, before any scaling with the batch. One process takes the effective batch of ``workers`` as a whole. Each
    sweep draws weights and order anew. What is given, state and generators included, is left as it was. Raises ConflictError for
    settings or a recipe that cannot be run.
    """
    conflicts = [*settings.conflicts(), *recipe.conflicts()]
    if conflicts:
        raise ConflictError("range test", conflicts)
    from trainables.stepping import untouched

    recipe = replace(recipe, batch_size=recipe.effective_batch(workers), average=None)
    with untouched():
        splits = task.load(recipe.seeds.split) if splits is None else splits
    curves = tuple(
        _curve(task, _drawn(recipe, number), settings, splits=splits, device=device, state=state)
        for number in range(settings.repeats)
    )
    lowest = [curve.lowest / BELOW for curve in curves if curve.lowest is not None]
    steepest = [curve.steepest for curve in curves if curve.steepest is not None]
    reasons = Counter(curve.reason for curve in curves if curve.reason is not None).most_common(1)
    tenth = _agreed(lowest, len(curves))
    return RangeFound(
        settings=settings,
        curves=curves,
        tenth=tenth,
        steepest=_agreed(steepest, len(curves)),
        reason=reasons[0][0] if reasons and tenth is None else None,
    )


def _agreed(rates: list[float], curves: int) -> Spread | None:
    return spread(rates) if 2 * len(rates) > curves else None


def _drawn(recipe: Recipe, number: int) -> Recipe:
    """The recipe with its weights and its order drawn anew, on the same split."""
    seeds = recipe.seeds
    return replace(recipe, seed=Seeds(init=seeds.init + number, order=seeds.order + number, split=seeds.split))


def _curve(
    task: Task,
    recipe: Recipe,
    settings: RangeTest,
    *,
    splits: Splits[Any],
    device: str | torch.device,
    state: Mapping[str, Any] | None,
) -> RangeCurve:
    """One sweep. The loss of a step is that before its update, so the one after the update comes with the next step."""
    from trainables.stepping import stepped

    rates, watch = settings.rates(), Watch(decay=settings.decay, explosion=settings.explosion)
    exploded = False

    def feeding(run: Run, own: Iterator[Tensors]) -> Iterator[Tensors]:
        nonlocal exploded
        before, batches = (float(run.tally.loss), float(run.tally.weight)), _passes(run, own)
        for rate in chain(rates, rates[-1:]):
            run.curve = _Fixed(rate / recipe.optimizer.lr)
            loss = weight = 0.0
            for batch in islice(batches, run.plan.steps_per_epoch):
                yield batch
                now = float(run.tally.loss), float(run.tally.weight)
                (loss, weight), before = (now[0] - before[0], now[1] - before[1]), now
                if weight:  # else nothing counted in it, as in a batch of ignored targets alone, and it says nothing
                    break
            exploded = watch.exploded(loss / weight if weight else math.nan)
            if exploded:
                return

    stepped(task, recipe, feeding, splits=splits, device=device, state=state)
    return judged(
        seed=recipe.seeds.init,
        losses=watch.losses,
        rates=rates[: len(watch.losses) - 1],
        exploded=exploded,
        threshold=watch.threshold,
        decay=settings.decay,
    )


def _passes(run: Run, own: Iterator[Tensors]) -> Iterator[Tensors]:
    """The epoch's batches, then those of the epochs after it, without what lies between epochs."""
    from trainables.augment import augmented
    from trainables.data import feed

    yield from own
    while True:
        run.epoch += 1
        run.tally.batches = 0
        batches = feed.training(run, run.plan.batch_size)
        yield from augmented(batches, run.recipe.augment, run.tally.augmenting)
