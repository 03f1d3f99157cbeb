"""Sequence models against torch's own, their definitions and each other."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from tests.trainables.models.members import CASES, SEQUENCES
from trainables.models import GRU, LSTM, TCN, MultiPlasticity, StateSpace, Transformer
from trainables.models.attention import Attention
from trainables.models.causal_convolution import CausalConvolution
from trainables.models.diagonal_states import DiagonalStates
from trainables.models.plastic_layer import PlasticLayer
from trainables.models.positions import LearnedPositions, SinusoidalPositions
from trainables.models.sequence_net import SequenceNet


def sequence(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def net(model: LSTM | GRU | TCN | Transformer | StateSpace | MultiPlasticity) -> SequenceNet:
    torch.manual_seed(0)
    built = model.build().double()
    assert isinstance(built, SequenceNet)
    return built


def agree(mine: Tensor, theirs: Tensor, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(mine, theirs, rtol=0, atol=tolerance)


@pytest.mark.parametrize(("model", "reference"), [(LSTM(), nn.LSTM), (GRU(), nn.GRU)])
def test_stacked_recurrent_layers_are_torch_s(model: LSTM | GRU, reference: type[nn.LSTM | nn.GRU]) -> None:
    mine = net(replace(model, width=6, depth=3, inputs=4, outputs=2))
    theirs = reference(4, 6, num_layers=3, batch_first=True).double()
    stacked = {
        f"{name[:-1]}{layer}": value
        for layer, block in enumerate(mine.blocks)
        for name, value in block.get_submodule("cell").state_dict().items()
    }
    theirs.load_state_dict(stacked)
    x = sequence(3, 5, 4)
    agree(mine.features(x), theirs(x)[0])
    agree(mine(x), mine.head(theirs(x)[0][:, -1]))


def test_the_last_step_or_the_mean_over_steps_is_read() -> None:
    last = net(GRU(width=6, inputs=4, outputs=2))
    mean = net(GRU(width=6, inputs=4, outputs=2, pool="mean"))
    x = sequence(3, 5, 4)
    agree(last(x), last.head(last.features(x)[:, -1]))
    agree(mean(x), mean.head(mean.features(x).mean(1)))
    assert not torch.allclose(last(x), mean(x))


CAUSAL = [name for name in SEQUENCES if name != "transformer"]


@pytest.mark.parametrize("name", CAUSAL)
def test_no_step_sees_a_later_one(name: str) -> None:
    module = CASES[name].built().eval()
    assert isinstance(module, SequenceNet)
    x = CASES[name].batch(2)
    before = module.features(x)
    for step in range(1, x.shape[1]):
        changed = x.clone()
        changed[:, step:] += 1.0
        after = module.features(changed)
        agree(after[:, :step], before[:, :step], 1e-11)
        assert not torch.allclose(after[:, step], before[:, step])


def test_only_a_causal_transformer_hides_what_comes_later() -> None:
    x = sequence(2, 6, 3)
    changed = x.clone()
    changed[:, 4:] += 1.0
    model = Transformer(width=8, heads=2, inputs=3, outputs=2, longest=6)
    encoder, decoder = net(model), net(replace(model, causal=True))
    agree(decoder.features(changed)[:, :4], decoder.features(x)[:, :4])
    assert not torch.allclose(encoder.features(changed)[:, :4], encoder.features(x)[:, :4], atol=1e-4)


def test_the_convolution_is_torch_s_with_weight_norm() -> None:
    mine = CausalConvolution(3, 4, kernel=3, dilation=2).double()
    theirs = weight_norm(nn.Conv1d(3, 4, 3, dilation=2).double())
    theirs.load_state_dict(
        {
            "bias": mine.bias,
            "parametrizations.weight.original0": 2 * mine.gain,
            "parametrizations.weight.original1": mine.direction,
        }
    )
    with torch.no_grad():
        mine.gain.mul_(2)
    x = sequence(2, 3, 9)
    agree(mine(x), theirs(nn.functional.pad(x, (4, 0))))
    fresh = nn.Conv1d(3, 4, 3)
    torch.manual_seed(1)
    started = CausalConvolution(3, 4, kernel=3, dilation=1)
    torch.manual_seed(1)
    fresh.reset_parameters()
    torch.testing.assert_close(started(x.float())[..., 2:], fresh(x.float()))


@pytest.mark.parametrize(("depth", "kernel"), [(1, 2), (2, 3), (3, 2)])
def test_a_step_of_the_tcn_sees_just_its_reach(depth: int, kernel: int) -> None:
    model = TCN(width=4, depth=depth, kernel=kernel, inputs=2, outputs=2, activation="tanh")
    x = sequence(1, model.reach + 4, 2).requires_grad_()
    net(model).features(x)[0, -1].sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    seen = x.grad[0].abs().sum(-1) > 0
    assert seen.tolist() == [False] * 4 + [True] * model.reach


def test_attention_is_torch_s() -> None:
    torch.manual_seed(0)
    mine = Attention(8, 2, dropout=0.0, causal=False).double()
    theirs = nn.MultiheadAttention(8, 2, batch_first=True).double()
    with torch.no_grad():
        theirs.in_proj_weight.copy_(mine.mix.weight)
        theirs.in_proj_bias.zero_()
        theirs.out_proj.load_state_dict(mine.out.state_dict())
    x = sequence(3, 5, 8)
    agree(mine(x), theirs(x, x, x, need_weights=False)[0])
    mine.causal = True
    hidden = nn.Transformer.generate_square_subsequent_mask(5, dtype=torch.float64)
    agree(mine(x), theirs(x, x, x, attn_mask=hidden, need_weights=False)[0])


def test_a_block_of_the_transformer_is_torch_s_pre_norm_layer() -> None:
    module = net(Transformer(width=8, heads=2, depth=1, expansion=3, inputs=3, outputs=2, longest=5, activation="relu"))
    theirs = nn.TransformerEncoderLayer(8, 2, 24, dropout=0.0, batch_first=True, norm_first=True).double()
    attending, feeding = module.blocks[0].children()
    parts = dict(attending.named_modules()) | {f"feed.{name}": part for name, part in feeding.named_modules()}
    own = {
        "self_attn.in_proj_weight": parts["body.1.mix"].weight,
        "self_attn.in_proj_bias": torch.zeros(24),
        **_as("self_attn.out_proj", parts["body.1.out"]),
        **_as("norm1", parts["body.0"]),
        **_as("norm2", parts["feed.body.0"]),
        **_as("linear1", parts["feed.body.1"]),
        **_as("linear2", parts["feed.body.4"]),
    }
    theirs.load_state_dict(own)
    x = sequence(3, 5, 8)
    agree(module.blocks[0](x), theirs(x))


def _as(name: str, part: nn.Module) -> dict[str, Tensor]:
    return {f"{name}.{key}": value for key, value in part.state_dict().items()}


def test_attention_weights_are_dropped() -> None:
    """All of them dropped but by chance, what is left is the output's bias; scaled, the mean stays."""
    torch.manual_seed(0)
    module = Attention(4, 1, dropout=0.5, causal=False).double()
    x = sequence(1, 6, 4).expand(4000, -1, -1)
    dropped = module(x)
    assert dropped.std(0).min() > 0
    torch.testing.assert_close(dropped.mean(0), module.eval()(x)[0], rtol=0, atol=0.03)


