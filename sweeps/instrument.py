"""What commands that measure a sweep's recipe have in common: arguments, errors in one line, configurations, figures as JSON."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeps import options as command_line
from sweeps.declared import declared
from sweeps.engine import space
from sweeps.engine.errors import QuestionError
from sweeps.engine.spec import Sweep
from trainables import ConflictError, Recipe
from trainables.asked import Parser, place
from trainables.describe import Scalar

ANSWERED, WRONG, INTERRUPTED = 0, 2, 3

RATE = "optimizer.lr"
"""The path of the learning rate."""

Points = Mapping[str, Scalar]


@dataclass(frozen=True, kw_only=True, slots=True)
class Configuration:
    """A compared level with its recipe; ``held`` are the searched settings by path, each at the middle of its range."""

    label: str
    recipe: Recipe
    workers: int
    held: Points


def parser(
    program: str, description: str | None, *, level: str = "one of the compared levels (default: all)"
) -> Parser:
    """A parser for the sweep's file and ``--level``, to which a command adds its own."""
    made = Parser(
        prog=f"python -m sweeps.{program}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Further options are those of every sweep: --task, --data, --epochs, --workers, --runs and --quick change what is\n"
        "asked about. Exit status: 0 answered; 2 the question is wrong; 3 interrupted.",
        allow_abbrev=False,
    )
    made.add_argument("script", metavar="SCRIPT", help="the sweep's file; it comes first")
    made.add_argument("--level", metavar="LABEL", help=level)
    return made


def answered(
    own: argparse.Namespace, rest: Sequence[str], program: str, answer: Callable[[Sweep, command_line.Options], None]
) -> int:
    """Read the sweep and its options, and have ``answer`` print what it finds; what goes wrong is one line. The exit status."""
    options = command_line.read(rest, program=f"python -m sweeps.{program} {own.script}", description=None)
    try:
        answer(asked(Path(own.script), options), options)
    except (QuestionError, ConflictError) as error:
        print(f"error: {error}", file=sys.stderr)
        return WRONG
    except KeyboardInterrupt:
        print("\nInterrupted; run the same command again.", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:  # of the user's task or model: what it says, without our own frames
        print(f"error: {type(error).__name__}: {error}{place(error)}", file=sys.stderr)
        return WRONG
    return ANSWERED


def asked(script: Path, options: command_line.Options) -> Sweep:
    """The sweep that is asked about. Raises QuestionError for one that is unsound, and for options that start something."""
    if options.fresh or options.dry_run:
        raise QuestionError("--fresh and --dry-run are for the sweep itself; leave them out here")
    sweep = options.question(declared(script))
    sweep.check()
    return sweep


def configurations(sweep: Sweep, label: str | None = None, *, free: Sequence[str] = ()) -> list[Configuration]:
    """The compared levels, or the one of this ``label``, each searched setting at the middle of its range.

    Levels that differ in the paths of ``free`` alone, which an instrument sets itself, are one. Raises QuestionError for a label
    that there is not.
    """
    from analysis import units

    found: dict[str, Configuration] = {}
    for level in sweep.levels():
        named = {path: value for path, value in level.items() if path not in free}
        name = units.level(named, sweep.name)
        if name not in found:
            held: dict[str, Scalar] = {}
            recipe = space.resolve(sweep.recipe, _filler(level, held))
            known = {path: value for path, value in held.items() if path not in free}
            found[name] = Configuration(label=name, recipe=recipe, workers=sweep.workers(level), held=known)
    if label is None:
        return list(found.values())
    if label not in found:
        raise QuestionError(f"--level {label}: there is no such level; there are {', '.join(found)}")
    return [found[label]]


def _filler(level: Points, held: dict[str, Scalar]) -> space.Filler:
    """Fill compared factors from the level and searched holes from the middle, which is noted in ``held``."""

    def filler(path: str, hole: space.Hole) -> Scalar:
        if isinstance(hole, space.Each):
            return level[path]
        held[path] = _middle(hole)
        return held[path]

    return filler


def _middle(hole: space.Choice | space.Uniform | space.IntRange) -> Scalar:
    match hole:
        case space.Choice(options):
            return space.name(options[(len(options) - 1) // 2])
        case space.Uniform(low, high, log):
            return math.sqrt(low * high) if log else (low + high) / 2
        case space.IntRange(low, high, log):
            return round(math.sqrt(low * high)) if log else (low + high) // 2


def folder(options: command_line.Options, sweep: Sweep, given: Path | None) -> Path:
    """Where the figures go, made if need be. Raises QuestionError where it cannot be written to."""
    found = given if given is not None else options.runs / "instruments" / sweep.name
    try:
        found.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise QuestionError(f"{found} cannot be written to: {error.strerror}; name another folder by --out") from error
    return found


def store(path: Path, numbers: Any) -> None:
    """Write figures as JSON, what is not finite as null. Raises QuestionError where they cannot be written."""
    try:
        path.write_text(json.dumps(_finite(numbers), indent=1, allow_nan=False) + "\n")
    except OSError as error:
        raise QuestionError(f"{path} cannot be written: {error.strerror}; name another folder by --out") from error


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _finite(item) for name, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value


def device(sweep: Sweep) -> str:
    """The device that a worker of the sweep would have here."""
    import torch

    return "cuda" if sweep.resources.gpus != 0 and torch.cuda.is_available() else "cpu"


def held_words(found: Sequence[Configuration]) -> str:
    """The settings that were held at the middle of what is searched, as a sentence; empty where there are none."""
    from analysis import units

    values = {path: value for each in found for path, value in each.held.items()}
    words = ", ".join(f"{units.name(path)} {units.label(_short(value))}" for path, value in values.items())
    return f"Searched settings at the middle of their range: {words}." if words else ""


def _short(value: Scalar) -> Scalar:
    """A number to three digits: the middle of a range needs no more."""
    return float(f"{value:.3g}") if isinstance(value, float) else value
