"""What a run finds to go on from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainables.checkpoints.files import DamagedError, load
from trainables.keep import BEFORE, LAST, TEMPORARY

ANEW = "look after the disk, delete the folder, and the run starts anew"
"""What is left to do without a state."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """The state to go on from, None where there is none, and a ``remark`` where it is not the one it should be.

    ``damaged`` says that the last state in the run's own folder is of no use.
    """

    state: dict[str, Any] | None = None
    remark: str | None = None
    damaged: bool = False


def found(folder: Path) -> Found:
    """The last state of a run's folder, or the one before it where the last is damaged or was not put in its place any more.

    Raises ValueError when neither can be used.
    """
    try:
        state = load(folder / LAST)
    except DamagedError as error:
        return _before(folder, error)
    if state is None:
        # Killed after the old state was moved aside and before the new one was in its place.
        try:
            state = load(folder / BEFORE)
        except DamagedError as error:
            raise ValueError(f"{error}, and there is no {LAST} beside it; {ANEW}") from error
    return Found(state=state, remark=state.get("remark") if state is not None else None)


def tidied(folder: Path) -> None:
    """Remove what a killed process had begun to write."""
    for stray in folder.glob(f"*{TEMPORARY}"):
        stray.unlink(missing_ok=True)


def _before(folder: Path, damage: DamagedError) -> Found:
    try:
        state = load(folder / BEFORE)
    except DamagedError as error:
        raise ValueError(f"{damage}, and so is {BEFORE} beside it; {ANEW}") from error
    if state is None:
        return Found(remark=f"{LAST} was damaged and the only state; the run began anew", damaged=True)
    begun = " and a part of the next" if state.get("within") is not None else ""
    return Found(
        state=state,
        remark=f"{LAST} was damaged; went on from the state before it, of {state['epoch']} epochs{begun}",
        damaged=True,
    )
