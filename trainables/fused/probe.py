"""How many runs to train at once: packs of several sizes, tried for a few steps beside a run alone."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, is_dataclass, replace
from statistics import median
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from trainables.data.source import count
from trainables.fit import fit
from trainables.fused.built import unfit_run
from trainables.fused.dry import refused
from trainables.fused.pack import Pack
from trainables.fused.probe_cache import Cache, key_of
from trainables.fused.program import Program
from trainables.fused.structure import unfit
from trainables.fused.varied import common
from trainables.micro_batch import out_of_memory
from trainables.run import Run
from trainables.task import Splits
from trainables.telemetry import Meter

if TYPE_CHECKING:
    from trainables.recipe import Recipe
    from trainables.task import Task, Tensors

SIZES = (4, 16, 32, 64)
"""Members of the packs that are tried."""

STEPS, TURNS = 20, 3
"""Steps of a turn at most, and turns of a pack and of a run alone, one after the other."""

RECORDED_FROM = 2
"""The step from which a pack plays back what it recorded: before the first turn, as in most of a long run."""

SECONDS = 1.0
"""About as long as one size may take; where steps are long a turn has fewer of them."""

GAIN = 1.1
"""What is gained by less than this is not worth it: packs even out what single trials would take each for itself."""

NEAR = 0.95
"""A smaller size is taken that gains this share of the most."""

GROWTH, HOPELESS = 1.05, 0.95
"""Larger sizes are not tried after one that gains less than this much more than the one before, or not ``GAIN``, nor after a first
that loses so.

Of all networks and batches in ``benchmarks.fused`` none whose pack of 4 is below this gains more than a tenth in a larger one.
"""

FAR = 1_000_000
"""Epochs of the runs that are tried, which never end."""

Clock = Callable[[], float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """How many runs to train at once: ``size`` 1 where each is best trained alone.

    ``gains`` says for each size that was tried how many times a run's step in a pack goes into its step alone; ``reason`` why none
    was.
    """

    size: int
    gains: Mapping[int, float] = field(default_factory=dict)
    reason: str | None = None


def chosen(
    task: Task,
    recipe: Recipe,
    splits: Splits[Any] | None,
    device: torch.device,
    sizes: Iterable[int] = SIZES,
    *,
    cache: Cache | None = None,
    clock: Clock | None = None,
) -> Choice:
    """Choose from ``sizes`` by trying, or as it was chosen before on this machine for runs of this structure and shape.

    It trains copies on a small part of the data: neither ``splits`` nor any generator is touched. ``clock`` reads the processor's
    time where one thread computes, else that of the day. Raises ConflictError when the recipe cannot be trained at all.
    """
    if (why := next(unfit(recipe), None)) is not None:
        return Choice(size=1, reason=why)
    with _untouched(device):
        run = Run.start(task, recipe, splits=splits, device=device)
        if (why := next(unfit_run(run), None)) is not None:
            return Choice(size=1, reason=why)
        wanted = sorted({size for size in sizes if size > 1})
        cache, key = cache or Cache.usual(), key_of(run, wanted)
        gains = cache.get(key)
        if gains is None:
            if (why := refused(run, runs=False)) is not None:
                return Choice(size=1, reason=why)
            gains = measured(run, wanted, clock or clock_of(device))
            if best(gains) > 1 and (why := refused(run)) is not None:
                return Choice(size=1, reason=why)
            cache.put(key, gains)
    return Choice(size=best(gains), gains=gains)


def best(gains: Mapping[int, float]) -> int:
    """The smallest size that gains enough, and about as much as any; 1 where none gains enough."""
    least = max(GAIN, NEAR * max(gains.values(), default=0.0))
    return min((size for size, gain in gains.items() if gain >= least), default=1)


def clock_of(device: torch.device) -> Clock:
    """The processor's time does not depend on what else is going on, but tells nothing of several threads or of a GPU."""
    if device.type == "cpu" and torch.get_num_threads() == 1:
        return time.process_time
    if device.type == "cuda":

        def waited() -> float:
            torch.cuda.synchronize(device)
            return time.perf_counter()

        return waited
    return time.perf_counter


