"""How many samples at once? Doubled until memory ends, and timed: where more samples bring nothing, fewer are as good.

python -m sweeps.batch_tuner sweeps/batch_size.py
python -m sweeps.batch_tuner sweeps/precision.py --level BF16 --memory 2GB --largest 65536

Steps are taken in a process of its own; on a CPU its memory is limited there, so what dies is not this command.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sweeps import instrument
from sweeps import options as command_line
from sweeps.engine.errors import QuestionError
from sweeps.engine.spec import Sweep
from trainables import ConflictError
from trainables.batch_tuner import BatchTuner, Tuned, tune

if TYPE_CHECKING:
    from rich.table import Table

    from trainables import Recipe, Task

FREE = ("batch_size", instrument.RATE)
"""The paths of what is tuned here, and of what has no part in it."""

UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


@dataclass(frozen=True, kw_only=True, slots=True)
class FromFile:
    """Task and recipe of a level, read from the sweep's file anew: a pickle of them would not find the file's own classes."""

    script: Path
    options: command_line.Options
    label: str

    def __call__(self) -> tuple[Task, Recipe]:
        """The two."""
        sweep = instrument.asked(self.script, self.options)
        (level,) = instrument.configurations(sweep, self.label, free=FREE)
        return sweep.task, level.recipe


def main(arguments: Sequence[str] | None = None) -> int:
    """Tune each level's batch, print the tables, write the pictures; the exit status comes back."""
    own, rest = _parser().parse_known_args(sys.argv[1:] if arguments is None else arguments)
    return instrument.answered(own, rest, "batch_tuner", lambda sweep, options: _answer(sweep, options, own))


def _answer(sweep: Sweep, options: command_line.Options, own: argparse.Namespace) -> None:
    from rich.console import Console

    from trainables.slate import clean

    if conflicts := list(_settings(own, 1).conflicts()):
        raise ConflictError("batch tuner", conflicts)
    levels = instrument.configurations(sweep, own.level, free=FREE)
    place, where = instrument.folder(options, sweep, own.out), instrument.device(sweep)
    console = Console()
    found: dict[str, Tuned] = {}
    for level in levels:
        print(f"{level.label}: trying batches on {where} …", flush=True)
        clean(sweep.resources.cpus, "batch tuner")  # as many threads as a worker of the sweep has
        source = FromFile(script=Path(own.script), options=options, label=level.label)
        found[level.label] = tuned = tune(source, _settings(own, level.workers), device=where)
        console.print(_table(tuned))
        console.print(tuned.says(), highlight=False, soft_wrap=True)
        console.print(tuned.estimate_says(), highlight=False, soft_wrap=True)
        if tuned.knee is not None:
            picture = place / f"{_file(level.label)}.png"
            _draw(picture, f"{sweep.name}, {level.label}" if level.label != sweep.name else sweep.name, tuned)
            print(f"picture: {picture}")
    numbers = {"task": sweep.task.name, "device": where, "levels": {name: asdict(each) for name, each in found.items()}}
    instrument.store(place / "batch_tuner.json", numbers)
    if words := instrument.held_words(levels):
        console.print(words, highlight=False, soft_wrap=True)
    print(f"numbers: {place / 'batch_tuner.json'}")


def _settings(own: argparse.Namespace, workers: int) -> BatchTuner:
    return BatchTuner(
        first=own.first,
        largest=own.largest,
        memory_bytes=own.memory,
        workers=workers,
        rounds=own.rounds,
        seconds=own.seconds,
        within=own.within,
        patience=own.patience,
    )


