"""Magnitude pruning, and the epoch after it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.trainables.models.members import CASES
from tests.trainables.small import recipe, task
from trainables import EMA, ConflictError, Cosine
from trainables.export import ExportError, pruned, tuned
from trainables.export.pruned import prunable, zeros
from trainables.run import Run


def test_the_smallest_weights_of_all_layers_together_are_zero() -> None:
    module = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2), nn.Linear(2, 2))
    with torch.no_grad():
        module[0].weight.copy_(torch.tensor([[0.1, -0.2], [0.3, -0.4]]))
        module[2].weight.copy_(torch.tensor([[5.0, -6.0], [0.15, 8.0]]))
        module[0].bias.copy_(torch.tensor([0.001, 0.002]))
    found = pruned(module, 0.5)
    assert found[0].weight.tolist() == [[0, 0], [0, pytest.approx(-0.4)]]
    assert found[2].weight.tolist() == [[5, -6], [0, 8]]
    assert found[0].bias.tolist() == pytest.approx([0.001, 0.002])
    assert zeros(found) == 0.5
    assert zeros(module) == 0
    assert [name for name, _ in found.named_parameters()] == [name for name, _ in module.named_parameters()]


@pytest.mark.parametrize("name", ["mlp", "cnn", "lstm", "transformer"])
def test_a_share_of_every_kind_of_layer(name: str) -> None:
    module = CASES[name].built()
    found = pruned(module, 0.6)
    count = sum(getattr(part, weight).numel() for part, weight in prunable(module))
    assert zeros(found) == pytest.approx(0.6, abs=1 / count)
    x = CASES[name].batch(4)
    assert not torch.equal(found.eval()(x), module.eval()(x))
    assert torch.isfinite(found(x)).all()


def test_what_has_nothing_to_prune_and_shares_that_are_none_are_refused() -> None:
    with pytest.raises(ExportError, match="nothing can be pruned"):
        pruned(nn.LayerNorm(3), 0.5)
    for share in (0.0, 1.0, -0.5):
        with pytest.raises(ExportError, match="lies between 0 and 1"):
            pruned(nn.Linear(2, 2), share)


def test_an_epoch_of_tuning_moves_the_others_and_keeps_the_zeros() -> None:
    settings = recipe(average=EMA(decay=0.9), schedule=Cosine(warmup=0.1), freeze=("head.bias",))
    run = Run.start(task, settings, splits=None, device=torch.device("cpu"))
    bare = pruned(run.module, 0.7)
    before = {name: one.clone() for name, one in bare.state_dict().items()}
    better = tuned(task, settings, bare, splits=None)
    assert all(torch.equal(one, before[name]) for name, one in bare.state_dict().items())
    for (part, name), (other, _) in zip(prunable(bare), prunable(better), strict=True):
        mask = getattr(part, name) == 0
        assert torch.equal(getattr(other, name) == 0, mask)
        assert not torch.equal(getattr(other, name), getattr(part, name))
    assert torch.equal(better.state_dict()["head.bias"], before["head.bias"])


def test_tuning_says_what_is_wrong_with_the_recipe() -> None:
    run = Run.start(task, recipe(), splits=None, device=torch.device("cpu"))
    with pytest.raises(ConflictError, match="batch_size 0"):
        tuned(task, recipe(batch_size=0), run.module, splits=None)
