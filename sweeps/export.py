"""The best final of a sweep for elsewhere: ONNX checked against torch, in eight bits, pruned; what each loses and gains.

python -m sweeps.export sweeps/batch_size.py --threads 1
"""

from __future__ import annotations

import argparse
import platform
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeps import instrument
from sweeps import options as command_line
from sweeps.engine.errors import QuestionError
from sweeps.engine.spec import Sweep
from sweeps.finished import LEVEL, OPTIONS, finished

if TYPE_CHECKING:
    from rich.table import Table

    from sweeps.engine.members import Member
    from trainables.ensemble_summary import Interval
    from trainables.export import Row, Study

FOLDER, NUMBERS = "export", "export.json"
"""Where the files go within the sweep's folder, and the numbers among them."""

ALIKE = 1.1
"""Times that lie within this ratio of each other count as equal."""

MARGIN = 0.02
"""What a recommended variant may lose at most, by the end of its interval: 2 points of a share, 2 % of any other value."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Export, compare, print table and recommendation; the exit status comes back."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    own, rest = _parser().parse_known_args(given)
    return instrument.answered(own, rest, "export", lambda sweep, options: _answer(sweep, options, own, given, rest))


def _answer(
    sweep: Sweep, options: command_line.Options, own: argparse.Namespace, given: Sequence[str], rest: Sequence[str]
) -> None:
    from trainables.export import ExportError, needed

    try:
        needed()
    except ExportError as error:
        raise QuestionError(str(error)) from error
    there = finished(sweep, options, own, rest)
    folder, level = there.folder, there.level
    from rich.console import Console

    from sweeps.engine import members

    best = members.best(sweep, folder, level)
    out = own.out or folder / FOLDER
    try:
        found = studied(sweep, best, out, own)
        where = conditions()
        numbers = out / NUMBERS
        about = {
            "level": level.label,
            "final": best.job.id,
            "command": shlex.join(["python", "-m", "sweeps.export", *given]),
        }
        instrument.store(numbers, {**about, **where, "answer": sentence(found), **asdict(found)})
    except ExportError as error:
        raise QuestionError(str(error)) from error
    except OSError as error:
        raise QuestionError(f"{out} cannot be written to: {error.strerror}") from error
    console = Console()
    console.print(
        f"{sweep.name}, {level.label}, final {best.job.id}: {found.parity.says()}", highlight=False, markup=False
    )
    console.print(table(found))
    versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
    beneath = f"{where['hardware']}, load {where['load']:.1f}, {found.threads} thread{'s' if found.threads > 1 else ''}; {versions}"
    console.print(beneath, highlight=False, markup=False, style="dim")
    for row in found.rows:
        if row.refused is not None:
            console.print(f"{row.name}: {row.refused}", highlight=False, markup=False, style="dim")
    print(f"{sentence(found)}\nfiles: {out}\nnumbers: {numbers}")


def studied(sweep: Sweep, best: Member, out: Path, own: argparse.Namespace) -> Study:
    """All variants of a final. Raises QuestionError where its weights are not there."""
    import torch

    from trainables.ensemble import with_weights
    from trainables.export import study, tuned
    from trainables.run import Run

    device = torch.device(instrument.device(sweep))
    job = best.job
    recipe = replace(sweep.resolved(job.point, job.seeds), compile=None)
    splits = sweep.task.load(job.seeds.split)
    run = Run.start(sweep.task, recipe, splits=splits, device=device)
    try:
        module = with_weights(run.module, best.weights, device)
    except ValueError as error:
        raise QuestionError(str(error)) from error
    return study(
        module,
        sweep.task,
        run.splits,
        out,
        loss=run.loss,
        tune=lambda bare: tuned(sweep.task, recipe, bare, splits=splits, device=device),
        shares=own.prune,
        threads=own.threads,
        say=lambda text: print(text, flush=True),
    )


def conditions() -> dict[str, Any]:
    """Where the figures come from; ``load`` is how many processes wanted a core in the last minute, these among them."""
    import importlib.metadata
    import os

    from sweeps.engine.machine import Machine

    versions = {name: importlib.metadata.version(name) for name in ("torch", "onnx", "onnxruntime", "onnxscript")}
    return {
        "hardware": Machine.here(None).hardware,
        "python": platform.python_version(),
        "versions": versions,
        "load": os.getloadavg()[0],
    }


def sentence(found: Study) -> str:
    """What is recommended, in words: of the variants that surely lose little the fastest at one sample; of equals the smallest.

    What is pruned multiplies by its zeros like by any weight, so it is as fast as what it was pruned from and stands aside.
    """
    reference, *others = found.rows
    there = [row for row in others if row.difference is not None and row.zeros == reference.zeros]
    allowed = MARGIN * _unit(found)
    fit = [row for row in there if _worst(row, found) <= allowed]
    if not fit:
        least = min(there, key=lambda row: _worst(row, found))
        return (
            f"Nothing is recommended: every variant may lose more than {_gap(allowed, found)}, least of all {least.name}, which "
            f"{_loses(least, found)}; more test samples narrow the intervals."
        )
    fastest = min(fit, key=lambda row: _p50(row, 1))
    best = min((row for row in fit if _p50(row, 1) <= ALIKE * _p50(fastest, 1)), key=lambda row: row.size or 0)
    larger = "" if best is fastest else f"; {fastest.name} is as fast, and larger"
    here, torch_ = _p50(best, 1), _p50(reference, 1)
    return (
        f"{best.name} is recommended: it {_loses(best, found)} and is {_times(torch_ / here)} at batch 1 "
        f"({_milliseconds(here)} ms against {_milliseconds(torch_)} ms in torch), {_times(_p50(reference, 64) / _p50(best, 64))} "
        f"at batch 64 ({_rate(best, 64)} samples a second); "
        f"{found.threads} thread{'s' if found.threads > 1 else ''}, {found.samples} test samples{larger}."
    )


def table(found: Study) -> Table:
    """The variants by accuracy, size and time."""
    from rich.table import Table

    from analysis import units

    made = Table(box=None, padding=(0, 1, 0, 0), header_style="dim")
    made.add_column("")
    made.add_column(found.metric, justify="right", no_wrap=True)
    made.add_column("against torch", justify="right", no_wrap=True)
    made.add_column("size", justify="right", no_wrap=True)
    for batch in (1, 64):
        made.add_column(f"ms at {batch}\np50", justify="right", no_wrap=True)
        made.add_column("\np99", justify="right", no_wrap=True)
    for row in found.rows:
        if row.refused is not None:
            made.add_row(row.name, "refused", style="dim")
            continue
        times = [one for batch in (1, 64) if (one := row.at(batch)) is not None]
        cells = [_milliseconds(seconds) for one in times for seconds in (one.p50, one.p99)]
        size = units.size(row.size) if row.size is not None else ""
        before, comma, after = row.name.partition(", ")
        made.add_row(
            f"… {after}" if comma else before, units.value(row.value, found.metric), _apart(row, found), size, *cells
        )
    return made


def _apart(row: Row, found: Study) -> str:
    """The difference from torch with its interval; nothing for torch itself."""
    gap = row.difference
    if gap is None:
        return ""
    value, low, high = (_plain(one, found, _spread(gap)) for one in (gap.value, gap.low, gap.high))
    return f"{'+' if gap.value > 0 else ''}{value} [{low}, {high}]"


def _loses(row: Row, found: Study) -> str:
    """``loses 0.3 points [-0.2, 0.8] of accuracy``: what is lost is above 0, whichever way the metric goes."""
    gap = row.difference
    if gap is None:
        return "is torch itself"
    sign = -1.0 if found.mode == "max" else 1.0
    low, high = sorted((sign * gap.low, sign * gap.high))
    lost, spread = sign * gap.value + 0.0, _spread(gap)
    if lost < 0:
        lost, low, high = -lost, -high, -low
        verb = "gains"
    else:
        verb = "loses"
    ends = f"[{_plain(low, found, spread)}, {_plain(high, found, spread)}]"
    return f"{verb} {_gap(lost, found, spread)} {ends} of {found.metric}"


def _worst(row: Row, found: Study) -> float:
    """The most that a variant loses, by its interval."""
    gap = row.difference
    assert gap is not None
    return -gap.low if found.mode == "max" else gap.high


def _unit(found: Study) -> float:
    """What a margin is a part of."""
    from analysis import units

    return 1.0 if units.is_share(found.metric) else abs(found.rows[0].value or 0.0)


def _p50(row: Row, batch: int) -> float:
    one = row.at(batch)
    assert one is not None
    return one.p50


def _rate(row: Row, batch: int) -> str:
    from analysis import units

    one = row.at(batch)
    return units.count(one.per_second if one is not None else None)


def _times(ratio: float) -> str:
    from analysis import units

    if 0.95 <= ratio <= 1.05:
        return "as fast"
    return f"{units.factor(ratio)} times as fast" if ratio > 1 else f"{units.factor(1 / ratio)} times as slow"


def _gap(value: float, found: Study, spread: float | None = None) -> str:
    from analysis import units

    return units.gap(value, found.metric, spread=spread)


def _plain(value: float, found: Study, spread: float | None = None) -> str:
    from analysis import units

    return units.number(value, found.metric, spread=spread)


def _spread(gap: Interval) -> float | None:
    """Half the width of an interval, which says how many digits mean anything."""
    return (gap.high - gap.low) / 2 or None


def _milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:.3g}" if seconds >= 1e-4 else f"{1e3 * seconds:.3f}"


def _parser() -> argparse.ArgumentParser:
    parser = instrument.parser("export", __doc__, level=LEVEL)
    parser.epilog = (
        f"Needs the extra: pip install -c constraints.txt -e '.[export]'.\n{OPTIONS}\n"
        "Exit status: 0 answered; 2 the question is wrong, or the model cannot be exported; 3 interrupted."
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="where files go (default: export/ in the sweep's folder)"
    )
    parser.add_argument(
        "--prune",
        type=_shares,
        default=(0.5, 0.8),
        metavar="SHARES",
        help="shares of the weights to prune, such as 0.5,0.8 (the default); none prunes nothing",
    )
    parser.add_argument("--threads", type=_threads, default=1, metavar="N", help="threads that answer (default: 1)")
    return parser


def _shares(text: str) -> tuple[float, ...]:
    if text == "none":
        return ()
    try:
        shares = tuple(dict.fromkeys(float(part) for part in text.split(",")))
    except ValueError:
        shares = ()
    if not shares or not all(0 < share < 1 for share in shares):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of shares between 0 and 1, such as 0.5,0.8")
    return shares


def _threads(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
