"""What is recorded does the same again, and nothing else."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import vmap
from torch.nn import functional
from torch.testing import assert_close

from trainables.fused.interpreted import MOST, longest
from trainables.fused.kernels import SHORT, VECTOR, turned
from trainables.fused.recorded import Recording
from trainables.fused.recorder import traced
from trainables.fused.steady import steady
from trainables.losses import CrossEntropy

MEMBERS, BATCH = 3, 8


def recorded(call: Callable[..., Any], arguments: Sequence[Tensor]) -> Callable[..., Any]:
    played = Recording(call, arguments, len(arguments)).player(arguments)
    assert played is not None
    return played


def step(loss: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., tuple[Tensor, Tensor]]:
    """Loss and gradient of a layer with a norm: some operations of their gradients take lists of booleans."""
    ones, zeros = [1.0] * 6, [0.0] * 6

    def call(flat: Tensor, x: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        weight = flat.detach().requires_grad_()
        gain, shift = torch.tensor(ones, dtype=x.dtype), torch.tensor(zeros, dtype=x.dtype)
        found = loss(functional.layer_norm(x, (6,), gain, shift) @ weight, target)
        (gradient,) = torch.autograd.grad(found, weight)
        return found.detach(), gradient

    return call


def drawn(classes: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    weight, x = torch.randn(MEMBERS, 6, classes, dtype=dtype), torch.randn(MEMBERS, BATCH, 6, dtype=dtype)
    return weight, x, torch.randint(0, classes, (MEMBERS, BATCH))


def entropy(output: Tensor, target: Tensor) -> Tensor:
    return functional.cross_entropy(output.flatten(0, 1), target.flatten())


def focal(output: Tensor, target: Tensor) -> Tensor:
    chances = output.softmax(-1).gather(-1, target.unsqueeze(-1))
    return -((1 - chances) ** 2 * chances.log()).mean()


@pytest.mark.parametrize("loss", [entropy, focal])
@pytest.mark.parametrize("classes", [2, 10, SHORT, 40])
def test_a_recording_does_the_same_with_other_values(loss: Callable[[Tensor, Tensor], Tensor], classes: int) -> None:
    call = step(loss)
    played = recorded(call, drawn(classes))
    for _ in range(4):  # the interpreter looks at the first calls
        values = drawn(classes)
        with torch.no_grad():
            found = played(*values)
        assert_close(found, call(*values), rtol=1e-12, atol=1e-13)


def test_a_recording_runs_without_python() -> None:
    played = recorded(step(entropy), drawn(10))
    assert type(played).__name__ == "ScriptFunction"


def test_neither_arguments_nor_generators_change() -> None:
    def call(x: Tensor, kept: Tensor) -> Tensor:
        kept.add_(1.0)
        return functional.dropout(x, 0.5) - functional.dropout(x, 0.5) + kept

    x, kept, beside = torch.ones(100), torch.zeros(100), torch.zeros(100)
    before = torch.get_rng_state()
    played = recorded(call, (x, kept))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(kept, torch.zeros(100))
    for seed in range(4):  # what is drawn twice must stay so when the interpreter has looked at it
        torch.manual_seed(seed)
        found = played(x, kept)
        torch.manual_seed(seed)
        assert torch.equal(call(x, beside), found)
        assert torch.equal(kept, beside)


def listed(x: Tensor) -> Tensor:
    """Writes into the tensors of a list, which the interpreter would leave out."""
    both = [x + 1, x + 2]
    torch._foreach_add_(both, 1.0)
    return both[0] * both[1]


def truth(x: Tensor) -> Tensor:
    return (x > 0).masked_fill(x > 1, value=False)


def long(x: Tensor) -> Tensor:
    for _ in range(MOST):
        x = x + 1
    return x


def unmoved(x: Tensor) -> Tensor:
    """The interpreter would hand out one tensor each time, whatever was written into it."""
    return torch.zeros(x.shape)


@pytest.mark.parametrize("call", [listed, truth, long, unmoved])
def test_what_the_interpreter_cannot_take_is_played_as_it_is(call: Callable[[Tensor], Tensor]) -> None:
    x = torch.randn(10)
    played = recorded(call, (x,))
    assert type(played).__name__ != "ScriptFunction"
    assert_close(played(x), call(x), rtol=0.0, atol=0.0)


def test_a_shape_that_is_changed_in_place_is_not_the_given_tensor_s() -> None:
    x = torch.ones(4, 4)
    played = recorded(lambda x: x.detach().unsqueeze_(0).sum(0), (x,))
    assert torch.equal(played(x), x)
    assert x.shape == (4, 4)


def test_recordings_are_as_long_as_there_is_a_stack_for() -> None:
    """In a process of its own: where it overflows the process ends."""
    lines = [
        "import threading, torch",
        "from trainables.fused.interpreted import longest",
        "from trainables.fused.recorded import Recording",
        "threading.stack_size(1 << 20)",
        "def call(x):",
        "    for _ in range(longest() - 2): x = x + 1",
        "    return x",
        "def play():",
        "    given = (torch.zeros(3),)",
        "    played = Recording(call, given, 1).player(given)",
        "    for _ in range(4): found = played(*given)",
        "    print(type(played).__name__, longest(), float(found[0]))",
        "thread = threading.Thread(target=play)",
        "thread.start()",
        "thread.join()",
    ]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["ScriptFunction", "512", "510.0"]
    assert 0 < longest() <= MOST


def test_a_softmax_of_a_softmax() -> None:
    """A network that ends in one, with a loss that begins with another."""

    def call(weight: Tensor, x: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        leaf = weight.detach().requires_grad_()
        picked = (x @ leaf).softmax(-1).log_softmax(-1).gather(-1, target.unsqueeze(-1))
        (gradient,) = torch.autograd.grad(picked.sum(), leaf)
        return picked.detach(), gradient

    played, values = recorded(call, drawn(10)), drawn(10)
    assert type(played).__name__ == "ScriptFunction"
    assert_close(played(*values), call(*values), rtol=1e-12, atol=1e-13)


def test_deterministic_algorithms_are_the_same_to_the_last_bit() -> None:
    def call(weight: Tensor, x: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        leaf = weight.detach().requires_grad_()
        found = entropy(functional.layer_norm(x, (6,)) @ leaf, target)
        (gradient,) = torch.autograd.grad(found, leaf)
        return found.detach(), gradient

    torch.use_deterministic_algorithms(True)
    try:
        played = recorded(call, drawn(10, torch.float32))
    finally:
        torch.use_deterministic_algorithms(False)
    for _ in range(4):
        values = drawn(10, torch.float32)
        assert all(torch.equal(one, other) for one, other in zip(played(*values), call(*values), strict=True))


@pytest.mark.parametrize(("classes", "dim"), [(2, 1), (SHORT - 1, 1), (SHORT, 2), (40, 2)])
def test_softmaxes_over_few_classes_go_through_another_dimension(classes: int, dim: int) -> None:
    def both(output: Tensor, target: Tensor) -> Tensor:
        picked = output.log_softmax(-1).gather(-1, target.unsqueeze(-1))
        return focal(output, target) - picked.mean()

    module, values = traced(step(both), drawn(classes)), drawn(classes)
    turned(module.graph)
    module.recompile()
    found = [
        node.args[2 if "backward" in str(node.target) else 1]
        for node in module.graph.nodes
        if "softmax" in str(node.target)
    ]
    assert [number % 3 for number in found] == [dim] * 4
    assert_close(module(*values), step(both)(*values), rtol=1e-12, atol=1e-13)


def picked(output: Tensor, target: Tensor) -> Tensor:
    return output.log_softmax(-1).gather(-1, target.unsqueeze(-1)).squeeze(-1)


def hit(output: Tensor, target: Tensor) -> Tensor:
    return picked(output, target) * (output.argmax(-1) == target)


def smooth(output: Tensor, _: Tensor) -> Tensor:
    chances = output.log_softmax(-1)
    return chances.sum(-1) + chances.flatten(1).view(len(chances), -1, chances.shape[-1])[..., 0] + output[..., 0]


def twice(output: Tensor, target: Tensor) -> Tensor:
    return picked(output.softmax(-1), target) + (output.softmax(1) * output).sum(-1)


def nested(output: Tensor, target: Tensor) -> Tensor:
    wide = output.unsqueeze(1) * torch.arange(1.0, 3.0, dtype=output.dtype).view(1, 2, 1, 1)
    return picked(wide, target.unsqueeze(1).expand(-1, 2, -1)).sum(1)


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("batch", [5, 32])
@pytest.mark.parametrize("loss", [picked, hit, smooth, twice, nested])
def test_what_makes_few_classes_is_computed_across(
    loss: Callable[[Tensor, Tensor], Tensor], batch: int, biased: bool
) -> None:
    """Whoever uses the classes, in whatever order of memory: the loss alone, a metric beside it, another softmax."""

    def call(weight: Tensor, bias: Tensor, x: Tensor, target: Tensor) -> tuple[Tensor, ...]:
        leaves = [weight.detach().requires_grad_(), bias.detach().requires_grad_(), x.detach().requires_grad_()]
        product = torch.bmm(leaves[2], leaves[0].transpose(1, 2))
        output = torch.baddbmm(leaves[1], leaves[2], leaves[0].transpose(1, 2)) if biased else product
        found = loss(output, target)
        gradients = torch.autograd.grad(found.sum(), leaves if biased else [leaves[0], leaves[2]])
        return found.detach(), output.detach().argmax(-1), *gradients

    def values() -> tuple[Tensor, ...]:
        weight, bias, x = torch.randn(MEMBERS, 10, 6), torch.randn(MEMBERS, 1, 10), torch.randn(MEMBERS, batch, 6)
        return weight.double(), bias.double(), x.double(), torch.randint(0, 10, (MEMBERS, batch))

    played = recorded(call, values())
    assert type(played).__name__ == "ScriptFunction"
    for _ in range(4):
        drawn_now = values()
        for one, other in zip(played(*drawn_now), call(*drawn_now), strict=True):
            assert one.stride() == other.stride()
            assert_close(one, other, rtol=1e-12, atol=1e-12)
    module = traced(call, values())
    turned(module.graph)
    products = [
        node
        for node in module.graph.nodes
        if node.target in (torch.ops.aten.bmm.default, torch.ops.aten.baddbmm.default)
    ]
    assert any("val" not in node.meta for node in products) == (batch >= SHORT and loss is not nested)


def cut_chances(output: Tensor) -> Tensor:
    chances = output.softmax(-1)
    chances[..., 0] = 0.0
    return chances.sum(-1)


def cut_output(output: Tensor) -> Tensor:
    output[..., 0].zero_()
    return output.log_softmax(-1)[..., 1]


@pytest.mark.parametrize("cut", [cut_chances, cut_output])
def test_what_is_written_into_stays_where_it_is(cut: Callable[[Tensor], Tensor]) -> None:
    def call(x: Tensor, weight: Tensor) -> Tensor:
        return cut(torch.bmm(x, weight))

    x, weight = torch.randn(MEMBERS, 32, 6).double(), torch.randn(MEMBERS, 6, 10).double()
    module = traced(call, (x, weight))
    turned(module.graph)
    module.recompile()
    assert_close(module(x, weight), call(x, weight), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("channels", [3, VECTOR, 20])
@pytest.mark.parametrize(
    "window",
    [
        {"kernel_size": 2},
        {"kernel_size": 3, "stride": 2, "padding": 1},
        {"kernel_size": 2, "dilation": 2, "ceil_mode": True},
    ],
    ids=str,
)
def test_the_largest_of_windows_is_sought_for_all_channels_at_once(channels: int, window: dict[str, Any]) -> None:
    """The same of several that are as large, and not a number where one is none."""

    def call(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        leaf = x.detach().requires_grad_()
        values, places = functional.max_pool2d(leaf, **window, return_indices=True)
        (gradient,) = torch.autograd.grad((values * values).nan_to_num().sum(), leaf)
        return values.detach(), places, gradient

    x = torch.randint(-2, 2, (6, channels, 7, 9), dtype=torch.float32)
    x[0, 0, 3, 3] = float("nan")
    module = traced(call, [x])
    turned(module.graph)
    pools = [node for node in module.graph.nodes if node.target is torch.ops.aten.max_pool2d_with_indices.default]
    layouts = [node.args[0].kwargs.get("memory_format") for node in pools]
    assert layouts == [torch.channels_last if channels >= VECTOR else None]
    played = recorded(call, [x])
    expected = call(x)
    with torch.no_grad():
        for found, wanted in zip(played(x), expected, strict=True):
            assert_close(found, wanted, rtol=0.0, atol=0.0, equal_nan=True)
            assert found.stride() == wanted.stride()


def normed(x: Tensor, mean: Tensor, spread: Tensor, *, training: bool = True) -> Tensor:
    """A batch norm of each member's own, [K, B, 5], which writes into its statistics, [K, 5]."""

    def one(x: Tensor, mean: Tensor, spread: Tensor) -> Tensor:
        return functional.batch_norm(x, mean, spread, training=training)

    return vmap(one)(x, mean, spread)


