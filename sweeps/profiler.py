"""Where does the time of a step go? Trains each compared level for a few epochs and times them phase by phase.

python -m sweeps.profiler sweeps/batch_size.py
python -m sweeps.profiler sweeps/batch_size.py --level 64 --epochs 5 --trace trace.json

The first epoch warms up and is not counted. A trace shows every operation of some steps in ui.perfetto.dev or chrome://tracing.
Nothing of a run of the sweep is touched. To time a sweep's own trials: Sweep(profile=Profile()).
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sweeps import instrument
from sweeps import options as command_line
from sweeps.engine.errors import QuestionError
from sweeps.engine.spec import Sweep
from trainables import Profile
from trainables.profiler.measured import EPOCHS, profile

if TYPE_CHECKING:
    from trainables.profiler import Profiled
    from trainables.task import Splits

NUMBERS = "profile.json"

STEPS = 5
"""Steps of a trace, unless more are asked for: each holds thousands of events."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Profile each level, print the tables; the exit status comes back."""
    own, rest = _parser().parse_known_args(sys.argv[1:] if arguments is None else arguments)
    return instrument.answered(own, rest, "profiler", lambda sweep, options: _answer(sweep, options, own))


def _answer(sweep: Sweep, options: command_line.Options, own: argparse.Namespace) -> None:
    from rich.console import Console

    from reports import profile as shown
    from trainables.slate import clean

    if own.steps is not None and own.trace is None:
        raise QuestionError(f"--steps {own.steps[0]}-{own.steps[1]} are those of a trace; name its file by --trace")
    levels = instrument.configurations(sweep, own.level)
    if own.trace is not None and len(levels) > 1:
        raise QuestionError(
            f"--trace is of one level; name it by --level: {', '.join(level.label for level in levels)}"
        )
    if own.trace is not None and not own.trace.parent.is_dir():
        raise QuestionError(
            f"--trace {own.trace}: there is no folder {own.trace.parent}; make it, or name another file"
        )
    if own.trace is not None and own.trace.is_dir():
        raise QuestionError(f"--trace {own.trace} is a folder; name a file in it, such as {own.trace / 'trace.json'}")
    place, where = instrument.folder(options, sweep, own.out), instrument.device(sweep)
    splits = sweep.task.load(levels[0].recipe.seeds.split)
    console = Console()
    found: dict[str, Profiled] = {}
    epochs = options.epochs or EPOCHS
    for level in levels:
        clean(sweep.resources.cpus, "profile")
        found[level.label] = profile(
            sweep.task,
            level.recipe,
            epochs=epochs,
            settings=_settings(level, splits, own, epochs),
            trace=own.trace,
            splits=splits,
            device=where,
            keep=sweep.keep,
            place=place,
        )
        numbers = found[level.label].to_json()
        console.print(shown.table(level.label, numbers))
        for line in shown.lines(numbers):
            console.print(line, highlight=False, soft_wrap=True)  # a path must be one word
        console.print()
    if own.trace is not None and all(each.trace is None for each in found.values()):
        raise QuestionError(f"--trace {own.trace} could not be written; name another file")
    instrument.store(place / NUMBERS, {name: each.to_json() for name, each in found.items()})
    if any(level.workers > 1 for level in levels):
        console.print(
            "By one worker, with the whole batch; Sweep(profile=Profile()) times all workers.",
            highlight=False,
        )
    if words := instrument.held_words(levels):
        console.print(words, highlight=False, soft_wrap=True)
    print(f"numbers: {place / NUMBERS}")


def _settings(level: instrument.Configuration, splits: Splits, own: argparse.Namespace, epochs: int) -> Profile:
    """The steps to trace: those asked for, else the first after the epoch that warms up. Raises QuestionError beyond the end."""
    from trainables.data.source import count
    from trainables.plan import Plan

    if own.trace is None:
        return Profile()
    divided = level.recipe.split(splits, level.recipe.seeds.split) if level.recipe.split is not None else splits
    each = Plan.of(level.recipe, count(divided.train)).steps_per_epoch
    first = each + 1 if epochs > 1 else 1
    steps = own.steps or (first, first + STEPS - 1)
    if steps[0] > each * epochs:
        raise QuestionError(
            f"--steps {steps[0]}-{steps[1]}: {epochs} epochs of {level.label} have {each * epochs} steps; name earlier ones, or "
            "more epochs by --epochs"
        )
    return Profile(trace=steps)


def _parser() -> argparse.ArgumentParser:
    parser = instrument.parser("profiler", __doc__)
    parser.add_argument(
        "--trace", type=Path, metavar="FILE", help="write torch's trace of some steps of one level here"
    )
    parser.add_argument(
        "--steps", type=_steps, metavar="N-M", help=f"first and last step of the trace ({STEPS} in the second epoch)"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="where the numbers go (runs/instruments/SWEEP)")
    return parser


def _steps(text: str) -> tuple[int, int]:
    matched = re.fullmatch(r"(\d+)-(\d+)", text)
    if matched is None or not 1 <= int(matched[1]) <= int(matched[2]):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not two steps, the first from 1 and the last not before it, such as 10-14"
        )
    return int(matched[1]), int(matched[2])


if __name__ == "__main__":
    sys.exit(main())
