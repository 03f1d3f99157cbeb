"""Loss curves as pictures, drawn without a browser: training and validation loss by epoch.

python -m reports.curve runs/batch_size             every level, its finals together, into runs/batch_size/curves/
python -m reports.curve runs/batch_size t017        one trial: its number, as tables have it, or its id

A sweep draws one picture when it ends, ``curves.png``, with a panel for each level; one for each trial would cost it half a second
of CPU each. In a script of one's own: ``reports.curve.draw(Path("curve.png"), {"run": trained.history})``.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from analysis import units
from analysis.arguments import WRONG, Parser
from analysis.ledger import FolderError, Question, read_ledger, read_question
from analysis.records import Row, Stage, Status, TrialRecord
from analysis.steps import place, read
from reports.curves import number
from reports.palette import INK, MUTED, PAPER, SERIES
from reports.reduce import thin
from reports.scaling_chart import ticks
from reports.theme import specification, table

WIDTH, HEIGHT, SCALE = 640, 360, 1.5
"""Of a picture in pixels, and how many times as many it has: what it costs goes by their number."""

PANELS = 12
"""At most so many levels in the picture of a sweep."""

LINES, POINTS = 20, 100
"""At most so many runs of a level have a line of their own, and a line so many points."""

SWEEP = "curves.png"
"""The picture that a sweep leaves in its folder."""

FOLDER = "curves"
"""Where in a sweep's folder the pictures of its levels lie."""

FEW = 12
"""Up to so many epochs each has a dot."""

DEEP = 20.0
"""A loss that falls to less than this part of what it was is drawn on a logarithmic axis."""

PLAIN = "format(datum.value, '~g')"
"""How an axis writes its numbers: left to itself, Vega writes 10 as 1e+1 where it needs but one digit."""

SETS = {"train/loss": "training loss", "val/loss": "validation loss"}


def draw(path: Path, runs: Mapping[str, Sequence[Row]], *, title: str = "", best: int | None = None) -> bool:
    """Draw the losses of some runs, by name, into a PNG: a thin line each, their mean where there are several.

    ``best`` is an epoch to mark. False, and no picture, where no epoch of any has a loss. Raises OSError where it cannot write.
    """
    rows = _rows(runs, best=best)
    if rows:
        _write(path, _whole(_layers(rows), rows, title) | {"width": WIDTH, "height": HEIGHT})
    return bool(rows)