def test_sinusoidal_positions_are_their_formula() -> None:
    waves = SinusoidalPositions()(torch.zeros(1, 300, 6, dtype=torch.float64))[0]
    for step, index in [(0, 0), (1, 0), (7, 2), (299, 4)]:
        angle = step / 10000 ** (index / 6)
        assert waves[step, index].item() == pytest.approx(math.sin(angle), abs=1e-12)
        assert waves[step, index + 1].item() == pytest.approx(math.cos(angle), abs=1e-12)
    short = SinusoidalPositions()(torch.zeros(1, 300, 6, dtype=torch.bfloat16))[0]
    torch.testing.assert_close(short.double(), waves, rtol=0, atol=0.004)


def test_positions_tell_steps_apart_and_have_an_end() -> None:
    model = Transformer(width=8, heads=2, inputs=3, outputs=2, longest=5)
    x = sequence(2, 5, 3)
    for positions in (model, replace(model, positions="sinusoidal")):
        module = net(positions)
        assert not torch.allclose(module(x.flip(1)), module(x), atol=1e-6)
    with torch.no_grad():
        blind = net(model)
        blind.get_parameter("embed.1.table").zero_()
    agree(blind(x.flip(1)), blind(x))
    agree(net(replace(model, longest=9))(x[:, :3]).isnan(), torch.zeros(2, 2, dtype=torch.bool))
    with pytest.raises(ValueError, match="6 steps is longer than the 5"):
        LearnedPositions(5, 8)(torch.zeros(1, 6, 8))
    with pytest.raises(ValueError, match="lacks longest"):
        replace(model, longest=None).build()


@pytest.mark.parametrize("steps", [1, 2, 17, 64])
def test_states_convolved_and_stepped_are_the_same(steps: int) -> None:
    torch.manual_seed(0)
    layer = DiagonalStates(5, 4, (0.01, 0.5)).double()
    x = sequence(3, steps, 5)
    agree(layer(x), layer.recurrent(x), 1e-10)
    state = torch.zeros(3, 5, 4, dtype=torch.complex128)
    outputs = []
    for u in x.unbind(1):
        y, state = layer.step(u, state)
        outputs.append(y)
    agree(layer(x), torch.stack(outputs, 1), 1e-10)


