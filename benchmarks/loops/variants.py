"""The loops that are compared, each by its name; as a script, runs one of them an epoch at a time, as it is told.

python -m benchmarks.loops.variants NAME WORK EPOCHS

After the warm-up, and after each further epoch, it prints ``LAP`` with CPU and wall seconds of the epoch, and waits for a line; at
the end it prints ``SCORES`` with what it came to.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

from benchmarks.loops.work import WORKS, Lap, Scores, Work

Run = Callable[[Work, int, Lap], Scores]
"""Trains so many epochs, each followed by a call of the last argument."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """A loop: the module whose ``run`` it is, and the package that it needs beside torch."""

    name: str
    says: str
    module: str
    package: str | None = None

    @property
    def installed(self) -> bool:
        """True where its package is there."""
        return self.package is None or importlib.util.find_spec(self.package) is not None

    def loop(self) -> Run:
        """The loop itself, with all that it imports."""
        found: Run = importlib.import_module(self.module).run
        return found


BARE = Variant(name="bare", says="by hand, torch's best parts", module="benchmarks.loops.bare")
OURS = Variant(name="ours", says="trainables.fit", module="benchmarks.loops.ours")
PEERS = (
    Variant(name="fabric", says="Lightning Fabric", module="benchmarks.loops.fabric", package="lightning"),
    Variant(name="lightning", says="Lightning Trainer", module="benchmarks.loops.trainer", package="lightning"),
    Variant(name="accelerate", says="Accelerate", module="benchmarks.loops.accelerated", package="accelerate"),
)
VARIANTS = (BARE, OURS, *PEERS)

WARM = 2
"""Epochs before the first word."""

LAP, SCORES = "lap:", "scores:"


class Laps:
    """Called at each epoch's end: tells what the epoch used, and waits to be told to go on."""

    def __init__(self) -> None:
        self._ended = 0
        self._cpu, self._wall = time.process_time(), time.monotonic()

    def __call__(self) -> None:
        """An epoch has ended."""
        used = [time.process_time() - self._cpu, time.monotonic() - self._wall]
        self._ended += 1
        if self._ended >= WARM:
            print(LAP, json.dumps(used), flush=True)
            sys.stdin.readline()
        self._cpu, self._wall = time.process_time(), time.monotonic()


def main(name: str, work: str, epochs: int) -> None:
    """Run one: ``WARM`` epochs, and ``epochs`` more."""
    import torch

    torch.set_num_threads(1)
    (chosen,) = (variant for variant in VARIANTS if variant.name == name)
    (asked,) = (one for one in WORKS if one.name == work)
    scores = chosen.loop()(asked, WARM + epochs, Laps())
    print(SCORES, json.dumps(asdict(scores)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
