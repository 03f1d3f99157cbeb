"""Going on from the middle of an epoch: bit for bit what the undisturbed run gives, whatever draws numbers or has a state."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor

from tests.trainables.small import recipe, task
from tests.trainables.test_world import TOLERANCE, Normed, together
from trainables import (
    EMA,
    SGD,
    SWA,
    Adam,
    Augmentations,
    Auto,
    Balanced,
    ClipNorm,
    Cosine,
    Curriculum,
    DropoutRamp,
    GradientNoise,
    InMemory,
    Mirror,
    Noise,
    Plateau,
    Prefetch,
    Recipe,
    Splits,
    Task,
)
from trainables.checkpoints import load
from trainables.course import Course, Segment
from trainables.fit import Epoch, fit
from trainables.keep import LAST, Keep
from trainables.models import MLP
from trainables.train import train
from trainables.world import World

if TYPE_CHECKING:
    from trainables.run import Run
    from trainables.task import Tensors

State = dict[str, Any]
PLAIN = MLP(widths=(8,))
DROPPING = MLP(widths=(8,), dropout=0.3)


def far(tensors: tuple[Tensor, ...]) -> Tensor:
    return -tensors[0].norm(dim=1)


def looked_up(seed: int) -> Splits[Any]:
    splits = task.load(seed)
    return replace(splits, train=InMemory(splits.train))


RANKED, LOOKED_UP = replace(task, difficulty=far), replace(task, data=looked_up)

# 61 samples in batches of 8: eight steps an epoch.
CASES: dict[str, tuple[Task, Recipe]] = {
    "plain": (task, recipe(batch_size=8, epochs=3)),
    "dropout": (task, recipe(batch_size=8, epochs=3, model=DROPPING)),
    "everything": (
        task,
        recipe(
            model=DROPPING,
            batch_size=8,
            micro_batch=3,
            epochs=3,
            optimizer=Adam(lr=0.01),
            schedule=Cosine(warmup=0.2),
            average=EMA(decay=0.9),
            clip=ClipNorm(0.5),
            noise=GradientNoise(),
            augment=Augmentations(Mirror(), Noise(std=0.3)),
            dropout=DropoutRamp(start=0.5),
        ),
    ),
    "batch norm": (task, recipe(model=Normed(), batch_size=8, epochs=3, average=SWA(epochs=2))),
    "a micro-batch that is found": (task, recipe(model=DROPPING, batch_size=8, epochs=3, micro_batch=Auto(first=4))),
    "a schedule by validation": (task, recipe(batch_size=8, epochs=3, schedule=Plateau(patience=1))),
    "easy samples first": (RANKED, recipe(model=DROPPING, batch_size=8, epochs=3, curriculum=Curriculum(start=0.5))),
    "classes in balance": (task, recipe(model=DROPPING, batch_size=8, epochs=3, sampling=Balanced())),
    "looked up ahead": (LOOKED_UP, recipe(model=DROPPING, batch_size=8, epochs=3, prefetch=Prefetch(depth=3))),
}


class Noted:
    """The state between two steps, as a file would hold it."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.files: list[io.BytesIO] = []

    def __call__(self, run: Run, batches: Iterator[Tensors]) -> Iterator[Tensors]:
        for batch in batches:
            yield batch
            if run.step == self.at:
                self.files.append(io.BytesIO())
                torch.save(run.state(within=True), self.files[-1])

    def state(self) -> State:
        (file,) = self.files
        file.seek(0)
        state: State = torch.load(file, weights_only=True)
        return state


def rows(epochs: Sequence[Epoch]) -> list[Mapping[str, float]]:
    return [{**epoch.metrics, "lr": epoch.lr, "step": epoch.step, "samples": epoch.samples} for epoch in epochs]


