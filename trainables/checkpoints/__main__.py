"""What is kept in a folder, whether it is whole, and what compressing it would gain.

    python -m trainables.checkpoints FOLDER_OR_FILE…

Exit status 1 when something is damaged.
"""

from __future__ import annotations

import argparse
import sys
import time
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from trainables.checkpoints.files import load
from trainables.checkpoints.needed import size
from trainables.checkpoints.weights import load_weights
from trainables.keep import BEST

HEADER = ("file", "epoch", "step", "size", "deflated", "")


def main(arguments: Sequence[str] | None = None) -> int:
    """Look at what is named; 0 when all of it is whole."""
    parser = argparse.ArgumentParser(
        prog="python -m trainables.checkpoints",
        description="What is kept, whether it is whole, what compressing gains.",
    )
    parser.add_argument("paths", nargs="+", type=Path, metavar="FOLDER_OR_FILE")
    files = [file for path in parser.parse_args(arguments).paths for file in _files(path)]
    if not files:
        print("there is no checkpoint; name a folder that holds last.pt or best.safetensors", file=sys.stderr)
        return 1
    seen = [_seen(file) for file in files]
    rows = [HEADER, *(row for row, _ in seen)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0 if all(whole for _, whole in seen) else 1


def _files(path: Path) -> Iterable[Path]:
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.rglob("*") if file.suffix in (".pt", Path(BEST).suffix))


def _seen(path: Path) -> tuple[tuple[str, ...], bool]:
    """A row of the table, and whether the file is whole."""
    try:
        if path.suffix == ".pt":
            state = load(path)
            epoch, step = (str(state["epoch"]), str(state["step"])) if state is not None else ("", "")
            there = state is not None
        else:
            weights = load_weights(path)
            epoch, step, there = str(weights.epoch) if weights is not None else "", "", weights is not None
    except (KeyError, TypeError, ValueError, OSError) as error:
        return (str(path), "", "", _size(path), "", str(error) or type(error).__name__), False
    if not there:
        return (str(path), "", "", "", "", "there is no such file"), False
    return (str(path), epoch, step, _size(path), _deflated(path), ""), True


def _size(path: Path) -> str:
    return size(path.stat().st_size) if path.exists() else ""


def _deflated(path: Path) -> str:
    """What is left of a file when it is compressed as ``Keep(compress=True)`` does, and the seconds it takes."""
    data, begun = path.read_bytes(), time.perf_counter()
    share = len(zlib.compress(data, 1)) / max(1, len(data))
    return f"{share:.0%} in {time.perf_counter() - begun:.2g} s"


if __name__ == "__main__":
    raise SystemExit(main())