def _table(tuned: Tuned) -> Table:
    from rich.table import Table

    from analysis import units

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("samples", "memory by shapes", "fits", "samples a second", "of the best"):
        table.add_column(name, justify="right")
    paces = {pace.batch: pace for pace in tuned.knee.paces} if tuned.knee is not None else {}
    fits = {tried.batch: tried.fits for tried in tuned.limit.tried}
    for batch in sorted({*paces, *fits}):
        pace = paces.get(batch)
        rate = share = units.DASH
        if pace is not None:
            rate = f"{units.count(pace.throughput.value)} {_ends(pace.throughput.low, pace.throughput.high, 1)}"
            share = f"{100 * pace.share.value:.0f} % {_ends(pace.share.low, pace.share.high, 100)}"
        fit = {True: "yes", False: "no"}.get(fits.get(batch, True), "yes")
        memory = units.size(tuned.footprint.bytes(batch))
        table.add_row(f"{batch}", memory, fit, rate, share, style="bold" if batch == tuned.batch else "")
    return table


def _ends(low: float, high: float, scale: float) -> str:
    from analysis import units

    return rf"\[{units.count(scale * low)}, {units.count(scale * high)}]"


def _draw(path: Path, title: str, tuned: Tuned) -> None:
    from reports.batch_chart import BatchEnd, BatchPoint, throughput_by_batch
    from reports.standalone import png, standing

    assert tuned.knee is not None
    points = [
        BatchPoint(batch=pace.batch, value=pace.throughput.value, low=pace.throughput.low, high=pace.throughput.high)
        for pace in tuned.knee.paces
    ]
    ends = []
    if tuned.limit.ended:
        ends.append(BatchEnd(batch=tuned.limit.most, said=f"memory ends at {tuned.limit.most}"))
        if tuned.estimated:
            ends.append(BatchEnd(batch=tuned.estimated, said=f"by shapes alone at {tuned.estimated}"))
    subtitle = (
        "Median samples a second of a training step, bars from the slowest to the fastest round.\n"
        f"Large: the smallest batch within {100 * tuned.knee.within:g} % of the best."
    )
    build = throughput_by_batch(points, knee=tuned.batch, ends=ends)
    try:
        png(path, standing(build, title=f"Batch size: {title}", subtitle=subtitle))
    except OSError as error:
        raise QuestionError(f"{path} cannot be written: {error.strerror}; name another folder by --out") from error


def _file(label: str) -> str:
    """A level's label as a part of a file's name."""
    return "batch_tuner_" + (re.sub(r"[^A-Za-z0-9.]+", "_", label).strip("_") or "level")


def _parser() -> argparse.ArgumentParser:
    default = BatchTuner()
    parser = instrument.parser("batch_tuner", __doc__)
    parser.add_argument(
        "--first", type=int, default=default.first, metavar="N", help=f"samples to begin with ({default.first})"
    )
    parser.add_argument("--largest", type=int, metavar="N", help="samples to end with (the training set)")
    parser.add_argument(
        "--memory", type=_bytes, metavar="SIZE", help="what a worker may take, such as 800MB or 2GB (what is free)"
    )
    parser.add_argument(
        "--rounds", type=int, default=default.rounds, metavar="N", help=f"times that each is timed ({default.rounds})"
    )
    parser.add_argument(
        "--seconds", type=float, default=default.seconds, metavar="S", help=f"of each timing, about ({default.seconds})"
    )
    parser.add_argument(
        "--within",
        type=float,
        default=default.within,
        metavar="SHARE",
        help=f"of the best is as good ({default.within})",
    )
    parser.add_argument(
        "--patience",
        type=float,
        default=default.patience,
        metavar="S",
        help=f"no larger batch is tried after one that took so long ({default.patience:g})",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="where numbers and pictures go (runs/instruments/SWEEP)"
    )
    return parser


def _bytes(text: str) -> int:
    """Bytes of ``800MB`` or ``2GB``, in decimal units."""
    matched = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)b|(\d+(?:\.\d+)?)\s*([kmgt])", text.strip().lower())
    number, unit = (matched[1] or matched[3], matched[2] or matched[4] or "") if matched is not None else ("0", "")
    if not float(number) > 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size above zero with its unit; write 800MB or 2GB")
    return max(1, round(float(number) * UNITS[unit]))


if __name__ == "__main__":
    sys.exit(main())
