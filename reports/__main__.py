"""Render report.html and verdict.json again from the folders of sweeps, without Ray or torch."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str] | None = None) -> int:
    """Render each folder, print the page's path and the answer; 2 when a folder could not be rendered, else 0."""
    parser = argparse.ArgumentParser(prog="python -m reports", description=__doc__)
    parser.add_argument(
        "folders", nargs="+", type=Path, metavar="DIR", help="a sweep's folder, such as runs/batch_size"
    )
    folders: list[Path] = parser.parse_args(arguments).folders
    return max(_render(folder) for folder in folders)


def _render(folder: Path) -> int:
    # Here, so that --help comes at once.
    from analysis.ledger import FolderError
    from reports.page import write

    try:
        page = write(folder)
        answer = json.loads((folder / "verdict.json").read_text(encoding="utf-8"))["answer"]
    except FolderError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {folder}: {error.strerror or error}; is it a folder that can be written to?", file=sys.stderr)
        return 2
    print(f"{page}\n{answer}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
