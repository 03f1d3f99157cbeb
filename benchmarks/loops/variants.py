"""The loops that are compared, each by its name; as a script, runs one of them and prints what it used.

python -m benchmarks.loops.variants NAME WORK EPOCHS
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


def main(name: str, work: str, epochs: int) -> None:
    """Run one, and print CPU and wall time at each epoch's end, and the scores, as a line of JSON."""
    import torch

    torch.set_num_threads(1)
    (chosen,) = (variant for variant in VARIANTS if variant.name == name)
    (asked,) = (one for one in WORKS if one.name == work)
    laps: list[tuple[float, float]] = []
    scores = chosen.loop()(asked, epochs, lambda: laps.append((time.process_time(), time.monotonic())))
    cpu, seconds = zip(*laps, strict=True)
    print(json.dumps({"cpu": cpu, "seconds": seconds, "scores": asdict(scores)}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
