"""What the doctor sees in the runs of a sweep: findings with their evidence and one change to try each, the weightiest first.

python -m analysis.doctor runs/batch_size
python -m analysis.doctor runs/batch_size --json
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.arguments import WRONG, Parser

if TYPE_CHECKING:
    from rich.table import Table

    from analysis.doctor.finding import Finding

ANSWERED = 0

NAMED = 3
"""Trials that are named; the others are counted."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Examine a folder and print what is found; the exit status is 0 with findings or without."""
    parser = Parser(
        prog="python -m analysis.doctor",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Exit status: 0 healthy, or findings; 2 the folder holds no sweep.",
        allow_abbrev=False,
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="a sweep's folder, such as runs/batch_size")
    parser.add_argument("--json", action="store_true", help="the findings as one object, for programs")
    options = parser.parse_args(arguments)
    # Here, so that --help comes at once.
    from analysis.doctor.cost import waits
    from analysis.doctor.examine import examine
    from analysis.ledger import FolderError, read_ledger, read_question
    from analysis.redact import redact_all

    try:
        question, records = read_question(options.folder), read_ledger(options.folder)
    except FolderError as error:
        print(f"error: {error}", file=sys.stderr)
        return WRONG
    findings = examine(question, records, waits=waits(options.folder))
    looked = sum(
        record.stage == "final" and not record.status.lost and record.status != "running" for record in records
    )
    if options.json:
        found = {"sweep": question.sweep, "finals": looked, "findings": [one.to_json() for one in findings]}
        print(json.dumps(redact_all(found), indent=1, allow_nan=False))
        return ANSWERED
    from rich.console import Console

    over = f"{looked} final{'' if looked == 1 else 's'}"
    if not looked:
        print(f"{question.sweep}: no final has finished yet; run the sweep on, then ask again.")
    elif not findings:
        print(f"{question.sweep}: nothing is wrong in its {over}.")
    else:
        print(
            f"{question.sweep}: {len(findings)} finding{'' if len(findings) == 1 else 's'} in its {over}, the weightiest first.\n"
        )
        Console().print(table(findings))
    return ANSWERED


def table(findings: Sequence[Finding]) -> Table:
    """A row a finding: what and where, its evidence with the trials, the change to try."""
    from rich.table import Table
    from rich.text import Text

    from analysis.redact import redact

    drawn = Table(box=None, padding=(0, 2, 1, 0), header_style="dim", pad_edge=False)
    drawn.add_column("finding", min_width=16, ratio=2)
    drawn.add_column("evidence", ratio=5)
    drawn.add_column("to try", ratio=3)
    for one in findings:
        what = Text(one.disease.value, style="bold").append(
            f"\n{redact(one.level)}" if one.level else "", style="not bold dim"
        )
        evidence = Text(redact(one.evidence)).append(f"\n{trials(one.trials)}" if one.trials else "", style="dim")
        drawn.add_row(what, evidence, Text(redact(one.change)))
    return drawn


def trials(ids: Sequence[str]) -> str:
    """The trials of a finding, the first few by name."""
    more = f" and {len(ids) - NAMED} more" if len(ids) > NAMED else ""
    return f"{', '.join(ids[:NAMED])}{more}"


if __name__ == "__main__":
    sys.exit(main())
