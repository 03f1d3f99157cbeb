"""What do the finals of a sweep reach together, and how sure are they? Takes the winning level of a sweep that was run.

python -m sweeps.ensemble sweeps/batch_size.py --train 5
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from sweeps import instrument
from sweeps import options as command_line
from sweeps.engine.errors import QuestionError
from sweeps.engine.spec import Sweep
from sweeps.finished import LEVEL, OPTIONS, finished

if TYPE_CHECKING:
    from rich.table import Table
    from torch import Tensor

    from reports.reliability_chart import Point
    from sweeps.engine.members import Answers
    from trainables.ensemble_summary import Scores, Summary

NUMBERS, DIAGRAM = "ensemble.json", "reliability.png"
"""What is written into the sweep's folder."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Build the ensemble, print table and answer, write the diagram; the exit status comes back."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    own, rest = _parser().parse_known_args(given)
    return instrument.answered(own, rest, "ensemble", lambda sweep, options: _answer(sweep, options, own, rest))


def _answer(sweep: Sweep, options: command_line.Options, own: argparse.Namespace, rest: Sequence[str]) -> None:
    found = finished(sweep, options, own, rest)
    folder, level = found.folder, found.level
    from rich.console import Console

    from reports import page
    from sweeps.engine import members
    from trainables.ensemble_summary import summary

    if own.train is not None:
        taken = members.trained(sweep, folder, level, own.train, lambda text: print(text, flush=True))
    else:
        taken = members.finals(sweep, folder, level, own.top)
    answers = members.answers(sweep, taken)
    together = summary(answers.logits, answers.target, validation=answers.validation)
    numbers = {"level": level.label, "left_out": answers.left_out, **asdict(together)}
    try:
        instrument.store(folder / NUMBERS, numbers)
        _draw(folder / DIAGRAM, f"Reliability: {sweep.name}, {level.label}", answers, together.temperature)
        report = page.write(folder)
    except OSError as error:
        raise QuestionError(f"{folder} cannot be written to: {error.strerror}") from error
    Console().print(_table(together))
    print(f"{sentence(level.label, together, answers.left_out)}\nreport: {report}")
    print(f"diagram: {folder / DIAGRAM}\nnumbers: {folder / NUMBERS}")


def sentence(label: str, found: Summary, left_out: int) -> str:
    """The answer in words."""
    from analysis import units

    def percent(value: float) -> str:
        return units.number(value, "accuracy")

    together, gain, near = found.accuracy, found.accuracy_gain, found.coverage[-2]
    interval = f"[{percent(together.low)}, {percent(together.high)}]"
    what = f"{len(found.members)} members of {label} reach {percent(together.value)} % {interval}"
    told = gain.low > 0 or gain.high < 0
    points = f"{units.gap(gain.value, 'accuracy', signed=True)} [{percent(gain.low)}, {percent(gain.high)}]"
    scaled = ""
    if found.scaled is not None and found.temperature is not None:
        scaled = f", {found.scaled.calibration_error:.3f} when scaled by the temperature {found.temperature:.2f} of validation"
    parts = [
        f"{what} on {found.samples} test samples against {percent(found.mean.accuracy)} % for one: {points}"
        + ("" if told else ", which can be chance"),
        f"ECE {found.ensemble.calibration_error:.3f} against {found.mean.calibration_error:.3f}{scaled}",
        f"{percent(near.accuracy)} % on the {100 * near.share:.0f} % of them that it is surest of",
    ]
    if left_out:
        parts.append(f"{left_out} test samples that some member had seen are left out")
    return "; ".join(parts) + "."


def _table(found: Summary) -> Table:
    from rich.table import Table

    from analysis import units

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("")
    for name in ("accuracy", "NLL, nats", "Brier", "ECE"):
        table.add_column(name, justify="right", no_wrap=True)

    def row(name: str, scores: Scores, style: str = "") -> None:
        figures = (f"{value:.3f}" for value in (scores.nll, scores.brier, scores.calibration_error))
        table.add_row(name, units.value(scores.accuracy, "accuracy"), *figures, style=style)

    for number, member in enumerate(found.members, start=1):
        row(f"member {number}", member, "dim")
    row("one, on average", found.mean)
    row("together", found.ensemble, "bold")
    if found.scaled is not None:
        row("together, scaled", found.scaled)
    for covered in found.coverage[:-1]:
        table.add_row(f"… the surest {100 * covered.share:.0f} %", units.value(covered.accuracy, "accuracy"))
    return table


def _draw(path: Path, title: str, answers: Answers, temperature: float | None) -> None:
    """The ensemble's reliability beside that of one member, which is taken over all of them."""
    from reports import reliability_chart
    from trainables.ensemble_summary import scalable

    logits, target = answers.logits.double(), answers.target
    members = logits.softmax(-1).flatten(0, 1)
    groups = {
        "one member": _points(members, target.repeat(len(logits)), times=len(logits)),
        "together": _points(scalable(logits).softmax(1), target, times=1),
    }
    if temperature is not None:
        groups["together, scaled"] = _points((scalable(logits) / temperature).softmax(1), target, times=1)
    reliability_chart.write(path, groups, title=title)


def _points(probabilities: Tensor, target: Tensor, *, times: int) -> list[Point]:
    """The bins of the reliability table that hold anything, with 95 % intervals; every sample is there so many ``times``."""
    from reports.reliability_chart import Point
    from trainables.calibration import reliability
    from trainables.ensemble_summary import wilson

    points = []
    for row in reliability(probabilities, target):
        if row.confidence is not None and row.accuracy is not None:
            interval = wilson(row.accuracy, row.count / times, 0.95)
            points.append(
                Point(
                    confidence=row.confidence,
                    accuracy=row.accuracy,
                    low=interval.low,
                    high=interval.high,
                    count=round(row.count / times),
                )
            )
    return points


def _parser() -> argparse.ArgumentParser:
    parser = instrument.parser("ensemble", __doc__, level=LEVEL)
    parser.epilog = f"{OPTIONS}\nExit status: 0 answered; 2 the question is wrong; 3 interrupted."
    members = parser.add_mutually_exclusive_group()
    members.add_argument(
        "--top", type=_several, metavar="K", help="the K finals that were best on validation (default: all)"
    )
    members.add_argument(
        "--train", type=_several, metavar="K", help="train K members at the level's point instead, all on one split"
    )
    return parser


def _several(text: str) -> int:
    if not text.isdecimal() or int(text) < 2:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 2")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
