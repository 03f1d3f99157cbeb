"""What is compared, each by its name; as a script, runs one of them.

python -m benchmarks.variants NAME TRIALS MARKS SCRATCH
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks import ours, stock
from benchmarks.trial import SMALL

Run = Callable[[int, Path, Path], None]
"""Runs so many trials, marks the end of each in the first path, and keeps its files in the second."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """A way to run trials. ``ordered`` draws the samples in the product's order, so that its losses are the product's too.

    ``pack`` trials end together: all until the first of them have ended is start.
    """

    name: str
    says: str
    trials: int
    run: Run
    ordered: bool = True
    pack: int = 1


PACK = 64
"""Trials of the lane fused that are trained at once."""

VARIANTS = (
    Variant(name="optuna", says="Optuna alone, one process", trials=20, run=stock.optuna_alone),
    Variant(name="stock_function", says="Ray Tune, function", trials=8, run=stock.tune_function),
    Variant(
        name="stock_trainer_1",
        says="Ray Tune + TorchTrainer, 1 worker",
        trials=3,
        run=partial(stock.tune_trainer, workers=1),
        ordered=False,
    ),
    Variant(
        name="stock_trainer_2",
        says="Ray Tune + TorchTrainer, 2 workers",
        trials=3,
        run=partial(stock.tune_trainer, workers=2),
        ordered=False,
    ),
    Variant(name="solo", says="lane solo", trials=40, run=partial(ours.lane, name="solo")),
    Variant(name="gang_1", says="lane gang, 1 worker", trials=3, run=partial(ours.lane, name="gang", workers=1)),
    Variant(name="gang_2", says="lane gang, 2 workers", trials=3, run=partial(ours.lane, name="gang", workers=2)),
    Variant(name="crew", says="lane crew, 2 workers", trials=24, run=partial(ours.lane, name="crew", workers=2)),
    Variant(
        name="optuna_small",
        says="Optuna alone, 5 k parameters",
        trials=20,
        run=partial(stock.optuna_alone, kind=SMALL),
    ),
    Variant(
        name="stock_function_small",
        says="Ray Tune, function, 5 k parameters",
        trials=8,
        run=partial(stock.tune_function, kind=SMALL),
    ),
    Variant(
        name="fused",
        says="lane fused, 5 k parameters",
        trials=4 * PACK + 1,
        run=partial(ours.packs, size=PACK, tracked=True),
        pack=PACK,
    ),
    Variant(
        name="fused_untracked",
        says="the same without MLflow",
        trials=4 * PACK + 1,
        run=partial(ours.packs, size=PACK, tracked=False),
        pack=PACK,
    ),
)

DRIVER = Variant(
    name="driver", says="the driver, empty trials", trials=1000, run=partial(ours.empty, tracked=True), ordered=False
)
UNTRACKED = Variant(
    name="driver_untracked",
    says="the driver, empty trials, no MLflow",
    trials=1000,
    run=partial(ours.empty, tracked=False),
    ordered=False,
)

KEPT = (
    Variant(name="kept", says="many epochs of empty trials", trials=2000, run=partial(ours.kept, tracked=True)),
    Variant(name="kept_untracked", says="the same without MLflow", trials=2000, run=partial(ours.kept, tracked=False)),
)
"""What ``benchmarks.keeping_up`` runs."""


if __name__ == "__main__":
    name, trials, marks, scratch = sys.argv[1:]
    (chosen,) = (variant for variant in (*VARIANTS, DRIVER, UNTRACKED, *KEPT) if variant.name == name)
    chosen.run(int(trials), Path(marks), Path(scratch))
