"""What each validation policy saves in a run, and what it misses: one training run, one table.

    python -m trainables.validation [--task MODULE:NAME] [--recipe FILE [--module NAME]] [--epochs N] [--json]

Every policy is followed through the same run, beside a full pass after each epoch. "passes" are the full ones, and after a + those
over a sample or within an epoch. "error" is how far off, in the goal's metric and on average, a policy is in what it knows after
each epoch (measured, or left from the last full pass) and at each look within one; "largest" is the most. "best" is the epoch that
it would choose, "lost" how much better the best of all epochs is. One's own policies: trainables.validation.compare.compared.
Exit status: 0 the table is there; 2 the question is wrong; 3 interrupted.
"""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from trainables.asked import WRONG, Parser, imported, place, reading, shipped
from trainables.errors import ConflictError
from trainables.validation.every_epoch import EveryEpoch
from trainables.validation.int8 import Int8
from trainables.validation.on_plateau import OnPlateau
from trainables.validation.sampled import Sampled
from trainables.validation.thirds import Thirds
from trainables.validation.within_epoch import WithinEpoch

if TYPE_CHECKING:
    import torch

    from trainables.recipe import Recipe
    from trainables.validation.compare import Comparison, Error, Outcome
    from trainables.validation.validation import Validation

HEAD = ("policy", "passes", "CPU-s", "saved", "error", "largest", "best", "lost")


def usual() -> list[Validation]:
    """The policies that the command shows; that of an INT8 copy where the extra for it is installed."""
    eight = Int8()
    return [
        EveryEpoch(),
        Thirds(),
        OnPlateau(patience=2),
        Sampled(share=0.1),
        Sampled(share=0.5),
        WithinEpoch(every=0.5),
        *([] if any(eight.conflicts()) else [eight]),
    ]


def main(arguments: Sequence[str]) -> int:
    """Print the table, or one JSON object; the exit status comes back: 2 for a wrong question, 3 when interrupted."""
    options = _options(arguments)
    try:
        from trainables.tasks import digits
        from trainables.validation.compare import compared

        task = imported(options.task) if options.task is not None else digits
        if options.data is not None:
            task = reading(task, options.data)
        comparison = compared(task, _recipe(options), usual(), device=_device(options.device))
    except ConflictError as error:
        print(f"python -m trainables.validation: {error}", file=sys.stderr)
        return WRONG
    except KeyboardInterrupt:
        print("python -m trainables.validation: interrupted; nothing was kept, run it again", file=sys.stderr)
        return 3
    except Exception as error:  # of the user's task or model: what it says, without our own frames
        print(f"python -m trainables.validation: {type(error).__name__}: {error}{place(error)}", file=sys.stderr)
        return WRONG
    if options.json:
        print(json.dumps(asdict(comparison), indent=1, allow_nan=False))
    else:
        show(comparison)
    return 0


def show(comparison: Comparison) -> None:
    """The table as plain text, in 80 columns; with several validation sets, a second one of their errors."""
    sets = ", ".join(f"{name} {number:,}" for name, number in comparison.samples.items())
    seconds = "CPU-s" if comparison.device == "cpu" else "s"
    print(f"{comparison.task}, {comparison.epochs} epochs, {comparison.metric}; samples: {sets}.")
    print(f"A full pass after every epoch takes {comparison.seconds:.3g} {seconds} in all.\n")
    head = tuple(seconds if cell == "CPU-s" else cell for cell in HEAD)
    _table([head, *(_row(outcome) for outcome in comparison.outcomes)])
    if len(comparison.samples) > 1:
        print(f"\nMean error, and the largest, of {comparison.metric} by validation set:\n")
        names = list(comparison.samples)
        rows = [(one.policy, *(_error(one.errors.get(name)) for name in names)) for one in comparison.outcomes]
        _table([("policy", *names), *rows])
    for said in comparison.left_out:
        print(f"\nLeft out: {said}.")


def _row(outcome: Outcome) -> tuple[str, ...]:
    error = outcome.errors.get("val")
    return (
        outcome.policy,
        f"{outcome.full} + {outcome.partial}" if outcome.partial else str(outcome.full),
        f"{outcome.seconds:.3g}",
        f"{outcome.saved:.0%}".replace("%", " %"),
        _number(error.mean) if error is not None else "-",
        _number(error.largest) if error is not None else "-",
        "-" if outcome.best_epoch is None else str(outcome.best_epoch),
        "-" if outcome.lost is None else _number(outcome.lost),
    )


def _error(error: Error | None) -> str:
    return "-" if error is None else f"{_number(error.mean)}, {_number(error.largest)}"


def _number(value: float) -> str:
    return "0" if value == 0 else f"{value:.2g}"


def _table(rows: Sequence[Sequence[str]]) -> None:
    """Rows under one another in 80 columns: numbers to the right, and what is too long in the first column below itself."""
    widths = [max(len(row[column]) for row in rows) for column in range(1, len(rows[0]))]
    room = max(16, 80 - sum(widths) - 2 * len(widths))
    names = [textwrap.wrap(row[0], room, subsequent_indent="  ") for row in rows]
    room = max(len(line) for lines in names for line in lines)
    for row, (name, *more) in zip(rows, names, strict=True):
        cells = [cell.rjust(width) for cell, width in zip(row[1:], widths, strict=True)]
        print("\n".join(["  ".join([name.ljust(room), *cells]), *more]))


def _recipe(options: argparse.Namespace) -> Recipe:
    """The recipe in the file, or a perceptron for twenty epochs."""
    from trainables.models import MLP
    from trainables.recipe import Recipe

    recipe = Recipe(model=MLP(widths=(128, 128)))
    if options.recipe is not None:
        from trainables import recipe_file

        recipe = recipe_file.read(options.recipe, modules=options.module).recipe
    if options.epochs is not None:
        recipe = replace(recipe, epochs=options.epochs)
    return recipe if options.seed is None else replace(recipe, seed=options.seed)


def _device(name: str) -> torch.device:
    """The device of this name. Raises ConflictError where there is none."""
    import torch

    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConflictError("--device", [f"{name!r} is no device; take cpu or cuda"]) from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConflictError("--device", [f"{name}: this torch finds no GPU here; take cpu"])
    return device


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = Parser(
        prog="python -m trainables.validation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--task", metavar="MODULE:NAME", help=f"another task than the digits: {shipped()}, or your own")
    parser.add_argument("--data", metavar="PATH", help="the file that the task reads")
    parser.add_argument("--recipe", type=Path, metavar="FILE", help="a recipe (default: a perceptron for 20 epochs)")
    parser.add_argument(
        "--module",
        action="append",
        default=[],
        metavar="NAME",
        help="a module whose code the recipe may use, beside trainables",
    )
    parser.add_argument("--epochs", type=int, metavar="N", help="epochs of the run (default: the recipe's)")
    parser.add_argument("--seed", type=int, metavar="N", help="of the run (default: the recipe's)")
    parser.add_argument("--device", default="cpu", metavar="NAME", help="cpu, or cuda where there is one (cpu)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
