"""Does averaging over views of a sample help the finals of a sweep? The same weights and samples, with and without.

python -m sweeps.tta sweeps/batch_size.py --view shift:1 --shape 8x8
python -m sweeps.tta sweeps/batch_size.py --view noise:0.1 --view mine:rotated --level 64

A view is mirror, mirror:DIM, shift:PIXELS (four of them), noise:STD, or MODULE:NAME: a function [B, ...] -> [B, ...] of one's own,
a trainables.views.View or a list of them. Each is measured alone, and all together.
"""

from __future__ import annotations

import argparse
import importlib
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeps import instrument
from sweeps import options as command_line
from sweeps.engine.errors import QuestionError
from sweeps.engine.spec import Sweep
from sweeps.finished import LEVEL, finished
from trainables.views import Mirrored, Noisy, View, shifts

if TYPE_CHECKING:
    import torch
    from rich.table import Table

    from analysis.two_way import Difference
    from sweeps.engine.members import Member
    from trainables.run import Run
    from trainables.spread import Spread
    from trainables.tta import Seen

NUMBERS, PICTURE = "tta.json", "tta.png"
CONFIDENCE = 0.95
TOGETHER = "all together"


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """Some views: the finals' mean by metric without and with them, the differences, and how many times as long a pass takes."""

    name: str
    views: int
    plain: Mapping[str, float]
    averaged: Mapping[str, float]
    differences: Mapping[str, Difference]
    cost: Spread


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, print table and answer, write the numbers; the exit status comes back."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    own, rest = _parser().parse_known_args(given)
    return instrument.answered(own, rest, "tta", lambda sweep, options: _answer(sweep, options, own, rest))


def _answer(sweep: Sweep, options: command_line.Options, own: argparse.Namespace, rest: Sequence[str]) -> None:
    views = [view for text in own.view for view in _views(text, own.shape)]
    names = [view.name for view in views]
    again = sorted({name for name in names if names.count(name) > 1 or name == TOGETHER})
    if again:
        raise QuestionError(
            f"--view: {', '.join(again)} would name several lines of the table; give each view once, and those of your own a name "
            "of theirs: View(name=..., change=...)"
        )
    there = finished(sweep, options, own, rest)
    folder, level = there.folder, there.level
    from rich.console import Console

    from sweeps.engine import members

    finals = members.finals(sweep, folder, level)
    variants = compared(sweep, finals, views)
    said = sentence(sweep, level.label, variants)
    numbers = {"level": level.label, "answer": said, "variants": [asdict(variant) for variant in variants]}
    instrument.store(folder / NUMBERS, numbers)
    console = Console()
    console.print(_table(sweep, variants))
    console.print(said, highlight=False, soft_wrap=True)
    _draw(folder / PICTURE, sweep, level.label, variants)
    print(f"numbers: {folder / NUMBERS}\npicture: {folder / PICTURE}")


def compared(sweep: Sweep, finals: Sequence[Member], views: Sequence[View]) -> list[Variant]:
    """Each view alone, and all together where there are several, in every final on its own test samples.

    Intervals hold for all variants at once (Bonferroni). Raises QuestionError for weights that are missing, and for what views do
    not suit.
    """
    import torch

    device = torch.device(instrument.device(sweep))
    sets = {view.name: [view] for view in views} | ({TOGETHER: list(views)} if len(views) > 1 else {})
    scored: dict[str, list[Seen]] = {name: [] for name in ("", *sets)}
    costs: dict[str, Spread] = {}
    tests: list[tuple[torch.Tensor, ...]] = []
    for member in finals:
        run = _run(sweep, member, device)
        tests.append(run.splits.test)
        try:
            scored[""].append(_scored(run, ()))
            for name, those in sets.items():
                scored[name].append(_scored(run, those))
                if name not in costs:
                    costs[name] = _cost(run, those)
        except (RuntimeError, ValueError, IndexError) as error:
            shape = tuple(run.splits.test[0].shape[1:])
            raise QuestionError(
                f"the views cannot be taken of inputs {shape}: {error}; flat images need --shape, such as --shape 8x8"
            ) from error
    same = all(len(test[-1]) == len(tests[0][-1]) and _equal(test, tests[0]) for test in tests)
    level = 1 - (1 - CONFIDENCE) / len(sets)
    return [
        _variant(name, len(those), scored[""], scored[name], costs[name], crossed=same, confidence=level)
        for name, those in sets.items()
    ]


