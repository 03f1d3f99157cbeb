"""Rare groups come as often as asked, without gaps and without chance in the counts."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import WeightedRandomSampler

from tests.trainables.small import recipe, task
from trainables import Balanced, ConflictError, Curriculum, InMemory, Minimise, Splits, Task
from trainables.data.balanced import quotas
from trainables.fit import fit


def samples(counts: list[int]) -> tuple[Tensor, Tensor]:
    """As many samples of each class as asked for; the input is the sample's number."""
    target = torch.cat([torch.full((count,), label) for label, count in enumerate(counts)])
    return torch.arange(len(target)), target


def drawn(part: Balanced, counts: list[int], *seed: int) -> tuple[Tensor, Tensor]:
    """The samples of an epoch and their classes."""
    train = samples(counts)
    (order,) = part.blocks(train, *seed)
    return order, train[1][order]


@given(st.lists(st.integers(1, 60), min_size=1, max_size=6), st.floats(0, 1), st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_counts_are_met_and_no_sample_comes_again_before_its_group_is_through(
    counts: list[int], power: float, seed: int
) -> None:
    order, classes = drawn(Balanced(power=power), counts, seed)
    assert len(order) == sum(counts)
    shares = [count ** (1 - power) for count in counts]
    for label, (count, share) in enumerate(zip(counts, shares, strict=True)):
        chosen = order[classes == label]
        assert abs(len(chosen) - share / sum(shares) * sum(counts)) < 1 + 1e-9
        times = torch.bincount(chosen - sum(counts[:label]), minlength=count)
        assert int(times.max() - times.min()) <= 1


def test_nothing_changes_at_zero_and_all_are_alike_at_one() -> None:
    assert quotas([90, 9, 1], 0.0) == [90, 9, 1]
    assert quotas([90, 9, 1], 1.0) == [34, 33, 33]
    assert quotas([64, 16], 0.5) == [53, 27]  # as 8 to 4


def test_it_draws_what_torchs_sampler_draws_on_average() -> None:
    counts, power, epochs = [400, 60, 20], 0.7, 40
    part, target = Balanced(power=power), samples(counts)[1]
    mine = torch.bincount(drawn(part, counts, 0)[1])
    weights = torch.tensor(counts, dtype=torch.float64)[target] ** -power
    sampler = WeightedRandomSampler(
        weights.tolist(), len(target), replacement=True, generator=torch.Generator().manual_seed(0)
    )
    theirs = sum(torch.bincount(target[torch.tensor(list(sampler))], minlength=3) for _ in range(epochs)) / epochs
    share = mine / len(target)
    deviation = (len(target) * share * (1 - share) / epochs).sqrt()
    assert bool(((mine - theirs).abs() < 4 * deviation + 1).all())


def test_the_seed_governs_it() -> None:
    first, again, other = (drawn(Balanced(), [30, 5], *seed)[0] for seed in ((1, 2), (1, 2), (1, 3)))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_classes_are_mixed() -> None:
    """The order is shuffled over the groups, not group after group."""
    classes = drawn(Balanced(), [300, 30], 1)[1].float()
    assert abs(float(classes[:165].mean()) - 0.5) < 0.15


def test_groups_are_those_asked_for() -> None:
    def character(tensors: tuple[Tensor, ...]) -> Tensor:
        return tensors[0] // 90

    (order,) = Balanced(groups=character).blocks(samples([50, 50]), 1)
    assert torch.bincount(order // 90).tolist() == [50, 50]
    (same,) = Balanced(groups=character).blocks(InMemory(samples([50, 50])), 1)
    assert torch.equal(order, same)


def test_a_rare_class_is_learned_from() -> None:
    """Five of 101 samples: the loss counts them as often as the others."""

    def rare(seed: int) -> Splits:
        splits = task.data(seed)
        points, classes = splits.train
        kept = torch.cat([(classes != 2).nonzero()[:, 0], (classes == 2).nonzero()[:2, 0]])
        return Splits(train=(points[kept], classes[kept]), val=splits.val, test=splits.test)

    def recalled(output: Tensor, target: Tensor) -> Tensor:
        return ((output.argmax(1) == target) & (target == 2)).double()

    few = Task(name="few", data=rare, metrics={"recalled": recalled}, goal=Minimise("loss"))
    plain, balanced = (
        [epoch.metrics["val/recalled"] for epoch in fit(few, recipe(epochs=15, sampling=sampling))][-1]
        for sampling in (None, Balanced())
    )
    assert balanced > plain


def test_what_cannot_be_balanced_is_told() -> None:
    part = Balanced()
    with pytest.raises(ConflictError, match=r"float32 of shape \(4,\); give groups="):
        list(part.blocks((torch.zeros(4, 2), torch.zeros(4)), 1))
    assert list(Balanced(power=1.5).conflicts()) == [
        "Balanced power 1.5 must lie between 0 (as they are) and 1 (all groups alike); 1 is usual"
    ]
    assert list(recipe(sampling=Balanced(), curriculum=Curriculum()).conflicts()) == [
        "curriculum and sampling both say which samples an epoch has; set one of the two to None"
    ]
