"""Which learning rate? The rate rises from step to step until the loss explodes; the curve of the loss suggests one.

python -m sweeps.range_test sweeps/batch_size.py
python -m sweeps.range_test sweeps/optimizer.py --level LAMB --high 100

Each compared level is asked on its own, several times, so that the suggestion has a spread. Nothing of a run of the sweep is
touched.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from sweeps import instrument
from sweeps import options as command_line
from sweeps.engine.errors import QuestionError
from sweeps.engine.spec import Sweep
from trainables import ConflictError
from trainables.range_curve import figure
from trainables.range_test import RangeFound, RangeTest, range_test, written

if TYPE_CHECKING:
    from rich.table import Table

    from reports.range_chart import RangeLine
    from trainables.spread import Spread

NUMBERS, PICTURE = "range_test.json", "range_test.png"

FEW = 2
"""Up to so many levels each has a sentence."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Test the rate of each level, print the table, write the picture; the exit status comes back."""
    own, rest = _parser().parse_known_args(sys.argv[1:] if arguments is None else arguments)
    return instrument.answered(own, rest, "range_test", lambda sweep, options: _answer(sweep, options, own))


def _answer(sweep: Sweep, options: command_line.Options, own: argparse.Namespace) -> None:
    from rich.console import Console

    from trainables.slate import clean

    settings = RangeTest(
        low=own.low, high=own.high, steps=own.steps, repeats=own.repeats, decay=own.decay, explosion=own.explosion
    )
    if conflicts := list(settings.conflicts()):
        raise ConflictError("range test", conflicts)
    levels = instrument.configurations(sweep, own.level, free=(instrument.RATE,))
    place, where = instrument.folder(options, sweep, own.out), instrument.device(sweep)
    splits = sweep.task.load(levels[0].recipe.seeds.split)
    found: dict[str, RangeFound] = {}
    for level in levels:
        clean(sweep.resources.cpus, "range test")  # as many threads as a worker of the sweep has
        print(f"{level.label}: {settings.repeats} sweeps of up to {settings.steps} steps …", flush=True)
        found[level.label] = range_test(
            sweep.task, level.recipe, settings, splits=splits, device=where, workers=level.workers
        )
    numbers = {"task": sweep.task.name, "device": where, "levels": {name: asdict(each) for name, each in found.items()}}
    instrument.store(place / NUMBERS, numbers)
    drawn = _draw(place / PICTURE, sweep, found)
    console = Console()
    console.print(_table(found))
    for sentence in _said(found):
        console.print(sentence, highlight=False, soft_wrap=True)
    if words := instrument.held_words(levels):
        console.print(words, highlight=False, soft_wrap=True)
    print(f"numbers: {place / NUMBERS}" + (f"\npicture: {place / PICTURE}" if drawn else ""))


def _said(found: dict[str, RangeFound]) -> Iterator[str]:
    """A sentence for each level of few; of many, for those that the table does not answer, and how to read it."""
    few = len(found) <= FEW
    yield from (f"{name}: {each.says()}" for name, each in found.items() if few or each.tenth is None)
    sure = next((each.tenth for each in found.values() if each.tenth is not None), None)
    if not few and sure is not None:
        yield (
            f"Take a tenth of the rate of the lowest loss: the median of {sure.count} sweeps, from their lowest to their highest, "
            f"which holds the median of all such sweeps at {100 * sure.confidence:.0f} %."
        )


def _table(found: dict[str, RangeFound]) -> Table:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("")
    for name in ("a tenth of the lowest", "steepest", "exploded"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, each in found.items():
        exploded = sum(curve.exploded for curve in each.curves)
        rates = (_interval(rate, bold=rate is each.suggested) for rate in (each.tenth, each.steepest))
        table.add_row(name, *rates, f"{exploded} of {len(each.curves)}")
    return table


def _interval(rate: Spread | None, *, bold: bool) -> str:
    from rich.markup import escape

    from analysis import units

    if rate is None:
        return units.DASH
    return f"[bold]{escape(written(rate))}[/]" if bold else escape(written(rate))


def _draw(path: Path, sweep: Sweep, found: dict[str, RangeFound]) -> bool:
    """The picture; False where no level has a curve to draw."""
    from reports import range_chart, standalone

    lines = [line for name, each in found.items() if (line := _line(name, each)) is not None]
    if not lines:
        return False
    subtitle = (
        "Median of the sweeps at each rate"
        + (", band from the lowest to the highest" if len(lines) <= range_chart.BANDS else "")
        + ". Dot: the suggested rate,\nwith a bar from the lowest to the highest that a sweep suggests."
    )
    try:
        standalone.png(
            path,
            standalone.standing(
                range_chart.range_curves(lines),
                title=f"Learning-rate range test: {_title(sweep, lines)}",
                subtitle=subtitle,
            ),
        )
    except OSError as error:
        raise QuestionError(f"{path} cannot be written: {error.strerror}; name another folder by --out") from error
    return True


def _title(sweep: Sweep, lines: Sequence[RangeLine]) -> str:
    """The sweep, and the level where there is one alone."""
    return f"{sweep.name}, {lines[0].label}" if len(lines) == 1 and lines[0].label != sweep.name else sweep.name


def _line(name: str, found: RangeFound) -> RangeLine | None:
    """The median curve, as far as half of the sweeps came."""
    from reports.range_chart import RangeLine, RangeMark, RangePoint

    curves = [curve for curve in found.curves if len(curve.smooth) > 2]
    points = []
    for place, rate in enumerate(found.settings.rates()):
        losses = [curve.smooth[place] for curve in curves if place < len(curve.smooth)]
        if losses and 2 * len(losses) >= len(curves):
            points.append(RangePoint(rate=rate, loss=median(losses), low=min(losses), high=max(losses)))
    if not points:
        return None
    best = found.suggested
    mark = None if best is None else RangeMark(rate=best.value, low=best.low, high=best.high, said=figure(best.value))
    return RangeLine(label=name, points=points, mark=mark)


def _parser() -> argparse.ArgumentParser:
    default = RangeTest()
    parser = instrument.parser("range_test", __doc__)
    parser.add_argument("--low", type=float, default=default.low, metavar="RATE", help=f"lowest rate ({default.low:g})")
    parser.add_argument(
        "--high", type=float, default=default.high, metavar="RATE", help=f"highest rate ({default.high:g})"
    )
    parser.add_argument(
        "--steps", type=int, default=default.steps, metavar="N", help=f"steps of a sweep ({default.steps})"
    )
    parser.add_argument(
        "--repeats", type=int, default=default.repeats, metavar="N", help=f"sweeps of a level ({default.repeats})"
    )
    parser.add_argument(
        "--decay", type=float, default=default.decay, metavar="D", help=f"of the smoothing ({default.decay})"
    )
    parser.add_argument(
        "--explosion",
        type=float,
        default=default.explosion,
        metavar="X",
        help=f"a sweep ends when its loss has risen so many times as far as it had fallen ({default.explosion:g})",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="where numbers and picture go (runs/instruments/SWEEP)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
