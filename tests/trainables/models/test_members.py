"""What holds for every architecture."""

from __future__ import annotations

import copy
import io
import pickle
from dataclasses import replace

import pytest
import torch
from torch import nn

from tests.trainables.models.members import CASES, SEQUENCES, Case, gradients
from trainables import models
from trainables.models import parameters
from trainables.modules import freeze, recompute
from trainables.recipe import Adaptable, Part
from trainables.seeds import seeded
from trainables.task import Shape

everyone = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
with_dropout = {name: case for name, case in CASES.items() if "dropout=0.3" in repr(case.model)}
CPU = torch.device("cpu")


def test_every_architecture_is_among_the_cases() -> None:
    offered = {getattr(models, name) for name in models.__all__}
    assert {kind for kind in offered if isinstance(kind, type)} == {type(case.model) for case in CASES.values()}


@everyone
def test_it_keeps_to_the_protocols(case: Case) -> None:
    assert isinstance(case.model, Adaptable)
    assert isinstance(case.model, Part)
    assert list(case.model.conflicts()) == []
    with pytest.raises(ValueError, match="lacks"):
        type(case.model)().build()


@everyone
@pytest.mark.parametrize("size", [1, 5])
def test_a_batch_gives_one_row_of_outputs_a_sample(case: Case, size: int) -> None:
    module = case.built().eval()
    out = module(case.batch(size))
    assert out.shape == (size, 3)
    assert out.dtype == torch.float64
    assert case.built(dtype=torch.float32).eval()(case.batch(size, torch.float32)).dtype == torch.float32


@everyone
def test_the_seed_alone_decides_the_weights(case: Case) -> None:
    before = torch.random.get_rng_state()
    first, again, other = case.built(1), case.built(1), case.built(2)
    assert torch.equal(torch.random.get_rng_state(), before)
    drawn = [name for name, value in first.state_dict().items() if not torch.equal(value, other.state_dict()[name])]
    assert {name.split(".")[0] for name in drawn} >= {"blocks", "head"}
    assert {name.split(".")[1] for name in drawn if name.startswith("blocks.")} == set(map(str, range(case.blocks)))
    for name, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


@everyone
def test_copies_and_stored_weights_give_the_same(case: Case) -> None:
    module, other = case.built(1).eval(), case.built(2).eval()
    x = case.batch(4)
    expected = module(x)
    assert not torch.allclose(other(x), expected)
    assert torch.equal(copy.deepcopy(module)(x), expected)
    assert torch.equal(pickle.loads(pickle.dumps(module))(x), expected)
    stored = io.BytesIO()
    torch.save(module.state_dict(), stored)
    stored.seek(0)
    other.load_state_dict(torch.load(stored, weights_only=True))
    assert torch.equal(other(x), expected)


@everyone
def test_gradients_reach_every_parameter(case: Case) -> None:
    module = case.built()
    with seeded(CPU, "dropout", 3):
        module(case.batch(16)).square().sum().backward()
    reached = {
        name: gradient is not None and bool(gradient.abs().max() > 1e-12) for name, gradient in gradients(module)
    }
    assert [name for name, there in reached.items() if not there] == []
    assert all(parameter.dtype == torch.float64 for parameter in module.parameters())


@everyone
def test_a_sample_is_judged_alone(case: Case) -> None:
    module = case.built().train()
    module(case.batch(16))  # statistics of batch norm
    module.eval()
    x = case.batch(7)
    torch.testing.assert_close(module(x)[2:4], module(x[2:4]), rtol=0, atol=1e-12)


@everyone
def test_its_repeated_parts_are_called_blocks(case: Case) -> None:
    """What freezes or recomputes parts by name finds them, and each takes and gives one tensor."""
    module = case.built().eval()
    blocks = module.get_submodule("blocks")
    assert isinstance(blocks, nn.Sequential | nn.ModuleList)
    assert len(blocks) == case.blocks
    seen: list[int] = []
    for block in blocks:
        block.register_forward_hook(lambda _, given, out: seen.append(len(given) + isinstance(out, torch.Tensor)))
    module(case.batch(2))
    assert seen == [2] * case.blocks


@everyone
def test_its_blocks_can_be_recomputed_and_frozen_by_name(case: Case) -> None:
    """Gradients are as before, dropout included; what is frozen has none."""
    plain, recomputed = case.built().train(), case.built().train()
    recompute(recomputed, ["blocks.*"])
    for module in (plain, recomputed):
        with seeded(CPU, "dropout", 3):
            module(case.batch(8)).square().sum().backward()
    for (name, mine), (_, theirs) in zip(gradients(recomputed), gradients(plain), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-12, msg=name)
    frozen = case.built().train()
    freeze(frozen, ["blocks.0.*"])
    frozen(case.batch(8)).square().sum().backward()
    idle = {name for name, gradient in gradients(frozen) if gradient is None}
    assert idle == {name for name, _ in gradients(frozen) if name.startswith("blocks.0.")} != set()


@pytest.mark.parametrize("case", with_dropout.values(), ids=with_dropout)
def test_all_of_its_dropout_is_in_modules_whose_rate_can_be_set(case: Case) -> None:
    module = case.built().train()
    # Another norm than layer norm tells training from evaluation by itself.
    for norm in [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]:
        norm.eval()
    drops = [part for part in module.modules() if isinstance(part, nn.Dropout)]
    assert {drop.p for drop in drops} == {0.3}
    x = case.batch(8)

    def drawn(seed: int) -> torch.Tensor:
        with seeded(CPU, seed):
            out: torch.Tensor = module(x)
        return out

    assert torch.equal(drawn(1), drawn(1))
    for chosen in drops:
        for drop in drops:
            drop.p = 0.5 if drop is chosen else 0.0
        assert not torch.allclose(drawn(1), drawn(2)), chosen
    chosen.p = 0.0
    calm = drawn(1)
    assert torch.equal(drawn(2), calm)
    torch.testing.assert_close(module.eval()(x), calm, rtol=0, atol=1e-12)


@everyone
def test_mixed_precision_is_close_to_single(case: Case) -> None:
    module = case.built(dtype=torch.float32).eval()
    x = case.batch(6, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        out = module(x)
        module.train()(x).float().square().sum().backward()
    assert all(gradient is not None and gradient.isfinite().all() for _, gradient in gradients(module))
    module.load_state_dict(case.built(dtype=torch.float32).state_dict())
    torch.testing.assert_close(out.float(), module.eval()(x), rtol=0.1, atol=0.05)


@pytest.mark.parametrize("case", [CASES[name] for name in SEQUENCES], ids=SEQUENCES)
def test_a_sequence_may_come_in_several_shapes(case: Case) -> None:
    """Steps of several features, of one, or flat and cut: the numbers are read in the same order."""
    module = case.built().eval()
    x = case.batch(5)
    steps, features = case.inputs
    torch.testing.assert_close(module(x.reshape(5, steps, 1, features)), module(x), rtol=0, atol=0)
    cut = replace(case, model=replace(case.model, steps=steps), inputs=(steps * features,)).built().eval()
    torch.testing.assert_close(cut(x.flatten(1)), module(x), rtol=0, atol=0)
    single = replace(case, inputs=(steps,)).built().eval()
    torch.testing.assert_close(single(x[..., 0]), single(x[..., :1]), rtol=0, atol=0)


@everyone
def test_parameters_are_counted_without_building(case: Case) -> None:
    before = torch.random.get_rng_state()
    counted = parameters(case.model, Shape(inputs=case.inputs, outputs=3))
    assert counted == sum(parameter.numel() for parameter in case.built().parameters())
    assert torch.equal(torch.random.get_rng_state(), before)
