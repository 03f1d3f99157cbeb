"""Trains the recipe that won a sweep to its full budget, and says how it does beside the sweep's finals.

python -m sweeps.winner runs/batch_size
python -m sweeps.winner runs/batch_size --epochs 100
python -m sweeps.winner runs/batch_size --epochs 10 --from best
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeps import options as command_line
from sweeps.declared import declared
from sweeps.engine.errors import QuestionError
from sweeps.engine.spec import Sweep
from sweeps.winner_file import NAME, leading, score, turns
from trainables import ConflictError
from trainables.asked import Parser, place

if TYPE_CHECKING:
    from analysis.finals import Finals
    from analysis.ledger import Question
    from analysis.verdict import LevelResult, Verdict
    from trainables.recipe_file import Stored
    from trainables.train import Trained

ANSWERED, DIVERGED, WRONG, INTERRUPTED = 0, 1, 2, 3

BEST = "best"
"""What ``--from`` takes beside a file: the final of the leading level that was best on validation."""

RESULT = "result.json"
"""What lies beside the checkpoints of a run that has ended."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answered:
    """What is known of a sweep: what was asked, the level that leads, its finals."""

    question: Question
    verdict: Verdict
    level: LevelResult
    finals: Finals


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, or go on, and say how it went; the exit status comes back."""
    own = _parser().parse_args(arguments)
    try:
        return _train(own)
    except (QuestionError, ConflictError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("\nInterrupted; run the same command to go on.", file=sys.stderr)
        return INTERRUPTED
    except OSError as error:  # a disk that is full, say
        print(f"error: {error}\nWhat is done is kept; run the same command to go on.", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:  # of the user's task or model: what it says, without our own frames
        print(f"error: {type(error).__name__}: {error}{place(error)}", file=sys.stderr)
    return WRONG


def _train(own: argparse.Namespace) -> int:
    answered = _answered(own.folder)
    sweep, script = _asked(answered.question, own.script)
    stored = _recipe(own.recipe or own.folder / NAME, sweep, script, own)
    weights, split = _weights(own, answered, sweep)
    if split is not None:
        # What these weights have learned from must not be what they are judged on.
        seeds = replace(stored.recipe.seeds, split=split)
        stored = replace(stored, recipe=replace(stored.recipe, seed=seeds))
    if weights is not None:
        stored = replace(stored, earlier=())
    folder = own.folder / "winner" / _identity(sweep, stored, weights)
    trained = _run(sweep, stored, weights, folder)
    return _told(answered, stored, trained, folder, weights)


def _answered(folder: Path) -> Answered:
    """What a folder says. Raises QuestionError where it holds no sweep, or none that is answered."""
    from analysis.finals import gather
    from analysis.judge import judge
    from analysis.ledger import FolderError, read_ledger, read_question

    try:
        question, records = read_question(folder), read_ledger(folder)
    except FolderError as error:
        raise QuestionError(str(error)) from error
    verdict = judge(question, records)
    level = leading(verdict)
    if level is None:
        raise QuestionError(f"{folder}: no final has finished yet; run the sweep to its end first")
    if verdict.spread is not None:
        raise QuestionError(
            f"{folder}: its levels are one recipe that draws different things, so none of them wins; name a sweep that compares "
            "recipes"
        )
    finals = next(one for one in gather(question, records) if one.label == level.label)
    return Answered(question=question, verdict=verdict, level=level, finals=finals)


def _asked(question: Question, script: Path | None) -> tuple[Sweep, Path]:
    """The sweep as it was run, by the options of its command, and its file. Raises QuestionError where it is not found again."""
    words = shlex.split(str(question.raw.get("command") or ""))
    if script is None and len(words) > 1 and words[1].endswith(".py"):
        script = Path(words[1])
    if script is None:
        raise QuestionError(f"{question.sweep} does not say which file it was run from; name it by --script FILE")
    if not script.is_file():
        raise QuestionError(
            f"{script}, which declares the task, is not there; run this where the sweep was run, or add --script FILE"
        )
    options = command_line.read(words[2:], program=f"python {script}", description=None)
    sweep = options.question(declared(script))
    if (sweep.name, sweep.task.name) != (question.sweep, question.task):
        raise QuestionError(
            f"{script} now asks {sweep.name} about {sweep.task.name}, the folder holds {question.sweep} about {question.task}; "
            "name the right file by --script"
        )
    return sweep, script


def _recipe(path: Path, sweep: Sweep, script: Path, own: argparse.Namespace) -> Stored:
    """What is trained. Code is taken from trainables, the sweep's file, what its recipe is made of, and what --module names."""
    from trainables import recipe_file
    from trainables.recipe_values import modules

    if not path.exists():
        raise QuestionError(
            f"{path} is not there; the sweep's command writes it at its end, or name another by --recipe"
        )
    stored = recipe_file.read(path, modules=[*own.module, script.stem, *modules(sweep.recipe)])
    return stored if own.epochs is None else stretched(stored, own.epochs)


