"""Settings that make no sense, and data that does not fit, are said in words."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from tests.trainables.models.members import Architecture
from trainables import ConflictError
from trainables.models import CNN, GRU, LSTM, MLP, TCN, MultiPlasticity, ResidualMLP, StateSpace, Transformer
from trainables.task import Shape

WRONG: list[tuple[Architecture, str]] = [
    (MLP(widths=(8, 0)), "MLP widths (8, 0) must all be at least 1, in whole numbers; (128, 128) is usual"),
    (MLP(widths=[32]), "MLP widths [32] is a list; write it as a tuple, (32,)"),  # type: ignore[arg-type]
    (MLP(inputs=0), "MLP inputs 0 must be at least 1"),
    (MLP(outputs=-1), "MLP outputs -1"),
    (MLP(activation="swish"), "MLP activation 'swish' is not known; write one of 'relu', 'gelu'"),  # type: ignore[arg-type]
    (MLP(activation=nn.ReLU()), "MLP activation ReLU() is not known"),  # type: ignore[arg-type]
    (MLP(dropout=1.0), "MLP dropout 1.0 must lie in [0, 1): it is the share of values set to zero"),
    (ResidualMLP(width=0), "ResidualMLP width 0"),
    (ResidualMLP(depth=0), "ResidualMLP depth 0"),
    (ResidualMLP(expansion=0), "ResidualMLP expansion 0"),
    (ResidualMLP(dropout=-0.1), "ResidualMLP dropout -0.1"),
    (ResidualMLP(activation="no"), "ResidualMLP activation 'no'"),  # type: ignore[arg-type]
    (CNN(channels=()), "CNN channels () has no block"),
    (CNN(channels=(4, 0)), "CNN channels (4, 0) must all be at least 1"),
    (CNN(image=(1, 0, 8)), "CNN image (1, 0, 8)"),
    (CNN(kernel=4), "CNN kernel 4 must be odd"),
    (CNN(norm="layer"), "CNN norm 'layer' is not known; write one of 'batch', 'group', 'none'"),  # type: ignore[arg-type]
    (CNN(channels=(12, 16), norm="group", groups=8), "CNN groups 8 does not divide 12 channels; 4 divides all"),
    (CNN(groups=0, norm="group"), "CNN groups 0"),
    (CNN(dropout=2.0), "CNN dropout 2.0"),
    (CNN(outputs=0), "CNN outputs 0"),
    (LSTM(width=0), "LSTM width 0"),
    (LSTM(depth=0), "LSTM depth 0"),
    (
        LSTM(steps=0),
        "LSTM steps 0 must be at least 1, in whole numbers; None, which takes the data as it lies, is usual",
    ),
    (LSTM(pool="max"), "LSTM pool 'max' is not known; write one of 'last', 'mean'"),  # type: ignore[arg-type]
    (LSTM(dropout=1.5), "LSTM dropout 1.5"),
    (GRU(width=-2), "GRU width -2"),
    (GRU(inputs=0), "GRU inputs 0"),
    (TCN(kernel=0), "TCN kernel 0"),
    (TCN(depth=0), "TCN depth 0"),
    (TCN(activation="no"), "TCN activation 'no'"),  # type: ignore[arg-type]
    (Transformer(heads=0), "Transformer heads 0"),
    (Transformer(width=6, heads=4), "Transformer width 6 is not a multiple of heads 4; 8 is"),
    (Transformer(width=3, heads=1, positions="sinusoidal"), "Transformer width 3 must be even"),
    (Transformer(positions="rotary"), "Transformer positions 'rotary' is not known"),  # type: ignore[arg-type]
    (Transformer(longest=0), "Transformer longest 0"),
    (Transformer(expansion=0), "Transformer expansion 0"),
    (StateSpace(states=0), "StateSpace states 0"),
    (StateSpace(timescales=(0.1, 0.01)), "StateSpace timescales (0.1, 0.01) must be above 0, the shorter first"),
    (StateSpace(timescales=(0.0, 0.01)), "StateSpace timescales (0.0, 0.01)"),
    (MultiPlasticity(time_constants=()), "MultiPlasticity time_constants () has no trace"),
    (MultiPlasticity(time_constants=(1.0, 4.0)), "MultiPlasticity time_constants (1.0, 4.0) must all be above 1 step"),
    (MultiPlasticity(width=0), "MultiPlasticity width 0"),
]


@pytest.mark.parametrize(("model", "said"), WRONG, ids=[said[:28] for _, said in WRONG])
def test_settings_that_make_no_sense_are_said(model: Architecture, said: str) -> None:
    conflicts = list(model.conflicts())
    assert len(conflicts) == 1
    assert said in conflicts[0]
    with pytest.raises(ValueError, match=r"lacks|; | is "):
        model.build()


def test_building_says_all_conflicts_at_once() -> None:
    with pytest.raises(ValueError, match=r"width 0 .*; .*depth 0 .*; .*'max'"):
        LSTM(width=0, depth=0, pool="max", inputs=1, outputs=1).build()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("model", "inputs", "said"),
    [
        (CNN(), (10,), "a sample (10,) is not an image or a square; give image=(channels, height, width)"),
        (CNN(), (2, 3, 4, 5), "a sample (2, 3, 4, 5) is not an image"),
        (CNN(image=(1, 8, 8)), (63,), "image (1, 8, 8) is not what the data has: (63,)"),
        (CNN(image=(8, 8, 3)), (3, 8, 8), "image (8, 8, 3) is not what the data has: (3, 8, 8)"),
        (
            LSTM(steps=5),
            (12,),
            "steps 5 does not divide the 12 values of a sample (12,); those that do are [1, 2, 3, 4, 6, 12]",
        ),
        (GRU(), (), "a sample is a single number, not a sequence"),
        (Transformer(steps=7), (2, 4), "steps 7"),
    ],
)
def test_data_that_does_not_fit_is_said(model: Architecture, inputs: tuple[int, ...], said: str) -> None:
    with pytest.raises(ConflictError) as caught:
        model.adapted(Shape(inputs=inputs, outputs=2))
    assert said in str(caught.value)


def test_sizes_that_are_given_are_kept() -> None:
    shape = Shape(inputs=(4, 3), outputs=2)
    assert MLP(inputs=5, outputs=7).adapted(shape) == MLP(inputs=5, outputs=7)
    assert GRU(inputs=5).adapted(shape) == GRU(inputs=5, outputs=2)
    assert Transformer(longest=99).adapted(shape) == Transformer(longest=99, inputs=3, outputs=2)
    assert CNN(outputs=9).adapted(shape) == CNN(image=(1, 4, 3), outputs=9)


def test_an_activation_may_be_a_part_of_one_s_own() -> None:
    @dataclass(frozen=True, kw_only=True, slots=True)
    class Leaky:
        slope: float = 0.25

        def build(self) -> nn.Module:
            return nn.PReLU(init=self.slope)

    model = MLP(widths=(4, 4), activation=Leaky(slope=0.5), inputs=2, outputs=2)
    assert list(model.conflicts()) == []
    slopes = [part for part in model.build().modules() if isinstance(part, nn.PReLU)]
    assert [slope.weight.item() for slope in slopes] == [0.5, 0.5]
    assert slopes[0] is not slopes[1]


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("relu", torch.relu),
        ("gelu", nn.functional.gelu),
        ("silu", nn.functional.silu),
        ("elu", nn.functional.elu),
        ("tanh", torch.tanh),
    ],
)
def test_activations_are_torch_s(name: str, function: object) -> None:
    module = MLP(widths=(3,), activation=name, inputs=2, outputs=2).build()  # type: ignore[arg-type]
    x = torch.randn(4, 2)
    hidden = module.get_submodule("blocks.0.0")(x)
    torch.testing.assert_close(module.get_submodule("blocks")(x), function(hidden))  # type: ignore[operator]
