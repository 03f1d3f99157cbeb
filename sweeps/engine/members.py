"""The members of a seed ensemble: runs of one point of a sweep, and what they say of samples that none has learned from."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.finals import Finals
from analysis.records import Stage, Status, TrialRecord
from sweeps.engine.errors import QuestionError
from sweeps.engine.job import Job
from sweeps.engine.spec import Sweep
from sweeps.engine.trial import Runner
from trainables import Seeds
from trainables.keep import BEST

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from trainables import Splits
    from trainables.run import Run

_BY_HAND = "trainables.ensemble has Ensemble and regressed() for what this command does not read"

FEWEST = 100
"""Samples below which nothing is said, where the members' splits leave only some of the test samples to all of them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """A run by what it was asked, and the file of its best weights."""

    job: Job
    weights: Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Answers:
    """The members' logits [K, N, C] for test samples of classes [N]; ``left_out`` test samples are known to some member.

    ``validation`` holds the same of the validation samples, (logits, classes), where all members were chosen on the same ones.
    """

    logits: Tensor
    target: Tensor
    left_out: int
    validation: tuple[Tensor, Tensor] | None


def finals(sweep: Sweep, folder: Path, level: Finals, top: int | None = None) -> list[Member]:
    """The finals of a level that finished, the ``top`` ones by their validation value or all by seed.

    Raises QuestionError when there are fewer than two, or when they were not trained as the sweep now says.
    """
    goal = sweep.task.goal
    records = [level.finished[seed] for seed in sorted(level.finished)]
    if top is not None:
        # By validation: the best on the test samples would be flattered by them.
        records.sort(key=lambda record: _validated(record, goal.metric) * (-1 if goal.mode == "max" else 1))
        records = records[:top]
    if len(records) < 2:
        raise QuestionError(
            f"{level.label} has {len(level.finished)} finished finals and {len(records)} would be taken; an ensemble needs two: "
            "run the sweep with --seeds 6, or add --train 5"
        )
    return [_member(sweep, folder / "checkpoints", record) for record in records]


def best(sweep: Sweep, folder: Path, level: Finals) -> Member:
    """The finished final of a level that was best on validation; of equal ones the first seed.

    Raises QuestionError where none has a validation value, or it was not trained as the sweep now says.
    """
    goal = sweep.task.goal
    records = [level.finished[seed] for seed in sorted(level.finished)]
    known = [record for record in records if math.isfinite(_validated(record, goal.metric))]
    if not known:
        raise QuestionError(
            f"no final of {level.label} has finished with a validation value; run the sweep to its end first"
        )
    sign = -1 if goal.mode == "max" else 1
    return _member(sweep, folder / "checkpoints", min(known, key=lambda record: sign * _validated(record, goal.metric)))


def trained(sweep: Sweep, folder: Path, level: Finals, count: int, say: Callable[[str], None]) -> list[Member]:
    """``count`` members at the level's point, all on the split that the heats had; what is there already is not trained again.

    Their weights lie in ``ensemble/`` of the sweep's folder. Raises QuestionError when one of them fails or diverges.
    """
    place = folder / "ensemble"
    runner = Runner(sweep=sweep, folder=place.resolve(), threads=sweep.resources.cpus)
    members = []
    for number in range(1, count + 1):
        fresh = sweep.seed + number
        seeds = Seeds(init=fresh, order=fresh, split=sweep.seed)
        job = Job.of(
            sweep,
            stage=Stage.FINAL,
            level=level.level,
            point=level.point,
            seed=fresh,
            seeds=seeds,
            earlier=level.earlier,
        )
        say(f"Training member {number} of {count} …")
        last = _trained(runner, job)
        if last["status"] != Status.COMPLETED:
            raise QuestionError(
                f"member {number} of {level.label} {last['status']}: {last['reason']}; nothing was averaged"
            )
        members.append(Member(job=job, weights=place / job.id / BEST))
    return members