def once(x: Tensor, mean: Tensor, spread: Tensor) -> Tensor:
    return normed(x, mean, spread)


def twice_the_same(x: Tensor, mean: Tensor, spread: Tensor) -> Tensor:
    """To the interpreter it would be one."""
    return normed(x, mean, spread) + normed(x, mean, spread)


def one_after_the_other(x: Tensor, mean: Tensor, spread: Tensor) -> Tensor:
    return normed(normed(x, mean, spread) * 3.0 + 1.0, mean, spread)


def given_up(x: Tensor, mean: Tensor, spread: Tensor) -> Tensor:
    """Nothing goes by what it gives, but its statistics are taken."""
    normed(x, mean, spread)
    return x * 2.0


def read_afterwards(x: Tensor, mean: Tensor, spread: Tensor) -> Tensor:
    return normed(x, mean, spread) * 0.5 + normed(x + 1.0, mean, spread, training=False) + mean.unsqueeze(1)


@pytest.mark.parametrize(
    ("call", "interpreted"),
    [
        (once, True),
        (twice_the_same, False),
        (one_after_the_other, False),
        (given_up, False),
        (read_afterwards, True),
    ],
)
@pytest.mark.parametrize("members", [2, 3, 5])
def test_statistics_are_written_as_often_as_they_are_alone(
    call: Callable[[Tensor, Tensor, Tensor], Tensor], interpreted: bool, members: int
) -> None:
    """Torch does not say of a batch norm that it writes. Of a pack of five, for smaller ones too."""

    def drawn(members: int) -> tuple[Tensor, Tensor, Tensor]:
        x = torch.randn(members, BATCH, 5, dtype=torch.float64)
        return x, torch.randn(members, 5, dtype=torch.float64), torch.rand(members, 5, dtype=torch.float64) + 0.5

    recording = Recording(call, drawn(5), 3)
    for _ in range(4):  # the interpreter looks at the first calls
        mine = drawn(members)
        its, before = tuple(tensor.clone() for tensor in mine), mine[1].clone()
        played = recording.player(mine)
        assert played is not None
        assert (type(played).__name__ == "ScriptFunction") == interpreted
        with torch.no_grad():
            assert_close(played(*mine), call(*its), rtol=1e-12, atol=1e-13)
        assert_close(mine, its, rtol=1e-12, atol=1e-13)
        assert not torch.equal(mine[1], before)


@pytest.mark.parametrize(
    ("module", "even"),
    [
        (nn.BatchNorm1d(4), True),
        (nn.BatchNorm2d(4, track_running_stats=False), True),
        (nn.BatchNorm3d(4, affine=False), True),
        (nn.BatchNorm1d(4, momentum=None), False),
        (nn.InstanceNorm1d(4, track_running_stats=True), False),
    ],
)
def test_steps_with_statistics_are_recorded_where_all_are_taken_alike(module: nn.Module, even: bool) -> None:
    assert steady(nn.Sequential(nn.Linear(4, 4), module), CrossEntropy()) == even