def stretched(stored: Stored, epochs: int) -> Stored:
    """The recipe over so many epochs; settings that change on the way do so after the same shares of them, as schedules do.

    Those that would not last an epoch are left out.
    """
    from trainables.course import Course, Segment

    before, end, kept = stored.recipe.epochs, 0, list[Segment]()
    for one in Course(earlier=stored.earlier).segments(stored.recipe):
        until = round(one.until * epochs / before)
        if until > end:
            kept.append(Segment(recipe=replace(one.recipe, epochs=epochs), until=until))
            end = until
    *earlier, last = kept
    return replace(stored, recipe=last.recipe, earlier=tuple(earlier))


def _weights(own: argparse.Namespace, answered: Answered, sweep: Sweep) -> tuple[Path | None, int | None]:
    """The weights to begin from, none from scratch, and the seed of the split that they were learned on, where that is known.

    Raises QuestionError where they are not there.
    """
    if own.begin is None:
        return None, None
    split = None
    if own.begin != BEST:
        path = Path(own.begin)
    else:
        goal, level = answered.question.goal, answered.finals
        known = [r for r in level.finished.values() if f"val/{goal.metric}" in r.metrics]
        if not known:
            raise QuestionError(
                f"--from best: no final of {level.label} has a validation value; name a file of weights"
            )
        best = max(known, key=lambda record: goal.sign * record.metrics[f"val/{goal.metric}"])
        path = own.folder / "checkpoints" / best.id / "best.safetensors"
        split = sweep.final_seeds(best.seed - sweep.seed, best.level).split
    if not path.is_file():
        raise QuestionError(f"--from {own.begin}: {path} is not there; leave --from out to train from scratch")
    return path, split


def _identity(sweep: Sweep, stored: Stored, weights: Path | None) -> str:
    """The name of a run's folder: the same for the same task, recipe and weights, so that the same command goes on."""
    from analysis.records import Stage
    from sweeps.engine.job import identity
    from trainables.describe import plain

    beside: list[Any] = [[one.until, plain(one.recipe)] for one in stored.earlier]
    if weights is not None:
        with weights.open("rb") as file:
            beside.append(hashlib.file_digest(file, "sha256").hexdigest())
    return identity(sweep.task, stored.recipe, Stage.FINAL, stored.recipe.seeds.init, beside)


def _run(sweep: Sweep, stored: Stored, weights: Path | None, folder: Path) -> Trained:
    """Train in this process, from where an earlier command has left off."""
    import torch

    from sweeps.engine import question
    from sweeps.winner_weights import Begun
    from trainables import recipe_file
    from trainables.course import Course
    from trainables.progress import Progress
    from trainables.slate import clean
    from trainables.train import train

    recipe = stored.recipe
    cuda = sweep.resources.gpus != 0 and torch.cuda.is_available()
    with question.held(folder):
        recipe_file.write(folder / "recipe.yaml", recipe, earlier=stored.earlier)
        clean(sweep.resources.cpus, "data", recipe.seeds.split)
        try:
            splits = sweep.task.load(recipe.seeds.split)
        except OSError as error:
            raise QuestionError(f"the data of task {sweep.task.name!r} cannot be loaded: {error}") from error
        clean(sweep.resources.cpus, "trial", folder.name)
        if weights is not None:
            recipe = replace(recipe, model=Begun(model=recipe.model, weights=weights))
        with Progress() as progress:
            return train(
                sweep.task,
                recipe,
                folder=folder,
                report=progress.report,
                through=progress.through,
                splits=splits,
                device="cuda" if cuda else "cpu",
                course=Course(earlier=stored.earlier),
                keep=sweep.keep,
            )


