"""What each validation policy would have saved in a run, and what it would have missed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

from trainables.describe import text
from trainables.errors import ConflictError
from trainables.validation.every_epoch import EveryEpoch
from trainables.validation.validation import Beside, Preparing, due

if TYPE_CHECKING:
    import torch

    from trainables.recipe import Recipe
    from trainables.run import Run
    from trainables.task import Splits, Task, Tensors
    from trainables.validation.validation import Validation

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Error:
    """How far what a policy knew was off the full pass at the same moment, in the goal's metric: on average, and at most."""

    mean: float
    largest: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """One policy over a run.

    ``full`` passes at the ends of epochs, ``partial`` ones there and within epochs. ``seconds`` are CPU time of the process, on a
    GPU wall time; ``saved`` is the share of them that every epoch's full pass takes, below 0 where it takes more.
    ``errors`` are by validation set: after an epoch a policy knows what it measured, or else still what its last full pass said;
    before the first there is nothing to be wrong. The test set, asked at each improvement, is not counted.
    ``best_epoch`` is the one that it chooses; ``lost`` is what the best of all epochs is better, on ``val``.
    """

    policy: str
    full: int
    partial: int
    seconds: float
    saved: float
    errors: Mapping[str, Error]
    best_epoch: int | None
    lost: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """All policies over one and the same run; ``samples`` are those of each validation set.

    ``left_out`` says of each policy that cannot ask this model why.
    """

    task: str
    metric: str
    mode: str
    epochs: int
    samples: Mapping[str, int]
    device: str
    seconds: float
    outcomes: Sequence[Outcome]
    left_out: Sequence[str] = ()


def compared(
    task: Task,
    recipe: Recipe,
    policies: Sequence[Validation],
    *,
    splits: Splits[Any] | None = None,
    device: str | torch.device = "cpu",
) -> Comparison:
    """Train once, to the recipe's last epoch, and follow each policy on the way: what it would measure is measured and timed.

    A full pass is timed once an epoch and counts for all policies that ask for one. Early stopping is left out, and a schedule that
    reacts to validation sees every epoch: with those a policy's own run may take another course. Raises ConflictError for policies
    or a recipe that conflict, for a model that none of the policies can ask, and for a run that diverges.
    """
    from trainables.data.source import count
    from trainables.fit import fit

    conflicts = [sentence for policy in policies for sentence in policy.conflicts()]
    if conflicts:
        raise ConflictError("validation", conflicts)
    followed = [_Followed(policy) for policy in policies]
    whole, left_out = _Followed(EveryEpoch()), list[str]()

    def through(run: Run, batches: Iterator[Tensors]) -> Iterator[Tensors]:
        if run.epoch == 1:
            followed[:] = _fitting(followed, run, left_out)
        for batch in batches:
            yield batch
            for one in followed:
                one.step(run)

    for epoch in fit(
        task, replace(recipe, validation=EveryEpoch(), stop=None), splits=splits, device=device, through=through
    ):
        full, seconds = _full(epoch.run)
        _finite(epoch.run, full)
        for one in (whole, *followed):
            one.epoch(epoch.run, full, seconds)
        run = epoch.run
    named = run.splits.named()
    return Comparison(
        task=task.name,
        metric=task.goal.metric,
        mode=task.goal.mode,
        epochs=run.epoch,
        samples={name: count(named[name]) for name in named if name.startswith("val")},
        device=run.device.type,
        seconds=whole.seconds,
        outcomes=[one.outcome(task, whole) for one in followed],
        left_out=left_out,
    )


