"""Do ledger, MLflow and page keep up with thousands of short trials? CPU time a metric point, and the driver's memory.

    python -m benchmarks.keeping_up [--json] [--trials N] [--untracked] [--quick]

A real sweep in the lane of packs whose trials hardly train, 20 epochs of one step, so that what is left is the driver: Ray Tune,
the race, the ledger, the table and MLflow, until all is written. Then the page is written from its folder, by a process of its
own. A point is one of the five metrics of an epoch. Imports and the start of Ray are not counted, nor is the first tenth of the
trials in the driver's figures.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))  # run by its path, Python looks beside this file alone

from benchmarks.conditions import environment, invocation, machine, natural, say, under, versions  # noqa: E402
from benchmarks.ours import KEPT_EPOCHS  # noqa: E402

TRIALS, QUICK_TRIALS = 2000, 40
METRICS = 5
"""Of an epoch: loss and learning rate in training, loss and accuracy in validation, and samples seen."""

GOAL_MILLISECONDS = 1.0
"""Of CPU a point, driver and page together."""

LIBRARIES = ("ray", "torch", "mlflow")


def main(arguments: Sequence[str]) -> int:
    """Measure, and print a table or one JSON object; the exit status comes back."""
    options = _options(arguments)
    loads = [os.getloadavg()[0]]
    with tempfile.TemporaryDirectory(prefix="regatta-bench-") as name:
        scratch = Path(name)
        marks, files = scratch / "marks", scratch / "files"
        say(f"{options.trials} trials of {KEPT_EPOCHS} epochs …")
        begun = time.monotonic()
        variant = "kept_untracked" if options.untracked else "kept"
        _called("benchmarks.variants", variant, str(options.trials), str(marks), str(files))
        seconds = time.monotonic() - begun
        lines = [json.loads(line) for line in marks.read_text().splitlines()]
        folder = files / "trial_cost"
        say("the page …")
        page = _called("reports", str(folder))
        written = {path.name: path.stat().st_size for path in sorted(folder.iterdir()) if path.is_file()}
    points = METRICS * KEPT_EPOCHS * len(lines)
    counted = lines[len(lines) // 10 :]
    more = METRICS * KEPT_EPOCHS * (len(counted) - 1)
    driver = 1e3 * (counted[-1]["process_cpu"] - counted[0]["process_cpu"]) / more
    result = {
        "meaning": "CPU milliseconds a metric point; the driver is one process with all of its threads",
        "trials": len(lines),
        "epochs": KEPT_EPOCHS,
        "points": points,
        "driver": driver,
        "page": 1e3 * page / points,
        "whole": driver + 1e3 * page / points,
        "goal": {"at_most": GOAL_MILLISECONDS, "met": driver + 1e3 * page / points <= GOAL_MILLISECONDS},
        "tracked": not options.untracked,
        "page_cpu_seconds": page,
        "seconds": seconds,
        "driver_cpu_milliseconds_a_trial_by_tenth": [1e3 * cost for cost in _by_tenth(lines, "process_cpu")],
        "driver_megabytes_after_each_tenth": [lines[end]["process_rss"] / 1e6 for end in _ends(lines)],
        "file_bytes": written,
        "command": invocation("benchmarks.keeping_up", options.given),
        "machine": machine([*loads, os.getloadavg()[0]]),
        "versions": versions(LIBRARIES),
    }
    print(json.dumps(result, indent=1, allow_nan=False)) if options.json else _show(result)
    return 0


def _called(*command: str) -> float:
    """Run a module in a process of its own; the CPU-seconds of all that it waited for come back.

    Raises SystemExit, with the end of what it said, when it fails.
    """
    before = _children()
    done = subprocess.run(
        [sys.executable, "-m", *command], capture_output=True, text=True, env=environment(), cwd=ROOT, check=False
    )
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} ended with status {done.returncode}:\n{done.stderr[-3000:]}")
    return _children() - before


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _ends(lines: Sequence[Any]) -> list[int]:
    """The last trial of each tenth."""
    return [round(part * (len(lines) - 1) / 10) for part in range(1, 11)]


def _by_tenth(lines: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    """What each tenth of the trials added a trial."""
    return [(lines[end][name] - lines[begin][name]) / (end - begin) for begin, end in pairwise([0, *_ends(lines)])]


def _show(result: Mapping[str, Any]) -> None:
    """The figures in a few lines."""
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    console.print(f"{result['trials']} trials of {result['epochs']} epochs, {result['points']} metric points")
    verdict = "met" if result["goal"]["met"] else "missed"
    console.print(
        f"{result['whole']:.3g} CPU-ms a point: driver {result['driver']:.3g}, page {result['page']:.3g}; "
        f"goal at most {result['goal']['at_most']:g}: {verdict}"
    )
    for name in ("driver_cpu_milliseconds_a_trial_by_tenth", "driver_megabytes_after_each_tenth"):
        console.print(f"{name.replace('_', ' ')}: {', '.join(f'{value:.0f}' for value in result[name])}")
    console.print(under(result["machine"], result["versions"]))


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.keeping_up",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    parser.add_argument("--trials", type=natural, metavar="N", help=f"trials ({TRIALS}; with --quick {QUICK_TRIALS})")
    parser.add_argument("--untracked", action="store_true", help="without MLflow")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_TRIALS} trials: shows that it works")
    options = parser.parse_args(arguments)
    options.trials = options.trials or (QUICK_TRIALS if options.quick else TRIALS)
    options.given = [*arguments]
    return options


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
