"""What is kept in folders, whether it is whole, and what compressing states would gain.

    python -m trainables.checkpoints FOLDER_OR_FILE…

"deflated" is what Keep(compress=True) leaves of a state, and how long it takes; weights are never compressed.
Exit status: 0 all is whole; 1 something is damaged or cannot be read; 2 there is nothing of that name; 3 interrupted.
"""

from __future__ import annotations

import argparse
import sys
import time
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

from trainables.asked import WRONG, Parser
from trainables.checkpoints.files import load
from trainables.checkpoints.needed import size
from trainables.checkpoints.weights import load_weights
from trainables.keep import BEST, LAST

PROGRAM = "python -m trainables.checkpoints"

HEADER = ("file", "epoch", "step", "size", "deflated", "")
STATES, WEIGHTS = Path(LAST).suffix, Path(BEST).suffix


def main(arguments: Sequence[str] | None = None) -> int:
    """Look at what is named; the exit status comes back."""
    parser = Parser(
        prog=PROGRAM,
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "paths", nargs="+", type=Path, metavar="FOLDER_OR_FILE", help="such as runs/batch_size/checkpoints, or last.pt"
    )
    paths: list[Path] = parser.parse_args(arguments).paths
    wrong = [said for path in paths if (said := _wrong(path)) is not None]
    if wrong:
        print("\n".join(f"{PROGRAM}: {said}" for said in wrong), file=sys.stderr)
        return WRONG
    try:
        seen = [_seen(file) for path in paths for file in _files(path)]
    except KeyboardInterrupt:
        print(f"{PROGRAM}: interrupted; run it again", file=sys.stderr)
        return 3
    rows = [HEADER, *(row for row, _ in seen)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0 if all(whole for _, whole in seen) else 1


def _wrong(path: Path) -> str | None:
    """Why there is nothing to look at, None where there is."""
    way = f"name a folder that holds {LAST} or {BEST}, such as runs/batch_size/checkpoints, or such a file"
    if not path.exists():
        return f"there is no {path}; {way}"
    if not _files(path):
        return f"{path} holds no checkpoint; {way}"
    if path.is_file() and path.suffix not in (STATES, WEIGHTS):
        return f"{path} ends in neither {STATES} nor {WEIGHTS}; {way}"
    return None


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.rglob("*") if file.suffix in (STATES, WEIGHTS) and file.is_file())


def _seen(path: Path) -> tuple[tuple[str, ...], bool]:
    """A row of the table, and whether the file is whole."""
    try:
        if path.suffix == STATES:
            state = load(path)
            if state is None:
                raise ValueError("it has gone meanwhile")
            found = (str(state["epoch"]), str(state["step"]), _deflated(path))
        else:
            weights = load_weights(path)
            if weights is None:
                raise ValueError("it has gone meanwhile")
            found = (str(weights.epoch), "", "")
    except (KeyError, TypeError, IndexError):
        return (str(path), "", "", _size(path), "", "is no state of a run"), False
    except (ValueError, OSError, MemoryError, RuntimeError) as error:
        return (str(path), "", "", _size(path), "", str(error) or type(error).__name__), False
    epoch, step, deflated = found
    return (str(path), epoch, step, _size(path), deflated, ""), True


def _size(path: Path) -> str:
    return size(path.stat().st_size) if path.exists() else ""


def _deflated(path: Path) -> str:
    """What is left of a state when it is compressed, and the seconds it takes; of one that is, what was."""
    begun = time.perf_counter()
    with zipfile.ZipFile(path) as archive:
        parts = archive.infolist()
        plain = max(1, sum(part.file_size for part in parts))
        if any(part.compress_type != zipfile.ZIP_STORED for part in parts):
            return f"is, to {sum(part.compress_size for part in parts) / plain:.0%}"
        left = sum(_left(archive, part) for part in parts)
    return f"{left / plain:.0%} in {time.perf_counter() - begun:.2g} s"


def _left(archive: zipfile.ZipFile, part: zipfile.ZipInfo) -> int:
    """The bytes of a part once it is compressed; no more than a piece of it is held."""
    deflating = zlib.compressobj(1, wbits=-15)
    with archive.open(part) as file:
        count = sum(len(deflating.compress(piece)) for piece in iter(lambda: file.read(1 << 20), b""))
    return count + len(deflating.flush())


if __name__ == "__main__":
    raise SystemExit(main())
