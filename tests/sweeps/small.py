"""A small sweep, run as a script by the tests: two levels, a searched learning rate.

Every epoch takes at least ``EPOCH_SECONDS`` where that is set, so that a test can interrupt it in mid-trial.
"""

from __future__ import annotations

import os
import time
from typing import Any

import torch

from sweeps import ASHA, TPE, Sweep, each, log_uniform, main
from tests.trainables.small import clusters
from trainables import FP64, SGD, Cosine, Maximise, Recipe, Task, accuracy
from trainables.models import MLP


def slow_accuracy(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    time.sleep(float(os.environ.get("EPOCH_SECONDS", "0")))
    return accuracy(output, target)


task = Task(
    name="clusters",
    data=clusters,
    metrics={"accuracy": slow_accuracy},
    goal=Maximise("accuracy", target=0.6),
    samples=61,
)


def small(**changes: Any) -> Sweep:
    settings: dict[str, Any] = {
        "name": "small",
        "task": task,
        "recipe": Recipe(
            model=MLP(widths=(8,)),
            batch_size=each(8, 32),
            optimizer=SGD(lr=log_uniform(1e-3, 1.0), momentum=0.9),
            schedule=Cosine(warmup=0.1),
            precision=FP64(),
            epochs=9,
        ),
        "search": TPE(trials=5),
        "early_stop": ASHA(grace=2, factor=3),
        "seeds": 6,
    }
    return Sweep(**settings | changes)


sweep = small()

if __name__ == "__main__":
    main(sweep)
