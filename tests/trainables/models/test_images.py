"""The convolutional network."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from trainables.models import CNN
from trainables.task import Shape


def built(model: CNN, *inputs: int) -> nn.Module:
    torch.manual_seed(0)
    return model.adapted(Shape(inputs=inputs, outputs=3)).build().double().eval()


def test_flat_grey_and_full_images_are_read_alike() -> None:
    x = torch.randn(4, 1, 8, 8, dtype=torch.float64)
    module = built(CNN(channels=(4,)), 64)
    for same in (x.squeeze(1), x.flatten(1)):
        assert torch.equal(module(same), module(x))
    oblong = built(CNN(channels=(4,), image=(2, 4, 8)), 64)
    assert torch.equal(oblong(x.flatten(1)), oblong(x.reshape(4, 2, 4, 8)))


@pytest.mark.parametrize(("side", "sides"), [(8, [4, 2, 1, 1]), (6, [3, 1, 1, 1]), (1, [1, 1, 1, 1])])
def test_blocks_halve_the_image_as_long_as_they_can(side: int, sides: list[int]) -> None:
    module = built(CNN(channels=(2, 3, 4, 5)), 1, side, side)
    seen: list[int] = []
    for block in module.get_submodule("blocks").children():
        block.register_forward_hook(lambda _module, _given, out: seen.append(out.shape[-1]))
    module(torch.zeros(2, 1, side, side, dtype=torch.float64))
    assert seen == sides


def test_a_block_is_torch_s_convolution_norm_and_pooling() -> None:
    module = built(CNN(channels=(4,), norm="group", groups=2, activation="tanh"), 2, 6, 4)
    weight = module.get_parameter("blocks.0.0.weight")
    x = torch.randn(3, 2, 6, 4, dtype=torch.float64)
    hidden = nn.functional.group_norm(nn.functional.conv2d(x, weight, padding=1), 2)
    read = nn.functional.max_pool2d(hidden.tanh(), 2).mean((2, 3))
    expected = nn.functional.linear(read, module.get_parameter("head.weight"), module.get_parameter("head.bias"))
    torch.testing.assert_close(module(x), expected, rtol=0, atol=1e-12)


def test_norms_are_the_ones_asked_for() -> None:
    def kinds(model: CNN) -> set[type[nn.Module]]:
        return {type(part) for part in built(model, 64).modules()} & {nn.BatchNorm2d, nn.GroupNorm}

    assert kinds(CNN()) == {nn.BatchNorm2d}
    assert kinds(CNN(norm="group")) == {nn.GroupNorm}
    assert kinds(CNN(norm="none")) == set()