def test_gradients_of_convolved_and_stepped_states_are_the_same() -> None:
    torch.manual_seed(0)
    layer = DiagonalStates(5, 4, (0.01, 0.5)).double()
    x = sequence(3, 12, 5)
    found = [torch.autograd.grad(run(x).square().sum(), list(layer.parameters())) for run in (layer, layer.recurrent)]
    for mine, theirs in zip(*found, strict=True):
        agree(mine, theirs, 1e-9)


def test_states_follow_the_differential_equation_of_s4d_lin() -> None:
    """Against a fine Euler integration of s' = a s + u with the input held over each step."""
    torch.manual_seed(0)
    layer = DiagonalStates(1, 3, (0.2, 0.2)).double()
    a = torch.complex(torch.full((3,), -0.5, dtype=torch.float64), math.pi * torch.arange(3, dtype=torch.float64))
    read = torch.complex(layer.read_real[0], layer.read_imaginary[0]).detach()
    x = sequence(1, 6, 1)
    fine = 20000
    state = torch.zeros(3, dtype=torch.complex128)
    expected = []
    for u in x.flatten().tolist():
        # n Euler steps with a constant input, summed as a geometric series
        factor = 1 + a * 0.2 / fine
        state = factor**fine * state + (factor**fine - 1) / a * u
        expected.append(2 * (read * state).sum().real + layer.through.item() * u)
    torch.testing.assert_close(layer(x).flatten().detach(), torch.stack(expected), rtol=0, atol=1e-3)


def test_states_stay_stable_whatever_is_learned() -> None:
    layer = DiagonalStates(2, 3, (0.001, 0.1)).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(3 * sequence(*parameter.shape))
    tail = layer.impulse(5000).abs()
    assert tail.isfinite().all()
    assert (tail[2500:].amax(0) <= tail[:2500].amax(0)).all()


def test_plasticity_is_its_equations() -> None:
    """Neuron by neuron, connection by connection."""
    torch.manual_seed(0)
    layer = PlasticLayer(2, 3, (2.0, 5.0), 0.0).double()
    with torch.no_grad():
        layer.plasticity.copy_(sequence(2, 3, 3))
    x = sequence(1, 6, 2)
    outputs, traces = layer.run(x)
    assert traces.shape == (1, 2, 3, 3)
    rates = [1 / 2.0, 1 / 5.0]
    h = [0.0] * 3
    trace = torch.zeros(2, 3, 3, dtype=torch.float64)
    for step in range(6):
        drive = (layer.drive.weight @ x[0, step] + layer.drive.bias).tolist()
        new = [
            math.tanh(
                drive[i]
                + sum(
                    (
                        layer.slow[i, j].item()
                        + sum(layer.plasticity[m, i, j].item() * trace[m, i, j].item() for m in range(2))
                    )
                    * h[j]
                    for j in range(3)
                )
            )
            for i in range(3)
        ]
        for m in range(2):
            for i in range(3):
                for j in range(3):
                    trace[m, i, j] = (1 - rates[m]) * trace[m, i, j] + rates[m] * new[i] * h[j]
        h = new
        torch.testing.assert_close(outputs[0, step].tolist(), h, rtol=0, atol=1e-6)
    torch.testing.assert_close(traces[0], trace, rtol=0, atol=1e-6)


def test_without_plasticity_it_is_torch_s_recurrent_network() -> None:
    torch.manual_seed(0)
    layer = PlasticLayer(4, 6, (2.0, 8.0), 0.0).double()
    theirs = nn.RNN(4, 6, batch_first=True).double()
    theirs.load_state_dict(
        {
            "weight_ih_l0": layer.drive.weight,
            "bias_ih_l0": layer.drive.bias,
            "weight_hh_l0": layer.slow,
            "bias_hh_l0": torch.zeros(6),
        }
    )
    x = sequence(3, 9, 4)
    assert not torch.allclose(layer(x), theirs(x)[0], atol=1e-6)
    with torch.no_grad():
        layer.plasticity.zero_()
    agree(layer(x), theirs(x)[0])


def test_traces_are_bounded_and_fade_at_their_own_pace() -> None:
    torch.manual_seed(0)
    layer = PlasticLayer(4, 6, (2.0, 20.0), 0.0).double()
    torch.testing.assert_close(layer.rates, torch.tensor([0.5, 0.05], dtype=torch.float64), rtol=0, atol=1e-7)
    _, traces = layer.run(30 * sequence(3, 200, 4))
    assert traces.abs().max() <= 1
    with torch.no_grad():
        layer.slow.zero_()
        layer.plasticity.zero_()
        layer.drive.bias.zero_()
    burst = torch.zeros(1, 12, 4, dtype=torch.float64)
    burst[:, :2] = 1.0
    _, short = layer.run(burst[:, :2])
    _, long = layer.run(burst)
    torch.testing.assert_close(long[:, 0], short[:, 0] * 0.5**10)
    torch.testing.assert_close(long[:, 1], short[:, 1] * 0.95**10)
