"""A trial as MLflow shows it: name, tags, parameters, metrics. Nothing here imports MLflow."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from analysis.colours import LEVELS
from analysis.ledger import Goal, Question
from analysis.records import Row, Scalar, Stage, Status, TrialRecord
from analysis.redact import redact

NAME_WIDTH = 18  # what the table of runs shows before it cuts
_KEY_WIDTH, _PARAM_WIDTH, _TAG_WIDTH = 240, 6000, 5000
_NOT_A_KEY = re.compile(r"[^/\w.\- ]")
_AXES = ("epoch", "step", "time")

Metric = tuple[str, float, int, int]
"""Name, value, milliseconds since 1970, step: the epoch, or under ``step/`` the optimizer's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Naming:
    """What depends on the question alone: short names of the paths, scales, the order of the levels."""

    question: Question
    short: Mapping[str, str]
    logarithmic: frozenset[str]
    levels: Mapping[str, int]

    @classmethod
    def of(cls, question: Question) -> Naming:
        """Read the factors and the searched space (``space`` in ``sweep.json``)."""
        space = question.raw.get("space")
        space = space if isinstance(space, Mapping) else {}
        return cls(
            question=question,
            short=_short_names([*question.factors, *map(str, space)]),
            logarithmic=frozenset(path for path, hole in space.items() if str(hole).startswith("log_uniform")),
            levels={level_text(level): i for i, level in enumerate(question.levels)},
        )

    def run_name(self, record: TrialRecord) -> str:
        """What tells a run from its neighbours, in 18 characters: ``64 lr 3.1e-3 t017`` for a heat, ``64 final s3``."""
        head = _cut(" ".join(self._level(path, value) for path, value in record.level.items()), 9)
        if record.stage is not Stage.HEAT:
            return _cut(
                " ".join(part for part in (head, record.stage.value, f"s{record.seed}") if part), 2 * NAME_WIDTH
            )
        tail = f"t{record.number:03d}" if record.number is not None else record.id[:6]
        parts, room = [head] if head else [], NAME_WIDTH - len(head) - len(tail) - 1
        searched = [path for path in record.point if path not in record.level]
        for path in sorted(searched, key=lambda path: path not in self.logarithmic):
            text = f"{self.key(path)} {_brief(record.point[path])}"
            if len(text) + 1 <= room:
                parts.append(text)
                room -= len(text) + 1
        return " ".join([*parts, tail])

    def _level(self, path: str, value: Scalar) -> str:
        """A level in few characters; with its arguments' values where another level has the same beginning."""
        text = _brief(value)
        alike = sum(_brief(level) == text for level in self.question.factors.get(path, ()))
        return text if alike < 2 else " ".join([text, *re.findall(r"=([^,()]+)", str(value))])

    def key(self, path: str) -> str:
        """The parameter's name for a path: its last part where that is unique."""
        return _key(self.short.get(path, path))

    def params(self, record: TrialRecord) -> dict[str, str]:
        """Every hole of the point, the logarithm of those on a logarithmic scale (MLflow's axes are linear), level, seed, stage."""
        params = {self.key(path): _text(value, _PARAM_WIDTH) for path, value in record.point.items()}
        for path in sorted(self.logarithmic):
            value = record.point.get(path)
            if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
                params[f"{self.key(path)}_log10"] = f"{math.log10(value):.4g}"
        own = {"seed": str(record.seed), "stage": record.stage.value}
        if len(record.level) > 1:  # with one factor the level is that factor, and would be drawn twice
            own["level"] = level_text(record.level)
        return own | params

    def tags(self, record: TrialRecord) -> dict[str, str]:
        """Our own tags, the level's colour, and an error as the run's description."""
        level = level_text(record.level)
        tags = {
            "regatta.kind": "trial",
            "regatta.sweep": record.sweep,
            "regatta.created": created(self.question),
            "regatta.id": record.id,
            "regatta.stage": record.stage.value,
            "regatta.level": level,
            "regatta.seed": str(record.seed),
            "regatta.number": "" if record.number is None else str(record.number),
            "regatta.status": record.status.value,
            "regatta.reason": record.reason or "",
            "regatta.parent": record.parent or "",
            "regatta.until": "" if record.until is None else f"epoch {record.until}",
            "regatta.earlier": _course(record),
            "regatta.lane": record.lane or "",
            "regatta.hardware": record.hardware or "",
            "regatta.source": record.source or "",
            "regatta.not_finite": ", ".join(sorted(_not_finite(record))),
        }
        place = self.levels.get(level)
        if place is not None and place < len(LEVELS) and len(self.levels) > 1:
            tags["mlflow.runColor"] = LEVELS[place]
        if record.error or record.reason:
            fence = "" if not record.error else f"\n\n```\n{record.error.replace('```', '` ` `')[-3000:]}\n```"
            tags["mlflow.note.content"] = f"**{record.status.value.replace('_', ' ')}**: {record.reason or ''}{fence}"
        tags |= source_tags(self.question)
        return {name: _text(value, _TAG_WIDTH) for name, value in tags.items() if value}


