"""How far an epoch has come: told where it lasts, and nothing is left behind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.trainables.small import recipe, task
from trainables.fit import fit
from trainables.pulse import PULSE, Pulse
from trainables.world import World

if TYPE_CHECKING:
    from trainables.run import Run
    from trainables.task import Tensors


class Clock:
    """Every look at it takes a second."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def beside(folder: Path, said: list[Any]) -> Any:
    """Reads the file after each step, as a watcher would."""

    def through(run: Run, batches: Iterator[Tensors]) -> Iterator[Tensors]:  # noqa: ARG001
        for batch in batches:
            yield batch
            said.append(json.loads((folder / PULSE).read_text()) if (folder / PULSE).exists() else None)
        said.append(json.loads((folder / PULSE).read_text()) if (folder / PULSE).exists() else None)

    return through


def test_a_long_epoch_is_told_of_now_and_then(tmp_path: Path) -> None:
    said: list[Any] = []
    watch = beside(tmp_path, said)
    with Pulse(tmp_path, patience=3.0, pause=2.0, clock=Clock()) as pulse:
        # Eight steps an epoch, one a second by this clock.
        (epoch,) = fit(
            task, recipe(batch_size=8, epochs=1), through=lambda run, batches: watch(run, pulse.through(run, batches))
        )
        # What a step has brought is told before the next one begins, so it is seen one step later.
        assert [told["done"] if told else None for told in said[:-1]] == [None, None, None, 3, 3, 5, 5, 7]
        assert said[3].keys() == {"epoch", "done", "of", "step_seconds", "loss", "lr", "validating"}
        assert (said[3]["epoch"], said[3]["of"], said[3]["step_seconds"]) == (1, 8, 1.0)
        last = said[-1]
        assert (last["done"], last["validating"]) == (8, True)
        assert last["loss"] == pytest.approx(epoch.metrics["train/loss"], rel=1e-12)
        assert last["lr"] == 0.1
    assert list(tmp_path.iterdir()) == []


def test_a_short_epoch_writes_nothing(tmp_path: Path) -> None:
    said: list[Any] = []
    watch = beside(tmp_path, said)
    with Pulse(tmp_path) as pulse:
        list(fit(task, recipe(epochs=2), through=lambda run, batches: watch(run, pulse.through(run, batches))))
    assert set(said) == {None}


def test_a_folder_that_is_gone_is_no_reason_to_fail(tmp_path: Path) -> None:
    with Pulse(tmp_path / "gone", patience=0.0, pause=0.0) as pulse:
        assert len(list(fit(task, recipe(epochs=2), through=pulse.through))) == 2
    assert not (tmp_path / "gone").exists()


@pytest.mark.parametrize("rank", [0, 1])
def test_of_several_workers_the_first_one_tells(tmp_path: Path, rank: int) -> None:
    said: list[Any] = []
    watch, world = beside(tmp_path, said), World(rank=rank)
    with Pulse(tmp_path, patience=0.0, pause=0.0) as pulse:
        list(
            fit(
                task,
                recipe(epochs=1),
                world=world,
                through=lambda run, batches: watch(run, pulse.through(run, batches)),
            )
        )
    assert any(said) == (rank == 0)