def answers(sweep: Sweep, members: Sequence[Member]) -> Answers:
    """What the members say of the test samples that none of them has learned from or was chosen on.

    Raises QuestionError when too few such samples are left, for what is not a classification, and for weights that are missing.
    """
    import torch

    from trainables.ensemble import Ensemble, with_weights

    device = torch.device("cuda" if sweep.resources.gpus != 0 and torch.cuda.is_available() else "cpu")
    splits = {seed: sweep.task.load(seed) for seed in dict.fromkeys(member.job.seeds.split for member in members)}
    kept = _kept(list(splits.values()), members).to(device)
    first = _run(sweep, members[0], splits, device)
    *inputs, target = first.splits.test
    if target.is_floating_point() or target.ndim != 1:
        raise QuestionError(f"the targets of task {sweep.task.name!r} are not one class a sample; {_BY_HAND}")
    try:
        modules = [with_weights(_run(sweep, each, splits, device).module, each.weights, device) for each in members]
    except ValueError as error:
        raise QuestionError(str(error)) from error
    ensemble, precision = Ensemble(tuple(modules)), first.recipe.precision

    def said(tensors: Sequence[Tensor]) -> Tensor:
        with precision.arithmetic(), precision.autocast(device):
            return _logits(sweep, ensemble.over(tuple(tensors), first.evaluation_batch).cpu())

    *chosen_on, classes = first.splits.val
    return Answers(
        logits=said([tensor[kept] for tensor in inputs]),
        target=target[kept].cpu(),
        left_out=len(target) - len(kept),
        validation=(said(chosen_on), classes.cpu()) if len(splits) == 1 else None,
    )


def unseen(splits: Sequence[Splits]) -> Tensor:
    """The test samples of the first split, as indices, which are test samples in all of them and stand in no other set of any.

    Samples are told by their inputs, value by value: where a split scales its inputs by its own statistics, none is found again.
    """
    import torch

    if len(splits) == 1:
        return torch.arange(len(splits[0].test[-1]))
    known = {key for each in splits for tensors in (each.train, each.val) for key in _keys(tensors)}
    shared = set.intersection(*(set(_keys(each.test)) for each in splits)) - known
    return torch.tensor([place for place, key in enumerate(_keys(splits[0].test)) if key in shared], dtype=torch.long)


def _kept(splits: Sequence[Splits], members: Sequence[Member]) -> Tensor:
    kept, samples = unseen(splits), len(splits[0].test[-1])
    if len(splits) > 1 and len(kept) < FEWEST:
        raise QuestionError(
            f"the finals drew different splits: of {samples} test samples {len(kept)} are unknown to all {len(members)} of them, "
            f"and below {FEWEST} nothing can be said; add --train {len(members)} to train members on one split, "
            'or run a sweep with vary=("init", "order")'
        )
    return kept


def _keys(tensors: tuple[Tensor, ...]) -> list[bytes]:
    """What tells samples apart: a digest of the inputs of each."""
    rows = [tensor.cpu().reshape(len(tensor), -1).numpy() for tensor in tensors[:-1]]
    return [
        hashlib.blake2b(b"".join(values.tobytes() for values in sample), digest_size=16).digest()
        for sample in zip(*rows, strict=True)
    ]


def _run(sweep: Sweep, member: Member, splits: Mapping[int, Splits], device: torch.device) -> Run:
    """The member's run before its first step: its model as it was built, and the data as it saw it."""
    from trainables.run import Run

    # Compiling pays over many steps; here is one pass.
    recipe = replace(sweep.resolved(member.job.point, member.job.seeds), compile=None)
    return Run.start(sweep.task, recipe, splits=splits[member.job.seeds.split], device=device)


def _logits(sweep: Sweep, outputs: Tensor) -> Tensor:
    """Logits [K, N, C] of what members put out; a single logit a sample is that of class 1 against class 0."""
    import torch

    if outputs.ndim == 2:
        outputs = outputs.unsqueeze(-1)
    if outputs.ndim != 3:
        shape = tuple(outputs.shape[2:])
        raise QuestionError(
            f"the model of task {sweep.task.name!r} puts out {shape} for a sample, not one logit a class; {_BY_HAND}"
        )
    return torch.cat([torch.zeros_like(outputs), outputs], dim=-1) if outputs.shape[-1] == 1 else outputs


def _member(sweep: Sweep, place: Path, record: TrialRecord) -> Member:
    """A final of the ledger. Raises QuestionError when the sweep would now run another one in its place."""
    job = Job.of(
        sweep,
        stage=record.stage,
        level=record.level,
        point=record.point,
        seed=record.seed,
        seeds=sweep.final_seeds(record.seed - sweep.seed, record.level),
        earlier=record.earlier,
    )
    if job.id != record.id:
        raise QuestionError(
            f"final {record.id} was not trained by the recipe and task that the sweep names now; "
            "give the options that it was run with (--quick, --epochs, --task, --data), or the file as it was"
        )
    return Member(job=job, weights=place / record.id / BEST)


def _trained(runner: Runner, job: Job) -> Mapping[str, Any]:
    """Run a job here, or go on with it; the last that it tells comes back."""
    told: list[Mapping[str, Any]] = []

    def tell(message: Mapping[str, Any]) -> bool:
        told.append(message)
        return False

    runner(job, tell)
    return told[-1]


def _validated(record: TrialRecord, metric: str) -> float:
    return float(record.metrics.get(f"val/{metric}", math.nan))
