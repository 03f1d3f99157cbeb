"""The batch-size tuner: how many samples fit at once, from how many on more bring nothing, and what shapes alone say of it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from trainables.batch_limit import ASKED, WHOLE, BatchLimit, batch_limit
from trainables.batch_trials import Source, Trials, available
from trainables.errors import ConflictError
from trainables.footprint import Footprint, footprint
from trainables.throughput import Knee, knee


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchTuner:
    """How batches are tried: doubled from ``first`` up to ``largest`` samples at once (None: the training set as a whole).

    ``memory_bytes`` is what a worker may take: beyond what libraries and data take on a CPU, in all on a GPU; None is what is free,
    on a CPU an equal part of it for each worker. ``workers`` is how many share a step, each with a batch of its own. Throughput is
    measured in ``rounds`` rounds of about ``seconds`` for each batch; a batch counts as good as the best where it comes ``within``
    this share of it. An attempt that took longer than ``patience`` seconds is the last one upwards.
    """

    first: int = 8
    largest: int | None = None
    memory_bytes: int | None = None
    workers: int = 1
    rounds: int = 6
    seconds: float = 0.1
    within: float = 0.05
    patience: float = 60.0

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        for name in ("first", "largest", "memory_bytes", "workers", "rounds"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
                yield f"BatchTuner {name} {value} must be a whole number from 1"
        for name in ("seconds", "patience"):
            if not 0 < getattr(self, name) < math.inf:
                yield f"BatchTuner {name} {getattr(self, name)} must be above 0 and finite"
        if not 0 < self.within < 1:
            yield f"BatchTuner within {self.within} must lie between 0 and 1; 0.05 is usual"


@dataclass(frozen=True, kw_only=True, slots=True)
class Tuned:
    """The answer: ``batch`` samples at once for each of ``workers``, 0 where not one fits, with the reasons.

    ``memory_bytes`` is what a worker could take. ``knee`` is None where nothing fits, or
    memory ended while it was measured. ``estimated`` is how many samples shapes alone let fit; None where that has no end.
    """

    batch: int
    workers: int
    device: str
    memory_bytes: int
    limit: BatchLimit
    knee: Knee | None
    footprint: Footprint
    estimated: int | None

    @property
    def effective(self) -> int:
        """Samples of a step over all workers, without accumulation."""
        return self.batch * self.workers

    @property
    def error(self) -> float | None:
        """How far the estimate lies from the measured end of memory, as a share of it; None where memory did not end."""
        if self.estimated is None or not self.limit.ended or not self.limit.most:
            return None
        return self.estimated / self.limit.most - 1

    def says(self) -> str:
        """The outcome as a sentence."""
        if not self.batch:
            return f"Nothing can be trained: {self.limit.reason}. Give more memory, or take recompute=(…), or a smaller model."
        why = [self.limit.reason]
        if self.knee is not None:
            timed = self.knee.paces[-1].batch
            why += [f"{self.limit.batch} fits by itself, not beside others"] if timed < self.limit.batch else []
            why.append(self.knee.says())
        else:
            why.append("memory ended whenever batches were timed beside each other")
        whole = f", {self.effective} over {self.workers} workers" if self.workers > 1 else ""
        return f"Take {self.batch} samples at once{whole}: {'; '.join(why)}."

    def estimate_says(self) -> str:
        """The estimate from shapes, and how far it was off, as a sentence."""
        how = "a few samples that were run" if self.footprint.computed else "shapes alone, nothing run"
        if self.estimated is None:
            return f"By {how}, no end of memory can be told."
        told = f"By {how}, {self.estimated} samples fit"
        if self.error is not None:
            return f"{told}: {100 * self.error:+.0f} % of the {self.limit.most} measured."
        if not self.limit.most:
            return f"{told}, and not one was seen to."
        if self.estimated >= self.limit.most:
            return f"{told}; {self.limit.most} were seen to fit, and memory did not end."
        return f"{told}, and {self.limit.most} were seen to: it is too low by at least {1 - self.estimated / self.limit.most:.0%}."


DEFAULT = BatchTuner()


def tune(source: Source, settings: BatchTuner = DEFAULT, *, device: str = "cpu") -> Tuned:
    """Find the batch for the task and recipe that ``source`` gives, such as ``Given(task, recipe)``.

    Steps are the recipe's own, in another process (spawned: a script of one's own needs its ``if __name__ == "__main__"``); looking
    up and augmenting samples is not in them. Raises ConflictError for settings, a task or a recipe that cannot be run.
    """
    import torch

    conflicts = list(settings.conflicts())
    if conflicts:
        raise ConflictError("batch tuner", conflicts)
    from trainables.data.source import count
    from trainables.stepping import untouched

    task, recipe = source()
    with untouched():
        splits = task.load(recipe.seeds.split)
    shape = footprint(task, recipe, splits=splits, device=device)
    memory = settings.memory_bytes if settings.memory_bytes is not None else _free(device, settings.workers)
    largest, last = (settings.largest, ASKED) if settings.largest is not None else (count(splits.train), WHOLE)
    threads = torch.get_num_threads()
    with Trials(source, device=device, limit=memory, threads=threads) as trials:
        found = batch_limit(
            trials.attempt, first=settings.first, largest=largest, patience=settings.patience, last=last
        )
        sizes = _sizes(found, settings.first)
        while sizes:
            rates = trials.paced(sizes, rounds=settings.rounds, seconds=settings.seconds)
            if rates:
                break
            sizes = sizes[:-1]  # it fitted alone, and does not among the others
        pace = knee(rates, within=settings.within) if sizes else None
    return Tuned(
        batch=pace.batch if pace is not None else found.batch,
        workers=settings.workers,
        device=device,
        memory_bytes=memory,
        limit=found,
        knee=pace,
        footprint=shape,
        estimated=shape.largest(memory) if shape.sample > 0 else None,
    )


def _sizes(found: BatchLimit, first: int) -> list[int]:
    """Powers of two from ``first``, or from the largest that fits where that is less, up to it."""
    if not found.batch:
        return []
    begin = min(1 << (first.bit_length() - 1), found.batch)
    return [begin << power for power in range((found.batch // begin).bit_length())]


def _free(device: str, workers: int) -> int:
    """Bytes that a worker may take where nothing is said; on a CPU all of them share what is free."""
    import torch

    return int(torch.cuda.mem_get_info(device)[0]) if torch.device(device).type == "cuda" else available() // workers
