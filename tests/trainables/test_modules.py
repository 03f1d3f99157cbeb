"""Parts of a model by name: frozen, or recomputed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from tests.trainables.small import recipe, task
from trainables import EMA, ConflictError
from trainables.fit import Epoch, fit


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.layer, self.dropout = nn.BatchNorm1d(width), nn.Linear(width, width), nn.Dropout(0.2)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.dropout(torch.relu(self.layer(self.norm(x))))  # type: ignore[no-any-return]


class Deep(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Linear(2, 16)
        self.blocks = nn.ModuleList(Block(16) for _ in range(4))
        self.leave = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        for block in self.blocks:
            x = block(x)
        return self.leave(x)  # type: ignore[no-any-return]


@dataclass(frozen=True, kw_only=True, slots=True)
class Net:
    def build(self) -> nn.Module:
        return Deep()


def last(**changes: Any) -> Epoch:
    *_, epoch = fit(task, recipe(model=Net(), epochs=2, **changes))
    return epoch


def start(**changes: Any) -> dict[str, Tensor]:
    from trainables.run import Run

    run = Run.start(task, recipe(model=Net(), **changes), splits=None, device=torch.device("cpu"))
    return {name: value.clone() for name, value in run.module.state_dict().items()}


def test_frozen_parameters_do_not_move_and_all_others_do() -> None:
    before, after = start(), last(freeze=("enter.*", "blocks.[01].*")).run.module.state_dict()
    for name, value in before.items():
        still = name.startswith(("enter.", "blocks.0.", "blocks.1."))
        # Running statistics of a frozen BatchNorm are kept too.
        assert torch.equal(value, after[name]) == still, name


def test_a_pattern_that_matches_nothing_and_freezing_everything_are_refused() -> None:
    with pytest.raises(ConflictError, match=r"freeze 'encoder.\*' matches nothing; there are enter.weight"):
        last(freeze=("encoder.*",))
    with pytest.raises(ConflictError, match="freeze leaves nothing to train"):
        last(freeze=("*",))
    with pytest.raises(ConflictError, match=r"freeze 'enter\.\*' must be a tuple of patterns, such as freeze="):
        last(freeze="enter.*")
    with pytest.raises(ConflictError, match="recompute 'layers' matches nothing; there are enter, blocks"):
        last(recompute=("layers",))


@pytest.mark.parametrize("average", [None, EMA(decay=0.9)])
def test_recomputing_gives_the_same_run(average: EMA | None) -> None:
    """Also the dropout's masks and the averages, bit for bit; BatchNorm's statistics are not taken in twice."""
    plain, recomputed = last(average=average), last(average=average, recompute=("blocks.*",))
    assert plain.metrics == recomputed.metrics
    state = recomputed.run.deployed.state_dict()
    for name, value in plain.run.deployed.state_dict().items():
        assert torch.equal(value, state[name]), name


def test_recomputing_keeps_fewer_activations() -> None:
    def kept(**changes: Any) -> int:
        size = 0

        def pack(tensor: Tensor) -> Tensor:
            nonlocal size
            size += tensor.numel()
            return tensor

        run = next(iter(fit(task, recipe(model=Net(), epochs=1, **changes)))).run
        run.training()
        with saved_tensors_hooks(pack, lambda tensor: tensor):
            run.module(run.splits.train[0])
        return size

    assert kept(recompute=("blocks.*",)) < 0.5 * kept()


def test_the_outer_of_two_matches_counts() -> None:
    assert last(recompute=("blocks.*", "blocks.0.layer")).metrics == last().metrics