def _equal(one: tuple[torch.Tensor, ...], other: tuple[torch.Tensor, ...]) -> bool:
    import torch

    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def _run(sweep: Sweep, member: Member, device: torch.device) -> Run:
    """The final's run with its best weights."""
    from trainables.data.source import resident
    from trainables.ensemble import with_weights
    from trainables.run import Run

    # Compiling pays over many steps; here are a few passes.
    recipe = replace(sweep.resolved(member.job.point, member.job.seeds), compile=None)
    run = Run.start(sweep.task, recipe, splits=None, device=device)
    if not resident(run.splits.test):
        raise QuestionError(
            f"the test samples of task {sweep.task.name!r} are read from elsewhere; trainables.tta has what this command does, "
            "for tensors of one's own"
        )
    try:
        with_weights(run.module, member.weights, device)
    except ValueError as error:
        raise QuestionError(str(error)) from error
    return run


def _module(run: Run, views: Sequence[View]) -> torch.nn.Module:
    from trainables.tta import OverViews

    if not views:
        return run.module
    target = run.splits.test[-1]
    return OverViews(run.module, views, probabilities=not target.is_floating_point() and target.ndim == 1)


def _scored(run: Run, views: Sequence[View]) -> Seen:
    from trainables.tta import by_sample

    return by_sample(
        _module(run, views),
        run.splits.test,
        loss=run.loss,
        metrics=run.task.metrics,
        precision=run.recipe.precision,
        size=run.evaluation_batch,
    )


def _cost(run: Run, views: Sequence[View]) -> Spread:
    from trainables.tta import cost

    return cost(lambda: _scored(run, ()), lambda: _scored(run, views), device=run.device)


def _variant(
    name: str,
    views: int,
    plain: Sequence[Seen],
    averaged: Sequence[Seen],
    cost: Spread,
    *,
    crossed: bool,
    confidence: float,
) -> Variant:
    from analysis.two_way import difference

    def mean(seen: Sequence[Seen], metric: str) -> float:
        return sum(float(each.values[metric].mean()) for each in seen) / len(seen)

    metrics = list(plain[0].values)
    pairs = list(zip(plain, averaged, strict=True))
    return Variant(
        name=name,
        views=views,
        plain={metric: mean(plain, metric) for metric in metrics},
        averaged={metric: mean(averaged, metric) for metric in metrics},
        differences={
            metric: difference(
                [(after.values[metric] - before.values[metric]).numpy() for before, after in pairs],
                crossed=crossed,
                confidence=confidence,
            )
            for metric in metrics
        },
        cost=cost,
    )


def sentence(sweep: Sweep, label: str, variants: Sequence[Variant]) -> str:
    """The answer in words: of all views together, or of the one there is."""
    from analysis import units

    variant, goal = variants[-1], sweep.task.goal
    found = variant.differences[goal.metric]
    together = f"{variant.views} views" if variant.views > 1 else variant.name
    samples = f"the same {found.samples} test samples" if found.crossed else f"{found.samples} test samples each"
    ends = units.interval((found.low, found.high), lambda x: units.number(x, goal.metric))
    effect = "it helps" if (found.value > 0) == (goal.mode == "max") else "it harms"
    verdict = effect if found.told else "which can be chance"
    more = f"; intervals hold for all {len(variants)} lines at {100 * CONFIDENCE:g} %" if len(variants) > 1 else ""
    return (
        f"Averaged over the sample and {together}, {found.runs} finals of {label} reach "
        f"{units.value(variant.averaged[goal.metric], goal.metric)} {goal.metric} on {samples}, against "
        f"{units.value(variant.plain[goal.metric], goal.metric)} without: "
        f"{units.gap(found.value, goal.metric, signed=True)} {ends}, {verdict}. A pass takes "
        f"{units.ratio(variant.cost.value)} [{units.factor(variant.cost.low)}, {units.factor(variant.cost.high)}] as long{more}."
    )


