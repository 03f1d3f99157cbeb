"""The sweep's folder: what was asked, as ``sweep.json``, and whether a folder belongs to it."""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any

from analysis.records import Stage, TrialRecord
from analysis.redact import redact_all
from sweeps.engine import space
from sweeps.engine.errors import QuestionError
from sweeps.engine.job import key
from sweeps.engine.ledger import LEDGER, claimed, write
from sweeps.engine.machine import Machine
from sweeps.engine.search import PBT
from sweeps.engine.spec import WORKERS, Sweep
from sweeps.engine.vary import VARY
from trainables.describe import Scalar, default, plain, same

FORMAT = 1

LOCK = ".lock"
"""What alone lies in a folder in which nothing has been written yet."""


def asked(sweep: Sweep) -> dict[str, Any]:
    """What makes two sweeps the same question: a folder's trials count only for this.

    How many heats and finals, how they are searched and where they run may change from one command to the next.
    """
    return {
        "sweep": sweep.name,
        "task": sweep.task.name,
        "data": plain(sweep.task.data),
        "file": _digest(sweep.task.data),
        "metrics": plain(sweep.task.metrics),
        "loss": plain(sweep.task.loss),
        "metric": sweep.task.goal.metric,
        "mode": sweep.task.goal.mode,
        "seed": sweep.seed,
        "vary": sweep.factors().get(VARY) or list(sweep.drawn()),
        **{f"recipe.{path}": value for path, value in space.settings(sweep.recipe) if path != "seed"},
        **({WORKERS: space.written(sweep.resources.workers)} if sweep.workers_matter else {}),
        # The lines above are for people and leave things out; this is complete.
        "recipe": hashlib.sha256(json.dumps(plain(sweep.recipe), sort_keys=True).encode()).hexdigest()[:12],
    }


def described(sweep: Sweep, machine: Machine, **course: Any) -> dict[str, Any]:
    """All of ``sweep.json``; ``course`` is how it is run: command, lane, concurrency, tracking."""
    goal = sweep.task.goal
    return {
        "format": FORMAT,
        "sweep": sweep.name,
        "task": sweep.task.name,
        "goal": {"metric": goal.metric, "mode": goal.mode, "target": goal.target},
        "levels": sweep.levels(),
        "equal": [{"level": level, "run_as": first} for level, first in sweep.equal()],
        "factors": [{"path": path, "levels": levels} for path, levels in sweep.factors().items()],
        "space": {path: space.describe(hole) for path, hole in sweep.searched().items()},
        "spaces": [_space(sweep, level) for level in sweep.levels()],
        "search": space.written(sweep.search),
        "early_stop": space.written(sweep.early_stop),
        "also": sweep.also.to_json() if sweep.also is not None else None,
        "trials": sweep.trials,
        "heats": [sweep.heats(level) for level in sweep.levels()],
        "seeds": sweep.seeds,
        "seed": sweep.seed,
        "vary": list(sweep.drawn()),
        "epochs": sweep.recipe.epochs,
        "budget": {"by": "epochs", "epochs": sweep.recipe.epochs, "seconds": sweep.budget_seconds},
        "recipe": dict(space.settings(sweep.recipe)),
        "resources": dict(space.settings(sweep.resources)),
        "differences": differences(sweep),
        "asked": asked(sweep),
        "source": machine.source,
        "versions": dict(machine.versions),
        "hardware": dict(machine.details),
        "created": time.time(),
        **course,
    }


def _space(sweep: Sweep, level: Mapping[str, Scalar]) -> dict[str, str]:
    """What the search of a level draws, in words, by path."""
    return {path: space.describe(hole) for path, hole in space.holes(sweep.domain(level).recipe)}


def differences(sweep: Sweep) -> list[dict[str, Any]]:
    """Where the recipe departs from the default one; the model has no default and is always named."""
    found = []
    for field in fields(sweep.recipe):
        value, usual = getattr(sweep.recipe, field.name), default(field)
        if field.name != "seed" and not same(value, usual):
            before = "—" if usual is MISSING else space.written(usual)
            found.append({"path": field.name, "default": before, "value": space.written(value)})
    return found


def read(folder: Path) -> dict[str, Any] | None:
    """The folder's ``sweep.json``, or None when it has none. Raises QuestionError when it is damaged."""
    path = folder / "sweep.json"
    try:
        stored = json.loads(path.read_text())
        if not isinstance(stored, dict):
            raise ValueError(f"it holds a {type(stored).__name__}")
    except FileNotFoundError:
        return None
    except (ValueError, OSError) as error:
        raise QuestionError(
            f"{path} cannot be read ({error}); add --fresh to move {folder} aside, or --runs OTHER"
        ) from error
    return stored


def match(folder: Path, sweep: Sweep) -> Mapping[str, Any] | None:
    """The stored question when the folder belongs to this sweep, None when it is new.

    Raises QuestionError, naming what differs, when it belongs to another question.
    """
    stored = read(folder)
    if stored is None:
        if (folder / LEDGER).exists():
            raise QuestionError(
                f"{folder} has a ledger but no sweep.json; add --fresh to move it aside, or --runs OTHER"
            )
        return None
    before, now = stored.get("asked", {}), json.loads(json.dumps(redact_all(asked(sweep))))
    changed = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    if len(changed) > 1 and "recipe" in changed:
        changed.remove("recipe")
    if changed:
        shown = "; ".join(f"{name} was {_short(before.get(name))}, is {_short(now.get(name))}" for name in changed[:4])
        more = f" and {len(changed) - 4} more" if len(changed) > 4 else ""
        raise QuestionError(
            f"{folder} belongs to another question: {shown}{more}. "
            "Add --fresh to move that folder aside and start anew, or --runs OTHER to keep both"
        )
    return stored


