"""Loss curves as pictures, drawn without a browser: training and validation loss by epoch.

python -m reports.curve runs/batch_size             every level, its finals together, into runs/batch_size/curves/
python -m reports.curve runs/batch_size t017        one trial: its number, as tables have it, or its id

A sweep draws its levels when it ends: one picture a level, since one a trial would cost it a fifth of a second each. In a script of
one's own: ``reports.curve.draw(Path("curve.png"), {"run": trained.history})``.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from analysis import units
from analysis.ledger import FolderError, read_ledger, read_question
from analysis.records import Row, Stage, Status, TrialRecord
from analysis.steps import place, read
from reports.curves import number
from reports.reduce import thin

WIDTH, HEIGHT = 640, 360
"""Pixels of a picture, drawn at twice as many."""

FOLDER = "curves"
"""Where in a sweep's folder the pictures of its levels lie."""

FEW = 12
"""Up to so many epochs each has a dot."""

DEEP = 20.0
"""A loss that falls to less than this part of what it was is drawn on a logarithmic axis."""

SETS = {"train/loss": "training", "val/loss": "validation"}


def draw(path: Path, runs: Mapping[str, Sequence[Row]], *, title: str = "", best: int | None = None) -> bool:
    """Draw the losses of some runs, by name, into a PNG: a thin line each, their mean where there are several.

    ``best`` is an epoch to mark. False, and no picture, where no epoch of any has a loss. Raises OSError where it cannot write.
    """
    rows = [row for name, history in runs.items() for row in _points(name, history)]
    if not rows:
        return False
    import vl_convert

    picture = vl_convert.vegalite_to_png(_chart(rows, title, best), scale=2)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_bytes(picture)
    temporary.replace(path)
    return True


def write_levels(folder: Path, *, most: int | None = None) -> list[Path]:
    """Draw the finals of each level, the first ``most`` of them; the pictures' paths come back.

    Pictures of levels that are no more there are taken away. Raises FolderError for a folder that holds no sweep.
    """
    question, records = read_question(folder), read_ledger(folder)
    written: list[Path] = []
    for level in question.levels[:most]:
        label = units.level(level, question.sweep)
        finals = [r for r in records if r.stage is Stage.FINAL and dict(r.level) == level]
        ended = {f"s{record.seed}": record.history for record in finals if record.status is not Status.RUNNING}
        count = f"{len(ended)} final{'s' if len(ended) != 1 else ''}"
        path = folder / FOLDER / f"{_file(label)}.png"
        if path in written:  # two labels that differ in what a file's name cannot hold
            path = path.with_stem(f"{path.stem}-{len(written) + 1}")
        if draw(path, ended, title=f"{label}: {count}"):
            written.append(path)
    for other in (folder / FOLDER).glob("*.png"):
        if most is None and other not in written and not other.name.startswith("trial-"):
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
    if steps and len(record.history) <= FEW:
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


def _points(name: str, history: Sequence[Row]) -> list[dict[str, Any]]:
    """A run's losses as the chart takes them; what is not finite is left out."""
    found: list[dict[str, Any]] = []
    for column, label in SETS.items():
        known = [(number(row.get("epoch")), number(row.get(column)), bool(row.get("fine"))) for row in history]
        points = [(epoch, loss, fine) for epoch, loss, fine in known if epoch is not None and loss is not None]
        found += [
            {"x": epoch, "y": loss, "set": label, "run": f"{name} {label}", "fine": fine}
            for epoch, loss, fine in thin(points, 400)
        ]
    return found