def _course(record: TrialRecord) -> str:
    """The settings before the run's own, where they changed in mid-run; the run's parameters hold the last ones."""
    return "; ".join(
        f"until epoch {turn['until']}: {', '.join(f'{path} {_brief(value)}' for path, value in turn['point'].items())}"
        for turn in record.earlier
    )


def rows(record: TrialRecord, history: Iterable[Row], *, after: int = 0) -> list[Metric]:
    """The metrics of the epochs past ``after``, in order, as ``train/ val/ test/ perf/``; what is not finite is left out.

    What was seen within an epoch is ``step/val_loss`` by the optimizer's step, beside what a trial notes there, and so is what
    its end says of the same.
    """
    metrics: list[Metric] = []
    before: Row = {}
    for row in history:
        epoch, when = int(row["epoch"]), _milliseconds(record, row)
        if epoch > after:
            for name, value in row.items():
                if name not in _AXES and _finite(value):
                    metrics.append((_metric_key(name), float(value), when, epoch))
            metrics += _looks(row, when)
            speed = _samples_per_second(row, before)
            if speed is not None:
                metrics.append(("perf/samples_per_second", speed, when, epoch))
        before = row
    return metrics


def _looks(row: Row, when: int) -> list[Metric]:
    """Validations within an epoch, and at its end; the time is that of the end, since theirs is not kept."""
    within = row.get("within")
    looks = within if isinstance(within, list) else []
    names = dict.fromkeys(name for look in looks for name in look if "/" in name)
    return [
        (_key(f"step/{name.replace('/', '_')}"), float(look[name]), when, int(look["step"]))
        for look in [*looks, row]
        for name in names
        if _finite(look.get(name))
    ]


def once(record: TrialRecord, goal: Goal) -> list[Metric]:
    """What is one number a trial, without a curve: ``best/`` at the chosen epoch, the goal's on test first, ``cost/`` in all.

    A trial that diverged or was lost has no ``best/``, so that it never comes first in a table sorted by it.
    """
    judged = not (record.status is Status.DIVERGED or record.status.lost)
    chosen = sorted(record.metrics, key=lambda name: (name != f"test/{goal.metric}", name != f"val/{goal.metric}"))
    values: dict[str, Any] = {f"best/{name.replace('/', '_')}": record.metrics[name] for name in chosen if judged}
    values["best/epoch"] = record.best_epoch if judged else None
    cost = record.cost
    values |= {"cost/seconds": cost.seconds, "cost/cpu_seconds": cost.cpu_seconds, "cost/gpu_seconds": cost.gpu_seconds}
    values |= {"cost/joules": cost.joules, "cost/peak_bytes": cost.peak_bytes, "cost/samples": record.samples}
    values |= {"cost/shared": record.shared}
    when = milliseconds(record.ended if record.ended is not None else record.started)
    return [(_metric_key(name), float(value), when, 0) for name, value in values.items() if _finite(value)]


def steps(rows: Iterable[Row]) -> list[Metric]:
    """What a trial noted within its epochs, as ``step/`` by the optimizer's step; what is not finite is left out."""
    return [
        (f"step/{name}", float(row[name]), milliseconds(row.get("time")), int(row["step"]))
        for row in rows
        for name in ("loss", "lr", "grad_norm")
        if _finite(row.get(name))
    ]


def mlflow_status(status: Status) -> str:
    """MLflow's word: a trial that was lost has failed; a stopped or diverged one is an answer."""
    return "FAILED" if status.lost else "FINISHED"


def level_text(level: Mapping[str, Scalar]) -> str:
    """A level's values, ``64`` or ``64, SGD(momentum=0.9)``; empty where nothing is compared."""
    return ", ".join(str(value) for value in level.values())


def created(question: Question) -> str:
    """When this sweep was begun, which tells it from an earlier one of the same name; it stays as it is when resumed."""
    when = question.raw.get("created")
    return datetime.fromtimestamp(when, UTC).isoformat(timespec="milliseconds") if isinstance(when, int | float) else ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Data:
    """What was trained on, as MLflow lists data sets: the task's name, and a digest of how the sweep describes its data."""

    name: str
    digest: str
    source: str


