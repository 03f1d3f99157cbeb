"""What it takes to draw the order of ten million samples, each way in a process of its own.

python -m benchmarks.sources.orders NAME SAMPLES BATCH
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

SAMPLES, BATCH = 10_000_000, 256

FULL = "full"


def full(samples: int) -> Iterable[Tensor]:
    """All indices at once, as the plain path draws them."""
    import torch

    from trainables.seeds import generator

    return [torch.randperm(samples, generator=generator(0, 1))]


def sampler(samples: int) -> Iterator[Tensor]:
    """What ``DataLoader(shuffle=True)`` iterates over: numbers of Python's."""
    import torch
    from torch.utils.data import RandomSampler

    drawn = iter(RandomSampler(range(samples), generator=torch.Generator().manual_seed(1)))
    block: list[int] = []
    for index in drawn:
        block.append(index)
        if len(block) == BATCH:
            yield torch.tensor(block)
            block = []
    if block:
        yield torch.tensor(block)


def chunked(chunk: int, pieces: int) -> Callable[[int], Iterator[Tensor]]:
    """A chunk at a time."""

    def order(samples: int) -> Iterator[Tensor]:
        from trainables import Chunked

        return Chunked(chunk=chunk, pieces=pieces).order(samples, 0, 1)

    return order


ORDERS: dict[str, tuple[str, Callable[[int], Iterable[Tensor]]]] = {
    FULL: ("torch.randperm", full),
    "sampler": ("torch RandomSampler, what DataLoader shuffles by", sampler),
    "chunked": ("chunks of 65,536 out of 1,024 runs", chunked(65_536, 1024)),
    "chunked_64": ("chunks of 65,536 out of 64 runs", chunked(65_536, 64)),
    "chunked_1": ("chunks of 10,000 neighbours, in random order", chunked(10_000, 1)),
}


def main(name: str, samples: int, batch: int) -> None:
    """Draw the order twice: for what it takes, then to see how random it is."""
    import torch

    from trainables.data.randomness import Randomness

    torch.set_num_threads(1)
    order = ORDERS[name][1]
    for _ in order(1000):
        pass
    before = _reset()
    begun, used = time.perf_counter(), time.process_time()
    drawn = sum(len(block) for block in order(samples))
    cpu, seconds = time.process_time() - used, time.perf_counter() - begun
    peak = _status("VmHWM") - before
    assert drawn == samples
    random = Randomness.of(order(samples), samples, batch)
    print(json.dumps({"cpu_seconds": cpu, "seconds": seconds, "peak_bytes": max(0, peak), **asdict(random)}))


def _reset() -> int:
    """Forget the process's peak so far; the bytes that it holds now."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(name))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