@pytest.mark.parametrize("at", [1, 11, 13])
@pytest.mark.parametrize("case", CASES)
def test_it_goes_on_bit_for_bit(case: str, at: int) -> None:
    asked, settings = CASES[case]
    noted = Noted(at)
    whole = list(fit(asked, settings, through=noted))
    state = noted.state()
    assert state["step"] == at
    resumed = list(fit(asked, settings, state=state))
    assert rows(resumed) == rows(whole)[-len(resumed) :]
    assert len(resumed) == 3 - state["epoch"] >= 2
    for mine, theirs in zip(resumed[-1].run.deployed.parameters(), whole[-1].run.deployed.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_the_last_step_of_an_epoch_is_as_good_a_place_as_any() -> None:
    asked, settings = CASES["everything"]
    noted = Noted(16)
    whole = list(fit(asked, settings, through=noted))
    assert noted.state()["epoch"] == 1
    assert rows(list(fit(asked, settings, state=noted.state()))) == rows(whole)[1:]


def test_what_the_part_before_has_cost_is_counted() -> None:
    noted = Noted(11)
    list(fit(task, CASES["plain"][1], through=noted))
    state = noted.state()
    spent = state["within"][0]["spent"]
    assert spent["seconds"] > 0
    first = next(fit(task, CASES["plain"][1], state=state)).run.history
    for name in ("seconds", "wall_seconds", "cpu_seconds"):
        assert first[-1][name] > first[-2][name] + spent[name]


def never(_: object) -> bool:
    return False


class Killed:
    """An augmentation that ends the run at its n-th batch."""

    def __init__(self, at: int) -> None:
        self.left = at

    def __call__(self, batch: Tensors, generator: torch.Generator) -> Tensors:  # noqa: ARG002
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return batch

    def conflicts(self) -> Iterator[str]:
        yield from ()


def test_the_state_is_kept_every_so_many_steps_and_a_segment_goes_on_from_it(tmp_path: Path) -> None:
    before = recipe(batch_size=8, epochs=3, model=DROPPING, optimizer=SGD(lr=0.2))
    after = replace(before, optimizer=SGD(lr=0.01))
    course = Course(earlier=(Segment(recipe=before, until=1),))
    keep = Keep(steps=3)
    whole = train(task, after, folder=tmp_path / "whole", report=never, course=course, keep=keep)
    with pytest.raises(KeyboardInterrupt):
        train(
            task,
            replace(after, augment=Killed(5)),
            folder=tmp_path / "parts",
            report=never,
            course=course,
            keep=keep,
        )
    state = load(tmp_path / "parts" / LAST)
    assert state is not None
    # Eight steps of the first segment, and four of the second: the ninth, the twelfth.
    assert (state["epoch"], state["step"]) == (1, 12)
    resumed = train(task, after, folder=tmp_path / "parts", report=never, course=course, keep=keep)
    assert numbers(resumed.history) == numbers(whole.history)
    # Without the option nothing but the ends of epochs is kept.
    assert train(task, after, folder=tmp_path / "plain", report=never).written.states == 3
    # Every third step but the 24th, which ends an epoch.
    assert whole.written.states == 3 + 7


def numbers(history: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    costs = ("seconds", "wall_seconds", "cpu_seconds", "peak_bytes", "time")
    return [
        {name: value for name, value in row.items() if name not in costs and not name.startswith("system/")}
        for row in history
    ]


def broken_off(world: World) -> tuple[list[Mapping[str, float]], list[Mapping[str, float]], State | None]:
    """BatchNorm and dropout in two workers, whose statistics and masks are their own, from the middle of an epoch."""
    settings = recipe(model=Normed(), batch_size=8, epochs=3, average=EMA(decay=0.9))
    noted = Noted(11)
    whole = list(fit(task, settings, world=world, through=noted))
    state = world.told(noted.state() if world.first else {})
    resumed = list(fit(task, settings, world=world, state=state))
    return rows(whole), rows(resumed), state if world.first else None


def test_two_workers_go_on_bit_for_bit_each_with_its_own_statistics() -> None:
    (whole, resumed, state), (whole1, resumed1, _) = together(2, broken_off)
    assert resumed == whole[1:]
    assert resumed1 == whole1[1:] == whole[1:]
    assert state is not None
    first, second = state["within"]
    assert not torch.equal(first["generators"]["cpu"], second["generators"]["cpu"])
    assert not all(torch.equal(mine, theirs) for mine, theirs in zip(first["buffers"], second["buffers"], strict=True))


def broken_off_on_disk(world: World) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[str]]:
    """Both workers are stopped at the sixth batch of the second epoch; the first one's folder is what both go on from."""
    folder = Path(world.told(tempfile.mkdtemp()))
    settings, keep = recipe(model=Normed(), batch_size=8, epochs=3), Keep(steps=3)
    whole = train(task, settings, folder=folder / "whole", report=never, world=world, keep=keep)
    with pytest.raises(KeyboardInterrupt):
        train(
            task,
            replace(settings, augment=Killed(14)),
            folder=folder / "parts",
            report=never,
            world=world,
            keep=keep,
        )
    state = world.told(load(folder / "parts" / LAST) if world.first else None)
    assert state is not None
    assert (state["epoch"], state["step"]) == (1, 12)
    resumed = train(task, settings, folder=folder / "parts", report=never, world=world, keep=keep)
    names = world.told(
        sorted(path.name for path in (folder / "parts").iterdir())
    )  # the first's, who has written by now
    return numbers(whole.history), numbers(resumed.history), names


def test_two_workers_go_on_from_what_the_first_has_written() -> None:
    for whole, resumed, names in together(2, broken_off_on_disk):
        assert resumed == whole
        assert names == ["before.pt", "best.safetensors", "last.pt"]


def handed_on(world: World) -> tuple[State | None, list[Mapping[str, float]]]:
    noted = Noted(11)
    whole = list(fit(task, CASES["plain"][1], world=world, through=noted))
    return (noted.state() if world.first else None), rows(whole)


def taken_over(world: World) -> list[Mapping[str, float]]:
    noted = Noted(11)
    list(fit(task, CASES["plain"][1], through=noted))
    return rows(list(fit(task, CASES["plain"][1], world=world, state=noted.state())))


def test_another_number_of_workers_takes_over_in_mid_epoch() -> None:
    """The loss of an epoch that two have begun is that of both, whoever ends it."""
    (state, whole), _ = together(2, handed_on)
    assert state is not None
    alone = rows(list(fit(task, CASES["plain"][1], state=state)))
    both = together(2, taken_over)
    for found in (alone, *both):
        for mine, theirs in zip(found, whole[1:], strict=True):
            assert mine == pytest.approx(theirs, rel=0, abs=TOLERANCE)
