"""A sweep that was run, for commands that are asked about the finals of one of its levels."""

from __future__ import annotations

import argparse
import glob
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sweeps import options as command_line
from sweeps.engine.errors import QuestionError
from sweeps.engine.spec import Sweep

if TYPE_CHECKING:
    from analysis.finals import Finals

LEVEL = "a compared level (default: the one that the verdict puts first)"
"""What ``--level`` is to these commands."""

OPTIONS = "Further options are those of the sweep, given as it was run: --runs, --quick, --epochs, --task, --data."

_SWEEP = "sweep.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished:
    """A sweep's folder, and the level of it that is asked about."""

    folder: Path
    level: Finals


def finished(sweep: Sweep, options: command_line.Options, own: argparse.Namespace, rest: Sequence[str]) -> Finished:
    """What lies in the sweep's folder, and the level ``own.level``, or the one that the verdict puts first.

    Raises QuestionError, with the command that would make it, where there is no folder, no such level or no final.
    """
    from analysis.finals import gather
    from analysis.judge import judge
    from analysis.ledger import FolderError, read_ledger, read_question

    folder = options.runs / sweep.name
    if not (folder / _SWEEP).exists():
        raise QuestionError(_absent(folder, shlex.join(["python", own.script, *rest])))
    try:
        question, records = read_question(folder), read_ledger(folder)
    except FolderError as error:
        raise QuestionError(str(error)) from error
    levels = {level.label: level for level in gather(question, records)}
    if own.level is not None and own.level not in levels:
        raise QuestionError(f"--level {own.level}: there is no such level; the sweep compares {', '.join(levels)}")
    ranked = [level.label for level in judge(question, records).levels if level.n]
    if not ranked:
        raise QuestionError("no final has finished yet; run the sweep to its end first")
    return Finished(folder=folder, level=levels[own.level or ranked[0]])


def _absent(folder: Path, command: str) -> str:
    """Why there is nothing to answer from, the command that would make it, and what else there is of this sweep."""
    name = folder.name.partition("-")[0]  # other forms of it have their task, their data or "quick" after a dash
    others = sorted(f"{path.parent}" for path in folder.parent.glob(f"{glob.escape(name)}*/{_SWEEP}"))
    there = f"; what there is: {', '.join(others)}" if others else ""
    return (
        f"{folder} holds no sweep{there}. Run `{command}` first, or name place and form of the run by the options "
        "that it had: --runs, --quick, --task, --data"
    )