def extended(sweep: Sweep, stored: Mapping[str, Any] | None, records: Sequence[TrialRecord]) -> Sweep:
    """The sweep with at least the heats and finals that the folder holds: what was measured counts, it is never left out."""
    if stored is None:
        return sweep
    finals = [record.seed - sweep.seed for record in records if record.stage is Stage.FINAL and record.status.settled]
    heats = Counter(key(record.level) for record in records if record.status.settled and _counts(sweep, record))
    sweep = replace(sweep, seeds=max([sweep.seeds, *finals]))
    most, trials = max(heats.values(), default=0), sweep.search.trials if sweep.search is not None else None
    if isinstance(trials, int) and most > trials:  # numbers of trials that are compared are levels, each with its own
        sweep = replace(sweep, search=replace(sweep.search, trials=most))  # type: ignore[type-var]
    return sweep


def _counts(sweep: Sweep, record: TrialRecord) -> bool:
    """True for a heat of the search that its level has now; of a population, for a member's first segment."""
    if record.stage is not Stage.HEAT or dict(record.level) not in sweep.levels():
        return False
    search = sweep.search_of(record.level)
    if isinstance(search, PBT):
        return record.parent is None and record.until == search.ends(sweep.recipe.epochs)[0]
    return record.until is None


def looks(sweep: Sweep, stored: Mapping[str, Any], *, answered: bool) -> dict[str, Any]:
    """The looks at the finals so far and the one to come, for ``sweep.json``.

    More seeds after an answer are another look. It was not declared, so the first one has spent all of alpha already; the later
    ones get what they would have had, and the page says so.
    """
    before = list(stored.get("looks") or [stored["seeds"]]) if answered and "seeds" in stored else []
    if not before:
        return {"looks": [sweep.seeds], "looks_declared": True}
    if sweep.seeds <= max(before):
        return {"looks": before, "looks_declared": stored.get("looks_declared", True)}
    return {"looks": [*before, sweep.seeds], "looks_declared": False}


def store(folder: Path, question: Mapping[str, Any]) -> None:
    """Write ``sweep.json``, whole, without secrets."""
    write(folder / "sweep.json", json.dumps(redact_all(question), indent=1, allow_nan=False) + "\n")


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """The folder, made where it is not there, and held for this process.

    What was made goes again, with the parents made for it, when the command ends in an error or an interruption before it has
    written anything. Raises QuestionError when the folder cannot be made, or another command is at work in it.
    """
    absent = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise QuestionError(f"{folder} cannot be made: {error.strerror}; name another place by --runs") from error
    with claimed(folder):
        try:
            yield
        except BaseException:
            if folder in absent and untouched(folder):
                (folder / LOCK).unlink()
                for path in absent:
                    if any(path.iterdir()):
                        break
                    path.rmdir()
            raise


def untouched(folder: Path) -> bool:
    """True when nothing has been written into a folder, or there is none."""
    return not folder.exists() or all(path.name == LOCK for path in folder.iterdir())


def move_aside(folder: Path) -> Path | None:
    """Rename a folder out of the way, so that nothing is lost; its new name comes back, None when there was none."""
    if not folder.exists():
        return None
    stamp = time.strftime("%Y-%m-%d-%H%M%S")
    aside = folder.with_name(f"{folder.name}-before-{stamp}")
    number = 1
    while aside.exists():
        number += 1
        aside = folder.with_name(f"{folder.name}-before-{stamp}-{number}")
    folder.rename(aside)
    return aside


def files(sweep: Sweep) -> list[str]:
    """The files that the task reads, where its data names a file, or a folder of them, by ``path``."""
    return [str(path) for path in _files(sweep.task.data)]


def _files(data: object) -> list[Path]:
    path = getattr(data, "path", None)
    if not isinstance(path, str):
        return []
    place = Path(path)
    if place.is_dir():
        return sorted(inner for inner in place.rglob("*") if inner.is_file())
    return [place] if place.is_file() else []


def _digest(data: object) -> str | None:
    """What is in the files that a task reads, where its data names them by ``path``: edited data is another question."""
    found = _files(data)
    if not found:
        return None
    if len(found) == 1 and str(found[0]) == getattr(data, "path", None):
        return _contents(found[0])[:12]
    named = "".join(f"{path.relative_to(str(getattr(data, 'path', '')))}\0{_contents(path)}\n" for path in found)
    return hashlib.sha256(named.encode()).hexdigest()[:12]


def _contents(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _short(value: Any) -> str:
    if isinstance(value, dict) and "" in value:
        settings = ", ".join(f"{name}={setting}" for name, setting in value.items() if name)
        value = f"{value['']}({settings})"
    text = "absent" if value is None else str(value)
    return text if len(text) <= 60 else text[:57] + "…"