def measured(run: Run, sizes: Sequence[int], clock: Clock) -> dict[int, float]:
    """The gain of each size, from the smallest on, as long as more members may gain more and there is room for them."""
    found: dict[int, float] = {}
    enough = HOPELESS
    plain = _Plain(run, RECORDED_FROM)
    plain()
    alone = _took(plain, clock) / RECORDED_FROM

    def steps(members: int, gained: float = 1.0) -> int:
        wanted = int(SECONDS / (TURNS + 1) * gained / (members * alone)) if alone > 0 else STEPS
        return min(max(RECORDED_FROM, min(STEPS, wanted)), run.plan.steps_per_epoch)

    for size in sizes:
        try:
            found[size] = gain(run, size, (steps(1), steps(size, max(found.values(), default=1.0))), clock)
        except Exception as error:
            if not out_of_memory(error):
                raise
            break
        if found[size] < enough:
            break
        enough = max(GAIN, GROWTH * max(found.values()))
    return found


def gain(run: Run, size: int, steps: tuple[int, int], clock: Clock) -> float:
    """How many times a member's step in a pack goes into one of a run alone: median of turns of so many ``steps`` alone and packed.

    A turn alone has more of them where they are long: in one of two or three, what an epoch takes beside its steps would be laid
    at the run's door, and hardly at the pack's, whose members share it.
    """
    plain, pack = _Plain(run, steps[0]), _Packed(run, size, steps[1])
    plain()
    pack()
    pairs = [(_took(plain, clock) / steps[0], _took(pack, clock) / steps[1]) for _ in range(TURNS)]
    return median(size * alone / together if together > 0 else 1.0 for alone, together in pairs)


class _Plain:
    """A run alone, an epoch of so many steps at each call."""

    def __init__(self, run: Run, steps: int) -> None:
        self._epochs = fit(run.task, _endless(run.recipe), splits=_part(run, steps), device=run.device)

    def __call__(self) -> None:
        next(self._epochs)


class _Packed:
    """A pack of such runs, each with seeds and a learning rate of its own, on the same data."""

    def __init__(self, run: Run, size: int, steps: int) -> None:
        recipe, splits = _endless(run.recipe), _part(run, steps)
        runs = [
            Run.start(run.task, _member(recipe, number), splits=splits, device=run.device) for number in range(size)
        ]
        first = runs[0]
        program = Program(first.module, common(first.loss), recipe.precision, run.device, recorded_from=RECORDED_FROM)
        self._pack = Pack(runs, program, Meter(run.device))

    def __call__(self) -> None:
        self._pack.epoch()


def _member(recipe: Recipe, number: int) -> Recipe:
    """Members of a search differ in their learning rates; of one of a kind that is not known, only in their seeds."""
    seeds = replace(recipe.seeds, init=number, order=number)
    optimizer = recipe.optimizer
    if is_dataclass(optimizer):
        optimizer = replace(optimizer, lr=optimizer.lr * (1 + number / 1000))
    return replace(recipe, seed=seeds, optimizer=optimizer)


def _endless(recipe: Recipe) -> Recipe:
    """Without an end, and on data that is split already."""
    return replace(recipe, epochs=FAR, split=None)


def _part(run: Run, steps: int) -> Splits[Any]:
    """So much of the training set as so many steps take, and as large a share of each other set, a sample at least."""
    sets = run.splits.named()
    samples = min(count(sets["train"]), steps * run.plan.batch_size)
    share = samples / count(sets["train"])

    def few(tensors: Tensors) -> Tensors:
        return tuple(tensor[: max(1, round(share * len(tensor)))] for tensor in tensors)

    train = tuple(tensor[:samples] for tensor in cast("Tensors", sets["train"]))
    more = {name: few(tensors) for name, tensors in run.splits.more.items()}
    return Splits(train=train, val=few(run.splits.val), test=few(run.splits.test), more=more)


def _took(work: Callable[[], None], clock: Clock) -> float:
    begun = clock()
    work()
    return clock() - begun


@contextmanager
def _untouched(device: torch.device) -> Iterator[None]:
    """What is drawn from the process's generators within is drawn again after it."""
    drawn, by_numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield
    finally:
        random.setstate(drawn)
        np.random.set_state(by_numpy)