def _chart(rows: Sequence[dict[str, Any]], title: str, best: int | None) -> dict[str, Any]:
    """The picture as Vega-Lite."""
    import altair as alt

    from reports.palette import INK, MUTED, PAPER, SERIES
    from reports.theme import specification, table

    plain = [row for row in rows if not row["fine"]]
    lines = [row | {"place": "fine" if row["fine"] else "run"} for row in rows]
    several = len({row["run"] for row in plain}) > len({row["set"] for row in plain})
    means = _means(plain) if several else []
    losses = [row["y"] for row in rows]
    deep = min(losses) > 0 and max(losses) / min(losses) > DEEP
    scale = alt.Scale(type="log", nice=False, padding=8) if deep else alt.Scale(zero=False, nice=True)
    x = alt.X(
        "x:Q",
        title="epoch",
        scale=alt.Scale(nice=False, zero=False, padding=6),
        axis=alt.Axis(format="d", tickMinStep=1, tickCount=8),
    )
    y = alt.Y("y:Q", title="loss", scale=scale, axis=alt.Axis(tickCount=6, format="~g"))
    sets = [label for label in SETS.values() if any(row["set"] == label for row in rows)]
    legend = alt.Legend(title=None, orient="top-right", symbolOpacity=1, symbolStrokeWidth=3, labelFontSize=12)
    colour = alt.Color(
        "set:N", legend=legend, scale=alt.Scale(domain=sets, range=[SERIES[i].light for i in range(len(sets))])
    )
    base = table().encode(x=x, y=y, color=colour, detail="run:N")
    layers: list[Any] = [
        base.transform_filter("datum.place == 'fine'").mark_line(strokeWidth=1, opacity=0.4),
        base.transform_filter("datum.place == 'run'").mark_line(
            strokeWidth=1 if several else 2.25, opacity=0.35 if several else 1
        ),
    ]
    if several:
        layers.append(table("means").encode(x=x, y=y, color=colour).mark_line(strokeWidth=2.5))
    if max(row["x"] for row in plain or rows) <= FEW:
        dots = table("means") if several else table().transform_filter("datum.place == 'run'")
        layers.append(dots.encode(x=x, y=y, color=colour).mark_point(size=30, filled=True, opacity=1))
    if best is not None:
        rule = table("best").encode(x=x)
        layers.append(rule.mark_rule(strokeDash=[3, 3], color=MUTED.light))
        layers.append(
            rule.mark_text(align="left", dx=5, baseline="bottom", color=MUTED.light, fontSize=11).encode(
                y=alt.value(HEIGHT - 4), text="text:N"
            )
        )
    data = {"rows": lines, "means": means, "best": [{"x": best, "text": f"best by validation: {best}"}] if best else []}
    whole = specification(layers, data=data, height=HEIGHT)
    head = {"text": title, "anchor": "start", "fontSize": 14, "color": INK.light, "offset": 22} if title else ""
    padding = {"left": 12, "right": 24, "top": 14, "bottom": 10}
    return whole | {
        "width": WIDTH,
        "background": PAPER.light,
        "title": head,
        "padding": padding,
        "autosize": {"type": "pad"},
    }


def _means(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The mean of each set over the runs that have it, epoch by epoch: as far as all that began have come."""
    runs = {label: {row["run"] for row in rows if row["set"] == label} for label in SETS.values()}
    values: dict[tuple[str, float], list[float]] = {}
    for row in rows:
        values.setdefault((row["set"], row["x"]), []).append(row["y"])
    # One that was left out half way would make the mean jump.
    whole = {place: found for place, found in values.items() if len(found) == len(runs[place[0]])}
    return [{"x": x, "y": sum(found) / len(found), "set": label} for (label, x), found in sorted(whole.items())]


def _file(label: str) -> str:
    """A level as a file's name."""
    return re.sub(r"[^\w.=+\-]+", "_", label).strip("._")[:80] or "level"


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw and print the pictures' paths; 2 when that cannot be done."""
    parser = argparse.ArgumentParser(prog="python -m reports.curve", description="Draw loss curves of a sweep as PNG.")
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
        return 2
    except OSError as error:
        where = error.filename or given.out or given.folder
        print(f"error: {where}: {error.strerror or error}; name another file by --out", file=sys.stderr)
        return 2
    print(*paths, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
