"""Clipping: against torch's own, alone and together."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

from tests.trainables.small import recipe, task
from trainables import ClipNorm, Clips, ClipValue, Recipe
from trainables.clip import Clip
from trainables.describe import plain, text
from trainables.fit import fit

EVERY = (ClipNorm(0.7), ClipValue(0.3), Clips(ClipValue(0.3), ClipNorm(0.7)), Clips(ClipNorm(0.7), ClipValue(0.3)))


def parameters() -> list[nn.Parameter]:
    """Three tensors with gradients, and one without; their joint norm is about 4."""
    draw = torch.Generator().manual_seed(1)
    made = [nn.Parameter(torch.zeros(shape)) for shape in ((3, 4), (4,), (2, 2))]
    for parameter in made:
        parameter.grad = torch.randn(parameter.shape, generator=draw)
    return [*made, nn.Parameter(torch.zeros(2))]


def gradients(clip: Clip) -> torch.Tensor:
    clipped = parameters()
    clip(clipped)
    return joined(clipped)


def joined(of: list[nn.Parameter]) -> torch.Tensor:
    return torch.cat([parameter.grad.flatten() for parameter in of if parameter.grad is not None])


def trace(settings: Recipe) -> list[float]:
    return [epoch.metrics["train/loss"] for epoch in fit(task, settings)]


def test_by_value_is_torch_s() -> None:
    theirs = parameters()
    clip_grad_value_(theirs, 0.3)
    assert torch.equal(gradients(ClipValue(0.3)), joined(theirs))
    assert gradients(ClipValue(0.3)).abs().max() == pytest.approx(0.3)
    assert torch.equal(gradients(ClipValue(1e9)), joined(parameters()))


def test_both_are_torch_s_in_the_order_given() -> None:
    value_first, norm_first = parameters(), parameters()
    clip_grad_value_(value_first, 0.3)
    clip_grad_norm_(value_first, 0.7)
    clip_grad_norm_(norm_first, 0.7)
    clip_grad_value_(norm_first, 0.3)
    assert torch.equal(gradients(Clips(ClipValue(0.3), ClipNorm(0.7))), joined(value_first))
    assert torch.equal(gradients(Clips(ClipNorm(0.7), ClipValue(0.3))), joined(norm_first))
    assert not torch.equal(joined(value_first), joined(norm_first))


def test_three_clips_are_two_in_two() -> None:
    nested = Clips(ClipValue(0.3), Clips(ClipNorm(0.7), ClipValue(0.1)))
    in_turn = parameters()
    for clip in (ClipValue(0.3), ClipNorm(0.7), ClipValue(0.1)):
        clip(in_turn)
    assert torch.equal(gradients(nested), joined(in_turn))


@pytest.mark.parametrize("clip", EVERY, ids=text)
def test_the_norm_before_any_clipping_is_what_is_logged(clip: Clip) -> None:
    before = joined(parameters()).norm().item()
    assert before > 3
    assert clip(parameters()).item() == pytest.approx(before, rel=1e-6)
    logged = next(iter(fit(task, recipe(clip=clip, batch_size=61)))).metrics["train/grad_norm"]
    free = next(iter(fit(task, recipe(clip=ClipNorm(math.inf), batch_size=61)))).metrics["train/grad_norm"]
    assert logged == pytest.approx(free, rel=1e-12)


@pytest.mark.parametrize("clip", [ClipNorm(0.05), ClipValue(0.01), Clips(ClipValue(0.01), ClipNorm(0.02))], ids=text)
def test_each_changes_a_run_and_each_of_its_numbers_does(clip: Clip) -> None:
    traces = [trace(recipe()), trace(recipe(clip=clip))]
    if isinstance(clip, Clips):
        traces += [trace(recipe(clip=clip.first)), trace(recipe(clip=clip.then))]
        traces += [trace(recipe(clip=Clips(clip.then, clip.first)))]
    assert len({tuple(losses) for losses in traces}) == len(traces)


def test_an_infinite_norm_logs_and_changes_nothing() -> None:
    epochs = list(fit(task, recipe(clip=ClipNorm(math.inf))))
    assert [epoch.metrics["train/loss"] for epoch in epochs] == trace(recipe())
    assert all(epoch.metrics["train/grad_norm"] > 0.01 for epoch in epochs)
    assert "train/grad_norm" not in next(iter(fit(task, recipe()))).metrics


def test_conflicts_are_said_for_each_of_two() -> None:
    said = list(Clips(ClipNorm(0.0), Clips(ClipValue(math.nan), 1.0)).conflicts())  # type: ignore[arg-type]
    assert len(said) == 3
    for part, sentence in zip(("ClipNorm 0.0", "ClipValue nan", "1.0, a float"), said, strict=True):
        assert part in sentence


def test_a_label_names_both_and_their_order() -> None:
    first, second = Clips(ClipValue(0.5), ClipNorm(1.0)), Clips(ClipNorm(1.0), ClipValue(0.5))
    assert text(first) == "Clips(first=ClipValue(limit=0.5), then=ClipNorm(norm=1.0))"
    assert plain(first) != plain(second)