def data_of(question: Question) -> Data | None:
    """The data that the question names (``asked.data``); None where it names none."""
    asked = question.raw.get("asked")
    described = asked.get("data") if isinstance(asked, Mapping) else None
    if described is None:
        return None
    source = json.dumps(described, sort_keys=True)
    return Data(
        name=question.task, digest=hashlib.sha256(source.encode()).hexdigest()[:8], source=_text(source, _TAG_WIDTH)
    )


def sweep_tags(question: Question) -> dict[str, str]:
    """Tags of the sweep's own run."""
    own = {"regatta.kind": "sweep", "regatta.sweep": question.sweep, "regatta.created": created(question)}
    return own | source_tags(question)


def source_tags(question: Question) -> dict[str, str]:
    """The script that ran, where the question names the command."""
    script = next((word for word in str(question.raw.get("command") or "").split() if word.endswith(".py")), None)
    return {"mlflow.source.name": redact(script), "mlflow.source.type": "LOCAL"} if script else {}


def sweep_params(question: Question) -> dict[str, str]:
    """The question as parameters of the sweep's own run: ``recipe.…``, ``space.…``, trials, seeds and so on."""
    flat: dict[str, str] = {}
    left_out = ("format", "sweep", "asked", "factors", "differences", "created", "command", "tracking")

    def walk(path: str, value: Any) -> None:
        if isinstance(value, Mapping):
            for name, inner in value.items():
                walk(f"{path}.{name}" if path else str(name), inner)
        elif value is not None:
            flat[_key(path)] = _text(value, _PARAM_WIDTH)

    walk("", {name: value for name, value in question.raw.items() if name not in left_out})
    for path, levels in question.factors.items():
        flat[_key(f"each.{path}")] = _text(", ".join(str(level) for level in levels), _PARAM_WIDTH)
    return flat


def milliseconds(when: float | None) -> int:
    """Seconds since 1970 as MLflow counts; 0 where the time is not known."""
    return round(1000 * when) if when is not None and math.isfinite(when) else 0


def _milliseconds(record: TrialRecord, row: Row) -> int:
    if _finite(row.get("time")):
        return milliseconds(row["time"])
    seconds = row.get("seconds")
    return milliseconds((record.started or 0.0) + (seconds if seconds is not None and _finite(seconds) else 0.0))


def _samples_per_second(row: Row, before: Row) -> float | None:
    """Training speed in this epoch; None for the first row of a part and where the lane does not know seconds."""
    if int(row["epoch"]) > 1 and not before:
        return None
    samples, seconds = row.get("samples"), row.get("seconds")
    if samples is None or seconds is None:
        return None
    samples, seconds = samples - (before.get("samples") or 0), seconds - (before.get("seconds") or 0.0)
    return samples / seconds if seconds > 0 else None


@lru_cache(maxsize=4096)  # asked for every point
def _metric_key(name: str) -> str:
    grouped = "train/lr" if name == "lr" else name if "/" in name else f"perf/{name}"
    return _key(grouped)


def _key(name: str) -> str:
    """A name that MLflow takes: it refuses other characters, and what would be another path as a file's name."""
    return (
        "/".join(part for part in _NOT_A_KEY.sub("_", name).split("/") if part not in ("", ".", ".."))[:_KEY_WIDTH]
        or "_"
    )


def _not_finite(record: TrialRecord) -> set[str]:
    """Metrics that were measured and were not finite: null in the ledger's JSON, not absent."""
    ignored = (*_AXES, "seconds", "samples")
    named = {name for row in record.history for name, value in row.items() if name not in ignored and _broken(value)}
    return {_metric_key(name) for name in named if "/" in name or name == "lr"}


def _broken(value: Any) -> bool:
    return value is None or (isinstance(value, float) and not math.isfinite(value))


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _short_names(paths: Sequence[str]) -> dict[str, str]:
    last = {path: path.rpartition(".")[2] for path in dict.fromkeys(paths)}
    taken = [*last.values(), "level", "seed", "stage"]
    return {path: name if taken.count(name) == 1 else path for path, name in last.items()}


def _brief(value: Scalar) -> str:
    """A value in few characters: two digits of a number, ``3.1e-3`` where it is small, a part without its arguments."""
    if isinstance(value, float):
        text = f"{value:.1e}" if value and not 0.01 <= abs(value) < 10_000 else f"{value:.2g}"
        mantissa, _, exponent = text.partition("e")
        return f"{mantissa.removesuffix('.0')}e{int(exponent)}" if exponent else text
    return str(value).partition("(")[0] if isinstance(value, str) else str(value)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _text(value: Any, width: int) -> str:
    if isinstance(value, list | tuple):
        value = ", ".join(str(item) for item in value)
    return _cut(redact(str(value)), width)
