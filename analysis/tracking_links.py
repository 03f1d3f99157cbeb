"""Where a person finds the runs: the command that serves them, and deep links into MLflow's pages."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from analysis.ledger import Goal
from analysis.records import Stage, Status, TrialRecord
from analysis.tracking_place import Place
from analysis.tracking_runs import level_text

_LOCAL = "http://127.0.0.1:5000"
_TRAINING = "workflowType=machine_learning"  # else MLflow opens with its pages for language models


@dataclass(frozen=True, kw_only=True, slots=True)
class Links:
    """What ``sweep.json`` holds as ``tracking``; no part of it holds a password.

    ``command`` serves a local file on loopback and is None where a server runs already. ``url`` opens the experiment,
    ``run_url`` the sweep's own run, ``compare_url`` ten trials side by side. A link is None where nothing has been written.
    """

    command: str | None
    url: str | None
    run_url: str | None
    compare_url: str | None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def links(
    place: Place, *, experiment: str | None, sweep_run: str | None, compared: Sequence[str], view: str | None
) -> Links:
    """Links by MLflow's ids; ``view`` is the key of a stored choice of columns and charts."""
    if place.database is None and not place.shown.startswith("http"):
        return Links(command=serve(place), url=None, run_url=None, compare_url=None)
    base = place.shown if place.database is None else _LOCAL
    if experiment is None:
        return Links(command=serve(place), url=None, run_url=None, compare_url=None)
    shared = f"&viewStateShareKey={view}" if view else ""
    compare = None
    if len(compared) > 1:
        runs = quote(json.dumps(list(compared), separators=(",", ":")))
        compare = f"{base}/#/compare-runs?runs={runs}&experiments={quote(json.dumps([experiment]))}&{_TRAINING}"
    return Links(
        command=serve(place),
        url=f"{base}/#/experiments/{experiment}/runs?{_TRAINING}{shared}",
        run_url=f"{base}/{run_page(experiment, sweep_run)}" if sweep_run else None,
        compare_url=compare,
    )


def run_page(experiment: str, run: str, tab: str = "") -> str:
    """A run's page, or one of its tabs, relative to the server."""
    return f"#/experiments/{experiment}/runs/{run}{tab}?{_TRAINING}"


def serve(place: Place) -> str | None:
    """The command that serves a database on loopback; None for a server."""
    if place.uri.startswith("http"):
        return None
    beside = Path(sys.executable).with_name("mlflow")
    found = shutil.which("mlflow")
    mlflow = str(beside) if beside.exists() and (found is None or not Path(found).samefile(beside)) else "mlflow"
    words = [
        mlflow,
        "server",
        "--backend-store-uri",
        place.shown,
        "--host",
        "127.0.0.1",
        "--port",
        "5000",
        "--workers",
        "1",
    ]
    return shlex.join(words)


def top(records: Sequence[TrialRecord], goal: Goal, *, count: int = 10) -> list[TrialRecord]:
    """Trials worth comparing: the best of every level, then the second best of every level, and so on.

    Finals by their test metric; where there are none, the other trials by their validation metric. A trial that diverged, was
    stopped or lost, or has no such value, is left out. Levels stand in the order of their best.
    """
    done = [record for record in records if record.status is Status.COMPLETED]
    finals = [record for record in done if record.stage is Stage.FINAL]
    metric = f"test/{goal.metric}" if finals else f"val/{goal.metric}"
    scored = [record for record in finals or done if record.metrics.get(metric) is not None]
    scored.sort(key=lambda record: -goal.sign * record.metrics[metric])
    places: dict[str, int] = {}
    ranked = []
    for position, record in enumerate(scored):
        level = level_text(record.level)
        places[level] = places.get(level, 0) + 1
        ranked.append((places[level], position, record))
    return [record for *_, record in sorted(ranked, key=lambda entry: entry[:2])[:count]]
