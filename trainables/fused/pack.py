"""A pack: several runs of one structure, trained at once."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from trainables.averages.ema import Exponential
from trainables.describe import join
from trainables.fit import Epoch, arithmetic
from trainables.fused.averaging import RowAverage
from trainables.fused.built import differences
from trainables.fused.feed import Feed
from trainables.fused.limits import limit_of
from trainables.fused.passes import Passes
from trainables.fused.rows import Rows
from trainables.fused.rules import OneByOne, rule_of
from trainables.fused.schedules import Schedules
from trainables.fused.shares import shared
from trainables.fused.varied import common, settings
from trainables.losses.loss import each, weight
from trainables.seeds import seeded
from trainables.validation.passes import inputs, sets
from trainables.validation.validation import due

if TYPE_CHECKING:
    from trainables.fused.program import Program
    from trainables.run import Run
    from trainables.telemetry import Meter


class Pack:
    """Runs trained side by side in one process, each with its own settings, seeds, data and place in its own schedule.

    Each run stays what it is alone: ``state`` saves it, in its own format, at any epoch's end, and it goes on from there in a pack
    or by itself. A pack holds the runs' tensors as rows; it ends when one of them leaves or another joins, and a new one takes
    over, with the same ``program``. In double precision, and without dropout, all runs' numbers are those they have alone.

    The runs are fit for a pack (``unfit``, ``unfit_run``, ``refused``), none has had its last epoch, and all are between two
    epochs. Raises ValueError where their ``structure`` or their ``shapes`` differ, naming where.
    """

    def __init__(self, runs: Sequence[Run], program: Program, meter: Meter) -> None:
        self.runs, self._program, self._meter = list(runs), program, meter
        first = self.runs[0]
        if (apart := next(differences(self.runs), None)) is not None:
            raise ValueError(apart)
        if not program.fits(first.module, common(first.loss)):
            raise ValueError("the program was made for another module or loss; make one of this pack's first run")
        names = [name for name, parameter in first.module.named_parameters() if parameter.requires_grad]
        self._rows = Rows([run.module for run in self.runs], names)
        self._average = self._averaging()
        self._rule = rule_of(self._rows, [run.optimizer for run in self.runs])
        clips = [run.recipe.clip for run in self.runs if run.recipe.clip is not None]
        self._clip = limit_of(self._rows, clips) if clips else None
        self._noisy = any(run.recipe.noise is not None for run in self.runs)
        self._own = settings([run.loss for run in self.runs], self._rows.flat)
        self._loss = common(first.loss)
        self._feed, self._passes = Feed(self.runs, once=program.reads_only), Passes(self.runs, program)
        self._rates: dict[str, Tensor] = {}
        self._even: dict[torch.Size, tuple[Tensor, Tensor]] = {}

    def __len__(self) -> int:
        return len(self.runs)

    def epoch(self) -> list[Epoch]:
        """Train every run for an epoch and validate it: what ``fit`` would yield of each, in the order of the runs.

        Seconds are nobody's and absent. What the pack has used of the processor is shared out evenly, and each row says among how
        many (``shared``).
        """
        for run in self.runs:
            run.begin_epoch()
        first = self.runs[0]
        self._program.follow(first.module, idle=self._drop())
        with self._meter.phase("train"), arithmetic(first.recipe), self._drawing():
            trained = self._train()
        with self._meter.phase("validate"), arithmetic(first.recipe):
            metrics = [{**own, **values} for own, values in zip(trained, self._validated(), strict=True)]
            improved = [run.improves(values) for run, values in zip(self.runs, metrics, strict=True)]
            asked = [better and run.tested for run, better in zip(self.runs, improved, strict=True)]
            for values, tested in zip(metrics, self._tested(asked), strict=True):
                values |= tested
        used = self._meter.used()
        self._rule.settle()
        return [
            self._ended(run, values, better, used)
            for run, values, better in zip(self.runs, metrics, improved, strict=True)
        ]

    def _averaging(self) -> RowAverage | None:
        averages = [run.average for run in self.runs]
        exponential = [average for average in averages if isinstance(average, Exponential)]
        return RowAverage(exponential, self._rows) if len(exponential) == len(averages) else None

    def _drop(self) -> set[str]:
        """Take the rates of dropout that each member's layers have in this epoch; the layers that drop nothing in any of them."""
        idle = set()
        for name in self._program.dropping:
            rates = [run.module.get_submodule(name).p for run in self.runs]
            self._rates[join(name, "p")] = torch.tensor(rates, dtype=torch.float64, device=self._rows.flat.device)
            if not any(rates):
                idle.add(name)
        return idle

    @contextmanager
    def _drawing(self) -> Iterator[None]:
        """Torch's generators for what is drawn for all members at once."""
        first = self.runs[0]
        seeds = [str(part) for run in self.runs for part in (run.seeds.order, run.epoch)]
        with seeded(first.device, "pack", *seeds):
            yield

    def _train(self) -> list[dict[str, float]]:
        """One pass over every member's training set, in the order of ``fit``: gradient, clip, noise, schedule, step, average."""
        members, rows, first = len(self), self._rows, self.runs[0]
        losses, norms = (torch.zeros(members, dtype=torch.float64, device=rows.flat.device) for _ in range(2))
        weights: Tensor | float = 0.0
        schedule = Schedules(self.runs, anew=isinstance(self._rule, OneByOne))
        held, steps, samples = {**rows.held, **self._rates}, 0, 0
        for batch in self._feed.batches(self.runs, first.plan.batch_size):
            counted, scale = self._counted(batch[-1])
            summed, gradient = self._program.gradient(rows, batch, scale=scale, held=held, own=self._own)
            losses += summed
            weights = weights + counted
            with torch.no_grad():
                if self._clip is not None:
                    norms += self._clip(gradient)
                if self._noisy:
                    self._disturb(gradient)
                schedule.step()
                self._rule.step(gradient)
                if self._average is not None:
                    self._average.update()
            steps, samples = steps + 1, samples + batch[-1].shape[1]
            for run in self.runs:
                run.step += 1
        for run in self.runs:
            run.samples += samples
            run.tally.steps = run.tally.batches = steps
        means = (losses / torch.as_tensor(weights).where(torch.as_tensor(weights) > 0, 1.0)).tolist()
        trained = [{"train/loss": mean} for mean in means]
        if self._clip is not None:
            for values, norm in zip(trained, norms.tolist(), strict=True):
                values["train/grad_norm"] = norm / steps
        return trained

    def _counted(self, targets: Tensor) -> tuple[Tensor, Tensor]:
        """What each member's mean is divided by, [K], and what its sum is multiplied by instead, in the rows' type."""
        if targets.shape in self._even:
            return self._even[targets.shape]
        alike = each(self._loss, targets[0])
        if alike is not None:
            counted = torch.full((len(self),), alike * targets.shape[1], dtype=torch.float64, device=targets.device)
        else:
            counted = torch.stack([weight(self._loss, target) for target in targets])
        found = counted, (1 / counted.where(counted > 0, 1.0)).to(self._rows.flat)
        if alike is not None:
            self._even[targets.shape] = found
        return found

    def _disturb(self, gradient: Tensor) -> None:
        """Each member's noise, as it would draw it alone."""
        for member, run in enumerate(self.runs):
            if run.recipe.noise is not None:
                self._rows.point(member, gradient)
                run.recipe.noise(run.parameters, run.step, run.seeds.order)
                self._rows.take(member, gradient)
                run.optimizer.zero_grad()

    def _validated(self) -> list[dict[str, float]]:
        """A full pass of the members whose policy asks for one."""
        for run in self.runs:
            if run.average is not None:
                run.average.epoch_ended(run.epoch, run.plan.epochs, partial(inputs, run))
        wanted = [
            due(run.recipe.validation, run.epoch, run.plan.epochs, run.history, run.task.goal) for run in self.runs
        ]
        found: list[dict[str, float]] = [{} for _ in self.runs]
        if not any(wanted):
            return found
        for name in sets(self.runs[0]):
            for values, measured in zip(found, self._over(name), strict=True):
                values |= measured
        if self.runs[0].average is not None:
            for values, measured in zip(found, self._over("val", raw=True), strict=True):
                values |= measured
        return [values if want else {} for values, want in zip(found, wanted, strict=True)]

    def _tested(self, asked: Sequence[bool]) -> list[dict[str, float]]:
        """The test set for the members that are better than ever, and that it is asked of."""
        if not any(asked):
            return [{} for _ in self.runs]
        return [values if own else {} for values, own in zip(self._over("test"), asked, strict=True)]

    def _over(self, name: str, *, raw: bool = False) -> list[dict[str, float]]:
        if self.runs[0].average is not None and self._average is None and not raw:
            return self._passes.one_by_one(name)  # averages that lie in no rows
        rows = self._rows if raw or self._average is None else self._average.rows
        return self._passes.over(name, rows, {**rows.held, **self._rates}, self._own, raw=raw)

    def _ended(self, run: Run, metrics: dict[str, float], improved: bool, used: Mapping[str, float]) -> Epoch:
        """What ``fit`` would yield, with its row in the history."""
        row: dict[str, Any] = {"epoch": run.epoch, "step": run.step}
        if run.rate is not None:
            row["dropout"] = run.rate
        row |= {"samples": run.samples, "lr": run.lr, **shared(run, used, len(self)), "time": time.time(), **metrics}
        run.history.append(row)
        return Epoch(
            epoch=run.epoch,
            step=run.step,
            samples=run.samples,
            metrics=metrics,
            lr=run.lr,
            seconds={},
            improved=improved,
            run=run,
        )