def _table(sweep: Sweep, variants: Sequence[Variant]) -> Table:
    from rich.table import Table

    from analysis import units

    goal = sweep.task.goal.metric
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("views")
    metrics = list(dict.fromkeys((goal, "loss")))
    for name in (goal, *(f"change of {metric}" for metric in metrics), "time"):
        table.add_column(name, justify="right")
    table.add_row("none", units.value(variants[0].plain[goal], goal), *("" for _ in metrics), "1x")
    for variant in variants:
        table.add_row(
            variant.name,
            units.value(variant.averaged[goal], goal),
            *(_gap(variant.differences[metric], metric) for metric in metrics),
            units.ratio(variant.cost.value),
            style="bold" if variant is variants[-1] else "",
        )
    return table


def _gap(found: Difference, metric: str) -> str:
    """A difference with its interval, to about a tenth of the interval's width."""
    from rich.markup import escape

    from analysis import units

    def text(x: float) -> str:
        return units.number(x, metric, spread=5 * (found.high - found.low))

    return escape(
        f"{'+' if found.value > 0 else ''}{text(found.value)} {units.interval((found.low, found.high), text)}"
    )


def _draw(path: Path, sweep: Sweep, label: str, variants: Sequence[Variant]) -> None:
    from reports.standalone import png, standing
    from reports.views_chart import ViewDifference, differences

    goal = sweep.task.goal.metric
    rows = [
        ViewDifference(
            name=variant.name,
            value=variant.differences[goal].value,
            low=variant.differences[goal].low,
            high=variant.differences[goal].high,
            cost=variant.cost.value,
        )
        for variant in variants
    ]
    subtitle = (
        f"What averaging changes in the {goal} of {variants[0].differences[goal].runs} finals of {label}: the same weights, "
        "the same samples.\n"
        f"Intervals hold for all lines at {100 * CONFIDENCE:g} %; grey: it can be chance."
    )
    build = differences(rows, metric=goal)
    try:
        png(path, standing(build, title=f"Test-time augmentation: {sweep.name}", subtitle=subtitle))
    except OSError as error:
        raise QuestionError(f"{path} cannot be written: {error.strerror}") from error


def _views(text: str, shape: tuple[int, ...] | None) -> list[View]:
    """The views that one option names. Raises QuestionError where it names none."""
    kind, _, rest = text.partition(":")
    try:
        if kind == "mirror":
            return [View(name=text, change=Mirrored(dim=int(rest or -1), shape=shape))]
        if kind == "shift":
            if int(rest or 1) < 1:
                raise ValueError(rest)
            return shifts(int(rest or 1), shape)
        if kind == "noise":
            if not 0 < float(rest) < math.inf:
                raise ValueError(rest)
            return [View(name=text, change=Noisy(std=float(rest)))]
    except ValueError as error:
        raise QuestionError(f"--view {text}: write mirror, mirror:-2, shift:1 or noise:0.1") from error
    return _own(text)


def _own(text: str) -> list[View]:
    """Views of the user's own module."""
    place, _, name = text.partition(":")
    if not (place and name):
        raise QuestionError(f"--view {text}: write mirror, shift:1, noise:0.1, or MODULE:NAME for one of your own")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        found: Any = getattr(importlib.import_module(place), name)
    except Exception as error:  # whatever the user's module raises
        raise QuestionError(
            f"--view {text}: {type(error).__name__}: {error}; it is looked for from {Path.cwd()}"
        ) from error
    if isinstance(found, View):
        return [found]
    if isinstance(found, list | tuple) and found and all(isinstance(view, View) for view in found):
        return list(found)
    if callable(found):
        return [View(name=name, change=found)]
    raise QuestionError(
        f"--view {text} is a {type(found).__name__}; give a function [B, ...] -> [B, ...], a View, or a list of Views"
    )


def _parser() -> argparse.ArgumentParser:
    parser = instrument.parser("tta", __doc__, level=LEVEL)
    parser.add_argument(
        "--view",
        action="append",
        required=True,
        metavar="VIEW",
        help="one of the views above; may be given several times",
    )
    parser.add_argument(
        "--shape", type=_shape, metavar="AxB", help="how flat inputs are seen, such as 8x8 for the digits"
    )
    return parser


def _shape(text: str) -> tuple[int, ...]:
    parts = text.lower().split("x")
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is not a shape; write 8x8")
    return tuple(int(part) for part in parts)


if __name__ == "__main__":
    sys.exit(main())