@dataclass(slots=True)
class _Followed:
    """A policy on its way through a run: the history that it would have, what it would cost, what it would know and be wrong by."""

    policy: Validation
    history: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    full: int = 0
    partial: int = 0
    known: dict[str, float] = field(default_factory=dict)
    errors: dict[str, list[float]] = field(default_factory=dict)
    looks: frozenset[int] | None = None

    def epoch(self, run: Run, full: Mapping[str, float], seconds: float) -> None:
        """An epoch has ended, and a full pass over it has given this in so many seconds."""
        row: dict[str, Any] = {"epoch": run.epoch}
        if due(self.policy, run.epoch, run.plan.epochs, self.history, run.task.goal):
            self.full, self.seconds = self.full + 1, self.seconds + seconds
            row |= full
            if isinstance(self.policy, Beside) and self.policy.beside:
                self._approximate(run)
            self.known |= full
        else:
            self._approximate(run)
        self.history.append(row)
        self._compare(run, full)

    def step(self, run: Run) -> None:
        """A batch was trained: a look within the epoch, where the policy wants one. Training goes on as if there were none."""
        from trainables.seeds import seeded

        if self.looks is None:
            self.looks = self.policy.within(run.plan.steps_per_epoch)
        if run.tally.batches not in self.looks:
            return
        with seeded(run.device, "look", run.seeds.order, run.epoch, run.tally.batches):
            self._approximate(run)
            full, _ = _full(run)
        run.training()
        self._compare(run, full)

    def outcome(self, task: Task, whole: _Followed) -> Outcome:
        """What it came to, beside full passes after every epoch."""
        from trainables.train import best_epoch

        chosen, best = best_epoch(self.history, task.goal), best_epoch(whole.history, task.goal)
        name = f"val/{task.goal.metric}"
        value = {row["epoch"]: row[name] for row in whole.history}
        return Outcome(
            policy=text(self.policy),
            full=self.full,
            partial=self.partial,
            seconds=self.seconds,
            saved=1 - self.seconds / whole.seconds,
            errors={name: Error(mean=sum(off) / len(off), largest=max(off)) for name, off in self.errors.items()},
            best_epoch=chosen,
            lost=abs(value[best] - value[chosen]) if chosen is not None and best is not None else None,
        )

    def _approximate(self, run: Run) -> None:
        if not self.partial:
            self.policy.instead(run)  # what a first call loads is no part of its cost
        values, seconds = _timed(run, lambda: self.policy.instead(run))
        if values:
            self.partial, self.seconds = self.partial + 1, self.seconds + seconds
            self.known |= values

    def _compare(self, run: Run, full: Mapping[str, float]) -> None:
        from trainables.validation.passes import sets

        for name in sets(run):
            metric = f"{name}/{run.task.goal.metric}"
            if metric in self.known:
                self.errors.setdefault(name, []).append(abs(self.known[metric] - full[metric]))


def _fitting(followed: Sequence[_Followed], run: Run, left_out: list[str]) -> list[_Followed]:
    """Those that can ask this model; of the others it is said why not. Raises ConflictError where none is left."""
    from trainables.seeds import seeded

    fitting = []
    for one in followed:
        try:
            if isinstance(one.policy, Preparing):
                with seeded(run.device, "look"):
                    one.policy.prepare(run)
            fitting.append(one)
        except ConflictError as error:
            left_out += error.conflicts
    if left_out and not fitting:
        raise ConflictError("validation", left_out)
    return fitting


def _finite(run: Run, full: Mapping[str, float]) -> None:
    """Raises ConflictError for a value that cannot be compared."""
    from trainables.validation.passes import sets

    for name in ("val/loss", *(f"{name}/{run.task.goal.metric}" for name in sets(run))):
        if not math.isfinite(full[name]):
            said = (
                f"{name} is {full[name]} after epoch {run.epoch}, which cannot be compared; take a lower learning rate"
            )
            raise ConflictError("validation", [said])


def _full(run: Run) -> tuple[Mapping[str, float], float]:
    from trainables.validation.passes import full_pass

    return _timed(run, lambda: full_pass(run))


def _timed(run: Run, work: Callable[[], T]) -> tuple[T, float]:
    """What it gives, and the CPU seconds that it takes; on a GPU those of the wall, since the CPU only waits."""
    import torch

    from trainables.determinism import deterministic

    gpu = run.device.type == "cuda"
    clock = time.perf_counter if gpu else time.process_time
    with run.recipe.precision.arithmetic(), deterministic(wanted=run.recipe.deterministic):
        if gpu:
            torch.cuda.synchronize(run.device)
        begun = clock()
        result = work()
        if gpu:
            torch.cuda.synchronize(run.device)
        return result, clock() - begun
