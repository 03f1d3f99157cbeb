"""What does it save to keep freed memory? Steps of a loop by hand, with and without what ``trainables.heap`` asks of glibc.

    python -m benchmarks.heap [--json] [--rounds N] [--only NAME…] [--quick]

Each measurement is a process of its own on one thread, since what is asked holds for all of it; with and without take turns. Pages
are those that the kernel had to hand out, cleared, in a step.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))  # run by its path, Python looks beside this file alone

from benchmarks.conditions import (  # noqa: E402
    apart,
    cell,
    environment,
    invocation,
    machine,
    natural,
    say,
    under,
    versions,
)
from benchmarks.figures import Spread, sides  # noqa: E402
from trainables.heap import SETTINGS  # noqa: E402

if TYPE_CHECKING:
    from torch import nn

ROUNDS, WARM, STEPS = 5, 5, 30

Work = tuple[Callable[[], "nn.Module"], tuple[int, ...]]
"""A network, and the shape of a batch."""


def _perceptron() -> nn.Module:
    from torch import nn

    return nn.Sequential(nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10))


def _convolutions(width: int) -> nn.Module:
    from torch import nn

    first, second = nn.Conv2d(3, width, 3, padding=1), nn.Conv2d(width, 32, 3, padding=1)
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), *head)


def _transformer() -> nn.Module:
    from torch import nn

    layer = nn.TransformerEncoderLayer(64, 4, 256, dropout=0.0, batch_first=True)
    return nn.Sequential(nn.Linear(16, 64), nn.TransformerEncoder(layer, 2), nn.Flatten(), nn.Linear(64 * 32, 10))


WORKS: Mapping[str, tuple[str, Work]] = {
    "mlp": ("784-512-512-10 perceptron, batch 512", (_perceptron, (512, 784))),
    "cnn": ("CNN, 32 and 32 channels of 32 x 32, batch 64", (lambda: _convolutions(32), (64, 3, 32, 32))),
    "cnn_wide": ("CNN, 64 and 32 channels of 32 x 32, batch 160", (lambda: _convolutions(64), (160, 3, 32, 32))),
    "transformer": ("transformer, width 64, 32 steps, batch 64", (_transformer, (64, 32, 16))),
}


def measured(name: str, steps: int, *, held: bool) -> dict[str, float]:
    """CPU-milliseconds and pages of a step in this process, and the bytes that it holds at its most."""
    import resource
    import time

    import torch
    from torch.nn import functional

    from trainables.heap import hold

    if held and not hold():
        raise RuntimeError(f"nothing can be held here: this needs glibc, and none of {', '.join(SETTINGS)} set")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    make, shape = WORKS[name][1]
    module, inputs, target = make(), torch.randn(*shape), torch.randint(10, shape[:1])
    optimizer = torch.optim.AdamW(module.parameters(), fused=True)

    def step() -> None:
        optimizer.zero_grad()
        functional.cross_entropy(module(inputs), target).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    for _ in range(WARM):
        step()
    pages, begun = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, time.process_time()
    for _ in range(steps):
        step()
    used, after = time.process_time() - begun, resource.getrusage(resource.RUSAGE_SELF)
    return {
        "milliseconds": 1e3 * used / steps,
        "pages": (after.ru_minflt - pages) / steps,
        "peak_bytes": 1024.0 * after.ru_maxrss,
    }


def main(arguments: Sequence[str]) -> int:
    """Measure, and print a table or one JSON object; the exit status comes back."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.heap", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--rounds", type=natural, metavar="N", help=f"turns of each ({ROUNDS}; with --quick 1)")
    parser.add_argument(
        "--only", nargs="+", choices=WORKS, default=[*WORKS], metavar="NAME", help=f"of {', '.join(WORKS)}"
    )
    parser.add_argument("--quick", action="store_true", help="one turn of 3 steps: shows that it works")
    options = parser.parse_args(arguments)
    rounds, steps = options.rounds or (1 if options.quick else ROUNDS), 3 if options.quick else STEPS
    loads = [os.getloadavg()[0]]
    settings = {key: value for key, value in environment().items() if key not in SETTINGS}
    works = {}
    for name in options.only:
        turns = []
        for number in range(rounds):
            say(f"{name}: round {number + 1} of {rounds} …")
            calls = [f"measured({name!r}, {steps}, held={held})" for held in (False, True)]
            turns.append([apart("benchmarks.heap", call, settings) for call in calls])
        works[name] = _described(WORKS[name][0], turns)
    loads.append(os.getloadavg()[0])
    result = {
        "meaning": "CPU time of a step by hand where freed memory is kept, over that where it is not, in the same turn",
        "works": works,
        "rounds": rounds,
        "steps": steps,
        "threads": 1,
        "command": invocation("benchmarks.heap", arguments),
        "machine": machine(loads),
        "versions": versions(("torch",)),
    }
    print(json.dumps(result, indent=1, allow_nan=False)) if options.json else _show(result)
    return 0


def _described(says: str, turns: Sequence[Sequence[Mapping[str, float]]]) -> dict[str, Any]:
    """The turns of one network: without and with."""
    ratio = Spread.of(held["milliseconds"] / plain["milliseconds"] for plain, held in turns)
    return {"says": says, "ratio": ratio.to_json(), **sides(turns, ("without", "with"))}


def _show(result: Mapping[str, Any]) -> None:
    for work in result["works"].values():
        without, held = work["without"], work["with"]
        print(
            f"{work['says']}: {cell(work['ratio'])} of the CPU time; {cell(without['milliseconds'])} -> "
            f"{cell(held['milliseconds'])} ms a step, {without['pages']['median']:,.0f} -> {held['pages']['median']:,.0f} pages, "
            f"{without['peak_bytes']['median'] / 1e6:,.0f} -> {held['peak_bytes']['median'] / 1e6:,.0f} MB at the most"
        )
    print(under(result["machine"], result["versions"]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