def write_sweep(folder: Path, *, most: int = PANELS) -> Path | None:
    """Draw the finals of all levels into one picture, a panel each, ``curves.png``; None where no final has a loss yet.

    Of more than ``most`` levels the first ones are drawn. Raises FolderError for a folder that holds no sweep.
    """
    question, records = read_question(folder), read_ledger(folder)
    panels = {
        label: rows
        for label, finals in list(_finals(question, records).items())[:most]
        if (rows := _rows(finals, panel=f"{label}: {_count(finals)}"))
    }
    if not panels:
        return None
    columns = min(len(panels), 3)
    rows = [row for panel in panels.values() for row in panel]
    whole = _whole(_layers(rows), rows, question.sweep)
    header = {"title": None, "labelAnchor": "start", "labelFontSize": 12, "labelFontWeight": 600, "labelPadding": 6}
    order = list(dict.fromkeys(row["panel"] for row in rows))
    facet = {"field": "panel", "type": "nominal", "sort": order, "header": header | {"labelColor": INK.light}}
    inner = {"width": max(WIDTH // columns, 260), "height": 190, "layer": whole.pop("layer")}
    _write(folder / SWEEP, whole | {"data": {"name": "rows"}, "facet": facet, "columns": columns, "spec": inner})
    return folder / SWEEP


def write_levels(folder: Path) -> list[Path]:
    """Draw the finals of each level into a picture of their own; the pictures' paths come back.

    Pictures of levels that are no more there are taken away. Raises FolderError for a folder that holds no sweep.
    """
    question, records = read_question(folder), read_ledger(folder)
    written: list[Path] = []
    for label, finals in _finals(question, records).items():
        path = folder / FOLDER / f"{_file(label)}.png"
        if path in written:  # two labels that differ in what a file's name cannot hold
            path = path.with_stem(f"{path.stem}-{len(written) + 1}")
        if draw(path, finals, title=f"{label}: {_count(finals)}"):
            written.append(path)
    for other in (folder / FOLDER).glob("*.png"):
        if other not in written and not other.name.startswith("trial-"):
            other.unlink()
    return written


def write_trial(folder: Path, wanted: str, out: Path | None = None) -> Path:
    """Draw one trial, named by its number (``17``, ``t017``), its id or the beginning of one; the picture's path comes back.

    Raises FolderError for a folder that holds no sweep, and for a trial that is not there or has no loss.
    """
    from reports.under_way import with_live_epochs

    question = read_question(folder)
    record = _found(folder, with_live_epochs(folder, read_ledger(folder)), wanted)
    name = f"t{record.number:03d}" if record.number is not None else record.id
    path = out or folder / FOLDER / f"trial-{name}.png"
    label = units.level(record.level, question.sweep)
    which = f"final s{record.seed}" if record.stage is Stage.FINAL else f"{record.stage.value} {name}"
    runs: dict[str, Sequence[Row]] = {which: record.history}
    steps = read(place(folder, record.id))
    if steps and 0 < len(record.history) <= FEW:  # how many make an epoch is known once one has ended
        runs["steps"] = _by_epoch(steps, record.history)
    if not draw(path, runs, title=f"{label} {which}: {record.status.value.replace('_', ' ')}", best=record.best_epoch):
        raise FolderError(f"trial {wanted} of {folder} has no epoch with a loss yet; wait for its first one")
    return path


def _by_epoch(steps: Sequence[Row], history: Sequence[Row]) -> list[Row]:
    """Losses by step as rows at parts of epochs; by samples, or as far as the epochs that have ended tell how many there are."""
    first = history[0] if history else None
    each = number(first.get("samples")) if first is not None else None
    if not each:
        each = max((float(row["samples"]) for row in steps), default=1.0)
    return [{"epoch": row["samples"] / each, "train/loss": row.get("loss"), "fine": True} for row in steps]


def _found(folder: Path, records: Sequence[TrialRecord], wanted: str) -> TrialRecord:
    """The trial of this name."""
    numbered = re.fullmatch(r"t?(\d{1,6})", wanted)
    by_number = [record for record in records if numbered and record.number == int(numbered[1])]
    found = [r for r in records if r.id == wanted] or by_number or [r for r in records if r.id.startswith(wanted)]
    if len(found) == 1:
        return found[0]
    numbers = [record.number for record in records if record.number is not None]
    there = f"they are t{min(numbers):03d} to t{max(numbers):03d}" if numbers else "it holds no trial yet"
    what = "several trials" if found else "no trial"
    raise FolderError(f"{folder} has {what} {wanted!r}; {there}, as report.html lists them, or give a whole id")


def _finals(question: Question, records: Sequence[TrialRecord]) -> dict[str, dict[str, Sequence[Row]]]:
    """The histories of the finals that have ended, by their level's label, each by its seed."""
    found: dict[str, dict[str, Sequence[Row]]] = {}
    for level in question.levels:
        finals = [r for r in records if r.stage is Stage.FINAL and dict(r.level) == level]
        ended = {f"s{record.seed}": record.history for record in finals if record.status is not Status.RUNNING}
        found[units.level(level, question.sweep)] = ended
    return found


def _count(finals: Mapping[str, Any]) -> str:
    return f"{len(finals)} final{'s' if len(finals) != 1 else ''}"


def _rows(runs: Mapping[str, Sequence[Row]], *, panel: str = "", best: int | None = None) -> list[dict[str, Any]]:
    """All that is drawn in one panel, each with its ``place``: a ``run``, the ``fine`` line of steps, a ``mean``, the ``best``.

    The mean is that of all runs, where there are several; of many some alone have a line.
    """
    rows = [row for name, history in runs.items() for row in _points(name, history)]
    plain = [row for row in rows if row["place"] == "run"]
    if len({row["run"] for row in plain}) > len({row["set"] for row in plain}):
        drawn = {f"{name} {label}" for name in list(runs)[:LINES] for label in SETS.values()}
        rows = [row | {"place": "one"} for row in rows if row["run"] in drawn] + _means(plain)
    if best is not None and rows:
        rows.append({"x": best, "place": "best", "text": f"best by validation: {best}"})
    return [row | {"panel": panel} for row in rows]


def _points(name: str, history: Sequence[Row]) -> list[dict[str, Any]]:
    """A run's losses; what is not finite is left out."""
    found: list[dict[str, Any]] = []
    for column, label in SETS.items():
        known = [(number(row.get("epoch")), number(row.get(column)), bool(row.get("fine"))) for row in history]
        points = [(epoch, loss, fine) for epoch, loss, fine in known if epoch is not None and loss is not None]
        found += [
            {"x": epoch, "y": loss, "set": label, "run": f"{name} {label}", "place": "fine" if fine else "run"}
            for epoch, loss, fine in thin(points, POINTS)
        ]
    return found


def _means(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The mean of each set over the runs that have it, epoch by epoch: as far as all that began have come."""
    runs = {label: {row["run"] for row in rows if row["set"] == label} for label in SETS.values()}
    values: dict[tuple[str, float], list[float]] = {}
    for row in rows:
        values.setdefault((row["set"], row["x"]), []).append(row["y"])
    # One that was left out half way would make the mean jump.
    whole = {place: found for place, found in values.items() if len(found) == len(runs[place[0]])}
    return [
        {"x": x, "y": sum(found) / len(found), "set": label, "run": label, "place": "mean"}
        for (label, x), found in sorted(whole.items())
    ]


def _layers(rows: Sequence[Mapping[str, Any]]) -> list[Any]:
    """The marks over these rows."""
    import altair as alt

    drawn = [row for row in rows if row["place"] != "best"]
    losses = [row["y"] for row in drawn]
    last = max((row["x"] for row in drawn if row["place"] != "fine"), default=0)  # steps alone: no epoch has ended
    low, high = min(losses), max(losses)
    if low > 0 and high / low > DEEP:
        scale = alt.Scale(type="log", nice=False, padding=8)
        axis = alt.Axis(values=ticks(low, high), labelExpr=PLAIN)
    else:
        scale, axis = alt.Scale(zero=False, nice=True), alt.Axis(tickCount=6, labelExpr=PLAIN)
    across = alt.Scale(nice=False, zero=False, padding=6)
    x = alt.X("x:Q", title="epoch", scale=across, axis=alt.Axis(format="d", tickMinStep=1, tickCount=8))
    y = alt.Y("y:Q", title=None, scale=scale, axis=axis)
    sets = [label for label in SETS.values() if any(row["set"] == label for row in drawn)]
    legend = alt.Legend(
        title=None,
        orient="top",
        symbolType="stroke",
        symbolOpacity=1,
        symbolStrokeWidth=3,
        labelColor=INK.light,
        labelFontSize=12,
    )
    colours = alt.Scale(domain=sets, range=[SERIES[place].light for place in range(len(sets))])
    base = table().encode(x=x, y=y, color=alt.Color("set:N", legend=legend, scale=colours), detail="run:N")
    styles = (("fine", 1.0, 0.4), ("one", 1.0, 0.35), ("run", 2.25, 1.0), ("mean", 2.5, 1.0))
    there = {row["place"] for row in rows}
    layers: list[Any] = [
        base.transform_filter(alt.datum.place == place).mark_line(strokeWidth=width, opacity=opacity)
        for place, width, opacity in styles
        if place in there
    ]
    if last <= FEW:
        bold = base.transform_filter(alt.FieldOneOfPredicate(field="place", oneOf=["run", "mean"]))
        layers.append(bold.mark_point(size=30, filled=True, opacity=1))
    if "best" in there:
        marked = table().transform_filter(alt.datum.place == "best").encode(x=x)
        words = marked.mark_text(align="left", dx=5, baseline="top", color=MUTED.light, fontSize=11)
        layers.append(marked.mark_rule(strokeDash=[3, 3], color=MUTED.light))
        layers.append(words.encode(y=alt.value(2), text="text:N"))
    return layers


def _whole(layers: Sequence[Any], rows: Sequence[Mapping[str, Any]], title: str) -> dict[str, Any]:
    """The picture as Vega-Lite, all of its marks over one table."""
    whole = specification(layers, data={"rows": rows}, height=HEIGHT)
    whole["layer"] = [{name: part for name, part in layer.items() if name != "data"} for layer in whole["layer"]]
    head = {"text": title, "anchor": "start", "fontSize": 14, "color": INK.light, "offset": 8}
    padding = {"left": 12, "right": 24, "top": 14, "bottom": 10}
    for size in ("width", "height"):
        whole.pop(size)
    return whole | {
        "data": {"name": "rows"},
        "background": PAPER.light,
        "title": head if title else "",
        "padding": padding,
        "autosize": {"type": "pad"},
    }


def _write(path: Path, whole: dict[str, Any]) -> None:
    """Draw Vega-Lite into a PNG file, whole."""
    import vl_convert

    picture = vl_convert.vegalite_to_png(whole, scale=SCALE)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_bytes(picture)
    temporary.replace(path)


def _file(label: str) -> str:
    """A level as a file's name."""
    return re.sub(r"[^\w.=+\-]+", "_", label).strip("._")[:80] or "level"


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw and print the pictures' paths; 2 when that cannot be done."""
    parser = Parser(prog="python -m reports.curve", description="Draw loss curves of a sweep as PNG.")
    parser.add_argument("folder", type=Path, metavar="RUN", help="a sweep's folder, such as runs/batch_size")
    parser.add_argument(
        "trial", nargs="?", metavar="TRIAL", help="a trial's number or id (default: every level's finals)"
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="where to put a trial's picture (default: in RUN/curves)"
    )
    given = parser.parse_args(arguments)
    if given.out is not None and given.trial is None:
        parser.error(
            "--out names one picture, and without TRIAL there is one for each level; name a trial, or leave --out out"
        )
    try:
        paths = (
            write_levels(given.folder) if given.trial is None else [write_trial(given.folder, given.trial, given.out)]
        )
        if not paths:
            raise FolderError(f"{given.folder} has no final with a loss yet; name a trial, such as t000")
    except FolderError as error:
        print(f"error: {error}", file=sys.stderr)
        return WRONG
    except OSError as error:
        where = given.out or error.filename or given.folder  # the file is written under another name first
        print(f"error: {where}: {error.strerror or error}; name another file by --out", file=sys.stderr)
        return WRONG
    print(*paths, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
