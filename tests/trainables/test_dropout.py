"""The dropout ramp, and the rates it sets."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from tests.trainables.small import recipe, task
from trainables.dropout import DropoutRamp, apply
from trainables.fit import fit
from trainables.recipe import Part


def test_the_ramp_is_straight() -> None:
    assert [DropoutRamp()(progress) for progress in (0.0, 0.5, 1.0)] == pytest.approx([0.3, 0.15, 0.0])
    assert [DropoutRamp(start=0.1, end=0.5)(progress) for progress in (0.0, 0.25, 1.0)] == pytest.approx(
        [0.1, 0.2, 0.5]
    )


LAYERS: list[tuple[nn.Module, tuple[int, ...]]] = [
    (nn.Dropout(0.9), (100, 100)),
    (nn.Dropout1d(0.9), (100, 100, 2)),
    (nn.Dropout2d(0.9), (100, 100, 2, 2)),
    (nn.Dropout3d(0.9), (100, 100, 2, 2, 2)),
    (nn.AlphaDropout(0.9), (100, 100)),
    (nn.FeatureAlphaDropout(0.9), (100, 100, 2)),
]


@pytest.mark.parametrize(("layer", "shape"), LAYERS, ids=[type(layer).__name__ for layer, _ in LAYERS])
@pytest.mark.parametrize("rate", [0.0, 0.2, 0.6])
def test_the_masks_change_with_the_rate(layer: nn.Module, shape: tuple[int, ...], rate: float) -> None:
    """The share of values, or of channels, that no longer are what they were."""
    torch.manual_seed(0)
    assert apply(layer, rate) == 1
    x = 1 + torch.rand(shape)
    out = layer.train()(x)
    # What is kept is scaled, or stretched and moved; what is dropped becomes one and the same value.
    values = out.flatten(2)[:, :, 0] if out.ndim > 2 else out
    kinds, counts = values.round(decimals=4).unique(return_counts=True)
    dropped = counts.max().item() / values.numel() if rate else 0.0
    assert dropped == pytest.approx(rate, abs=0.03)
    assert len(kinds) > 1
    if rate == 0.0:
        assert torch.equal(out, x)
    assert torch.equal(layer.eval()(x), x)


def repeats(module: nn.Module, *inputs: Tensor) -> bool:
    """True when two passes give the same: nothing is dropped."""
    a, b = module(*inputs)[0], module(*inputs)[0]
    return torch.equal(a, b)


@pytest.mark.parametrize(
    "module",
    [nn.LSTM(4, 5, num_layers=2), nn.GRU(4, 5, num_layers=2), nn.RNN(4, 5, num_layers=2)],
    ids=lambda module: type(module).__name__,
)
def test_between_recurrent_layers_too(module: nn.RNNBase) -> None:
    x = torch.randn(6, 3, 4)
    assert repeats(module, x)
    assert apply(module, 0.5) == 1
    assert not repeats(module, x)
    assert repeats(module.eval(), x)
    assert apply(module, 0.0) == 1
    assert repeats(module.train(), x)


def test_attention_weights_too() -> None:
    module, x = nn.MultiheadAttention(4, 2), torch.randn(6, 3, 4)
    assert repeats(module, x, x, x)
    assert apply(module, 0.5) == 1
    assert not repeats(module, x, x, x)
    assert repeats(module.eval(), x, x, x)


def test_all_of_a_model_are_found_and_counted() -> None:
    model = nn.Sequential(
        nn.Linear(4, 4),
        nn.Dropout(0.1),
        nn.TransformerEncoderLayer(4, 2, 8),
        nn.Sequential(nn.Dropout(0.2), nn.LSTM(4, 4)),
    )
    assert (
        apply(model, 0.25) == 1 + 4 + 1
    )  # an encoder layer has three of its own and the attention's; one LSTM layer has none
    rates = [part.p for part in model.modules() if isinstance(part, nn.Dropout)]
    assert rates == [0.25] * 5
    assert apply(nn.Linear(2, 2), 0.5) == 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Watched:
    """A wide layer with dropout after it; the share of zeros in each training batch is noted."""

    noted: list[float]

    def build(self) -> nn.Module:
        def note(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:  # noqa: ARG001
            if layer.training:
                self.noted.append((output == 0).double().mean().item())

        module = nn.Sequential(nn.Linear(2, 64), nn.Dropout(0.9), nn.Linear(64, 3))
        module[1].register_forward_hook(note)
        return module


def test_fit_drops_by_the_ramp_and_logs_the_rate() -> None:
    noted: list[float] = []
    rates = []
    for epoch in fit(task, recipe(model=Watched(noted=noted), dropout=DropoutRamp(start=0.6, end=0.0), epochs=4)):
        rates.append(epoch.run.history[-1]["dropout"])
        assert sum(noted) / len(noted) == pytest.approx(rates[-1], abs=0.05)
        noted.clear()
    assert rates == pytest.approx([0.6, 0.4, 0.2, 0.0])


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
def test_a_rate_that_makes_no_sense_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\)"):
        apply(nn.Dropout(), rate)


@pytest.mark.parametrize(("part", "said"), [(DropoutRamp(start=1.0), "start 1.0"), (DropoutRamp(end=-0.5), "end -0.5")])
def test_settings_that_make_no_sense_are_said(part: Part, said: str) -> None:
    conflicts = list(part.conflicts())
    assert len(conflicts) == 1
    assert said in conflicts[0]
    assert list(DropoutRamp().conflicts()) == []