def _told(answered: Answered, stored: Stored, trained: Trained, folder: Path, weights: Path | None) -> int:
    """Say how it went beside the sweep's finals, and write it down; the exit status comes back."""
    from analysis.redact import redact
    from trainables.train import Ending

    goal = answered.question.goal
    row = next((row for row in trained.history if row["epoch"] == trained.best_epoch), {})
    value = row.get(f"test/{goal.metric}")
    result = {
        "level": dict(answered.level.level),
        "ending": trained.ending.value,
        "reason": trained.reason,
        "epochs": len(trained.history),
        "best_epoch": trained.best_epoch,
        "metrics": {name: _finite(item) for name, item in row.items() if name.startswith(("val", "test"))},
    }
    (folder / RESULT).write_text(json.dumps(result, indent=1, allow_nan=False) + "\n")
    changed = f" with other settings after {turns(stored.earlier)}" if stored.earlier else ""
    begun = f" from {weights}" if weights is not None else ""
    epochs = f"{len(trained.history)} of {stored.recipe.epochs} epochs{changed}{begun}"
    if trained.ending is Ending.DIVERGED or value is None:
        print(redact(f"{answered.level.label} diverged after {epochs}: {trained.reason}."))
        return DIVERGED
    print(redact(sentence(answered, stored, value, trained.best_epoch or 0, epochs)))
    print(f"weights: {folder / 'best.safetensors'}\nrecipe: {folder / 'recipe.yaml'}\nnumbers: {folder / RESULT}")
    return ANSWERED


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def sentence(answered: Answered, stored: Stored, value: float, epoch: int, epochs: str) -> str:
    """The test score of this run beside those of the finals: their mean with its interval, and between what they lie."""
    from analysis import units

    metric, level = answered.question.goal.metric, answered.level
    scores = list(answered.finals.scores.values())
    low, high = min(scores), max(scores)
    where = "among them" if low <= value <= high else "above all of them" if value > high else "below all of them"
    before = answered.question.raw.get("epochs")
    budget = f" with {before} epochs" if before is not None and before != stored.recipe.epochs else ""
    spread = (
        f"from {units.value(low, metric)} to {units.value(high, metric)}, so it lies {where}"
        if len(scores) > 1
        else "which is one run"
    )
    return (
        f"{level.label}, trained for {epochs}: {units.value(value, metric)} test {units.name(metric)} at epoch {epoch}, chosen on "
        f"validation. The sweep's finals of it{budget} reach {score(answered.verdict, level)}, {spread}."
    )


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m sweeps.winner",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="What is trained lies in DIR/winner/, a folder for each recipe and budget; the same command goes on where it was.\n"
        "Exit status: 0 trained; 1 trained, but it diverged; 2 the question is wrong; 3 interrupted.",
        allow_abbrev=False,
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="a sweep's folder, such as runs/batch_size")
    parser.add_argument(
        "--epochs",
        type=command_line.natural,
        metavar="N",
        help="the budget (default: the recipe's own); settings that change on the way do so at the same shares of it",
    )
    parser.add_argument(
        "--from",
        dest="begin",
        metavar="best|FILE",
        help="begin from weights: those of the leading level's best final, or a file (default: from scratch)",
    )
    parser.add_argument("--recipe", type=Path, metavar="FILE", help=f"another recipe (default: {NAME} of the folder)")
    parser.add_argument(
        "--module",
        action="append",
        default=[],
        metavar="NAME",
        help="a module whose code the recipe may use, beside trainables, the sweep's file and what that uses",
    )
    parser.add_argument(
        "--script", type=Path, metavar="FILE", help="the sweep's file (default: the one that it was run from)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
