"""Every optimizer: its steps, its decay, its groups, its state."""

from __future__ import annotations

import copy
import io
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.trainables.small import recipe, task
from trainables.fit import fit
from trainables.optimizers import LAMB, SGD, Adam, AdamW, Optimizer, RAdam, RMSprop
from trainables.recipe import Part

Parameters = Iterable[nn.Parameter]

MEMBERS: list[Any] = [
    Adam(lr=0.05, betas=(0.8, 0.95), weight_decay=0.1),
    AdamW(lr=0.05, betas=(0.8, 0.95), weight_decay=0.1),
    RAdam(lr=0.05, betas=(0.8, 0.95), weight_decay=0.1, decoupled=True),
    RAdam(lr=0.05, betas=(0.8, 0.95), weight_decay=0.1, decoupled=False),
    SGD(lr=0.05, weight_decay=0.1),
    SGD(lr=0.05, momentum=0.9, weight_decay=0.1),
    SGD(lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.1),
    RMSprop(lr=0.02, weight_decay=0.1),
    RMSprop(lr=0.02, alpha=0.9, momentum=0.5, centered=True, weight_decay=0.1),
    LAMB(lr=0.05, betas=(0.8, 0.95), weight_decay=0.1),
]
TORCH_S: list[Callable[[Parameters], torch.optim.Optimizer]] = [
    lambda p: torch.optim.Adam(p, 0.05, (0.8, 0.95), weight_decay=0.1, foreach=False),
    lambda p: torch.optim.AdamW(p, 0.05, (0.8, 0.95), weight_decay=0.1, foreach=False),
    lambda p: torch.optim.RAdam(p, 0.05, (0.8, 0.95), weight_decay=0.1, decoupled_weight_decay=True, foreach=False),
    lambda p: torch.optim.RAdam(p, 0.05, (0.8, 0.95), weight_decay=0.1, foreach=False),
    lambda p: torch.optim.SGD(p, 0.05, weight_decay=0.1, foreach=False),
    lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, weight_decay=0.1, foreach=False),
    lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, nesterov=True, weight_decay=0.1, foreach=False),
    lambda p: torch.optim.RMSprop(p, 0.02, weight_decay=0.1, foreach=False),
    lambda p: torch.optim.RMSprop(p, 0.02, 0.9, momentum=0.5, centered=True, weight_decay=0.1, foreach=False),
]
COUPLED = [member for member in MEMBERS if not isinstance(member, AdamW | LAMB) and not getattr(member, "decoupled", 0)]
DECOUPLED = [MEMBERS[1], MEMBERS[2]]

every = pytest.mark.parametrize("settings", MEMBERS, ids=repr)


def network(seed: int = 0) -> nn.Module:
    """Two matrices, two biases, and a norm's gain and bias."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Tanh(), nn.Linear(8, 3)).double()


def stepped(module: nn.Module, optimizer: torch.optim.Optimizer, number: int) -> None:
    x = torch.sin(torch.arange(24, dtype=torch.float64).reshape(6, 4) + number)
    optimizer.zero_grad()
    (module(x) - 1).square().mean().backward()
    optimizer.step()


def vectors(module: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in module.parameters() if parameter.ndim < 2]


@every
def test_it_goes_down_a_quadratic(settings: Any) -> None:
    """|w - 3|^2 / 2 with curvatures from 0.5 to 2, without decay: the optimum is near after 300 steps."""
    curvature = torch.linspace(0.5, 2, 6, dtype=torch.float64).reshape(2, 3)
    weight = nn.Parameter(torch.ones(2, 3, dtype=torch.float64))
    optimizer = replace(settings, weight_decay=0.0).build([weight])

    def loss() -> Tensor:
        return (curvature * (weight - 3).square()).sum() / 2

    start = loss().item()
    for step in range(300):
        for group in optimizer.param_groups:
            group["lr"] = settings.lr * (1 - step / 300)
        optimizer.zero_grad()
        loss().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert loss().item() < 1e-3 * start


@pytest.mark.parametrize(
    ("settings", "theirs"), list(zip(MEMBERS, TORCH_S, strict=False)), ids=[repr(m) for m in MEMBERS[:-1]]
)
@pytest.mark.parametrize("decay_vectors", [True, False])
def test_it_is_torch_s_own(settings: Any, theirs: Callable[[Any], torch.optim.Optimizer], decay_vectors: bool) -> None:
    a, b = network(), network()
    first = replace(settings, decay_vectors=decay_vectors).build(a.parameters())
    groups = [{"params": [p for p in b.parameters() if p.ndim >= 2]}, {"params": vectors(b), "weight_decay": 0.0}]
    second = theirs([*b.parameters()] if decay_vectors else groups)
    for number in range(20):
        stepped(a, first, number)
        stepped(b, second, number)
    # Fused kernels round otherwise than torch's loop, and divisions by square roots near zero enlarge that.
    for p, q in zip(a.parameters(), b.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=0, atol=1e-11)


def lamb(weights: list[Tensor], gradients: Iterator[list[Tensor]], settings: LAMB, steps: int) -> list[Tensor]:
    """Algorithm 2 of You et al. (2020), tensor by tensor; phi is the identity, and vectors take Adam's step."""
    (beta1, beta2), eps, decay = settings.betas, settings.eps, settings.weight_decay
    m, v = [torch.zeros_like(w) for w in weights], [torch.zeros_like(w) for w in weights]
    for t in range(1, steps + 1):
        for i, g in enumerate(next(gradients)):
            m[i] = beta1 * m[i] + (1 - beta1) * g
            v[i] = beta2 * v[i] + (1 - beta2) * g * g
            r = (m[i] / (1 - beta1**t)) / ((v[i] / (1 - beta2**t)).sqrt() + eps)
            ratio = 1.0
            if settings.decay_vectors or weights[i].ndim >= 2:
                r = r + decay * weights[i]
                long, short = weights[i].norm().item(), r.norm().item()
                ratio = long / short if long > 0 and short > 0 else 1.0
            weights[i] = weights[i] - settings.lr * ratio * r
    return weights


@pytest.mark.parametrize("decay_vectors", [True, False])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_lamb_is_its_paper_s(decay: float, decay_vectors: bool) -> None:
    settings = LAMB(lr=0.03, betas=(0.8, 0.95), weight_decay=decay, decay_vectors=decay_vectors)
    torch.manual_seed(1)
    parameters = [nn.Parameter(torch.randn(shape, dtype=torch.float64)) for shape in ((3, 4), (4,), (2, 3, 2))]
    parameters.append(nn.Parameter(torch.zeros(2, 2, dtype=torch.float64)))  # no length: ratio 1 at first
    drawn = [[torch.randn_like(p) for p in parameters] for _ in range(12)]
    drawn[3][0].zero_()
    expected = lamb([p.detach().clone() for p in parameters], iter(drawn), settings, 12)
    optimizer = settings.build(parameters)
    for gradients in drawn:
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        optimizer.step()
    for parameter, value in zip(parameters, expected, strict=True):
        torch.testing.assert_close(parameter.detach(), value, rtol=1e-12, atol=1e-12)


def test_lamb_steps_are_as_long_as_lr_times_the_weights() -> None:
    """Whatever the gradient's size: this is what lets the learning rate grow with the batch."""
    for size in (1e-3, 1.0, 1e3):
        weight = nn.Parameter(torch.full((5, 5), 2.0, dtype=torch.float64))
        before = weight.detach().clone()
        weight.grad = size * torch.arange(1, 26, dtype=torch.float64).reshape(5, 5)
        LAMB(lr=0.01).build([weight]).step()
        assert (weight - before).norm().item() == pytest.approx(0.01 * before.norm().item(), rel=1e-12)


def test_lamb_takes_parameters_of_several_types_and_a_closure() -> None:
    parameters = [nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2, 2, dtype=torch.float64))]
    optimizer = LAMB(lr=0.1).build(parameters)

    def loss() -> float:
        value = sum(parameter.double().square().sum() for parameter in parameters)
        assert isinstance(value, Tensor)
        value.backward()  # type: ignore[no-untyped-call]
        return value.item()

    assert optimizer.step(loss) == 8.0
    assert [parameter.dtype for parameter in parameters] == [torch.float32, torch.float64]
    for parameter in parameters:
        assert parameter.detach().flatten().tolist() == pytest.approx([0.9] * 4)


@every
@pytest.mark.parametrize("after", [0, 1, 7])
def test_a_reloaded_state_gives_the_same_next_steps_bit_for_bit(settings: Any, after: int) -> None:
    a = network()
    first = settings.build(a.parameters())
    for number in range(after):
        stepped(a, first, number)
    file = io.BytesIO()
    torch.save({"module": a.state_dict(), "optimizer": first.state_dict()}, file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    b = network(seed=1)
    b.load_state_dict(state["module"])
    second = settings.build(b.parameters())
    second.load_state_dict(state["optimizer"])
    for number in range(after, after + 3):
        stepped(a, first, number)
        stepped(b, second, number)
    for p, q in zip(a.parameters(), b.parameters(), strict=True):
        assert torch.equal(p, q)
    groups = [[(key, value) for key, value in group.items() if key != "params"] for group in first.param_groups]
    assert groups == [
        [(key, value) for key, value in group.items() if key != "params"] for group in second.param_groups
    ]


def moved(
    settings: Any, decay: float, *, shrunk: float = 0.0, pulled: float = 0.0, steps: int = 8
) -> tuple[list[Tensor], list[Tensor]]:
    """Weights and first moments after some steps; ``shrunk`` and ``pulled`` do by hand what either decay means."""
    parameters = [nn.Parameter(torch.linspace(-1, 2, 6, dtype=torch.float64).reshape(2, 3))]
    optimizer = replace(settings, weight_decay=decay).build(parameters)
    for number in range(steps):
        weight = parameters[0]
        weight.grad = torch.cos(torch.arange(6, dtype=torch.float64) + number).reshape(2, 3) + pulled * weight.detach()
        with torch.no_grad():
            weight.mul_(1 - settings.lr * shrunk)
        optimizer.step()
    moments = [state["exp_avg"] for state in optimizer.state.values() if "exp_avg" in state]
    return [parameter.detach() for parameter in parameters], moments


@pytest.mark.parametrize("settings", COUPLED, ids=repr)
def test_coupled_decay_is_a_pull_in_the_gradient(settings: Any) -> None:
    torch.testing.assert_close(moved(settings, 0.3), moved(settings, 0.0, pulled=0.3), rtol=0, atol=1e-10)
    assert not torch.allclose(moved(settings, 0.3)[0][0], moved(settings, 0.0)[0][0], atol=1e-4)


@pytest.mark.parametrize("settings", DECOUPLED, ids=repr)
def test_decoupled_decay_shrinks_the_weights_and_leaves_the_moments_alone(settings: Any) -> None:
    torch.testing.assert_close(moved(settings, 0.3), moved(settings, 0.0, shrunk=0.3), rtol=0, atol=1e-10)
    assert not torch.allclose(moved(settings, 0.3)[0][0], moved(settings, 0.0)[0][0], atol=1e-4)
    torch.testing.assert_close(moved(settings, 0.3)[1], moved(settings, 0.0)[1], rtol=0, atol=0)


def test_the_two_decays_differ_where_they_should() -> None:
    """Adam and AdamW, and RAdam's two, part with decay and meet without; LAMB's moments do not know its decay."""
    for coupled, decoupled in [(MEMBERS[0], MEMBERS[1]), (MEMBERS[3], MEMBERS[2])]:
        assert not torch.allclose(moved(coupled, 0.3)[0][0], moved(decoupled, 0.3)[0][0], atol=1e-3)
        torch.testing.assert_close(moved(coupled, 0.0), moved(decoupled, 0.0), rtol=0, atol=1e-12)
    torch.testing.assert_close(moved(MEMBERS[-1], 0.3)[1], moved(MEMBERS[-1], 0.0)[1], rtol=0, atol=0)


@every
def test_vectors_are_decayed_when_asked_only(settings: Any) -> None:
    """With gradients of zero, decay alone moves a weight."""
    for decay_vectors in (False, True):
        module = network()
        for parameter in module.parameters():
            parameter.data.fill_(0.5)
        before = copy.deepcopy(module)
        optimizer = replace(settings, decay_vectors=decay_vectors).build(module.parameters())
        for _ in range(2):
            for parameter in module.parameters():
                parameter.grad = torch.zeros_like(parameter)
            optimizer.step()
        for now, then in zip(module.parameters(), before.parameters(), strict=True):
            assert torch.equal(now, then) != (now.ndim >= 2 or decay_vectors)


@every
def test_groups_hold_each_parameter_once(settings: Any) -> None:
    module = network()
    expected = {id(parameter) for parameter in module.parameters()}
    for changes in ({}, {"decay_vectors": True}, {"weight_decay": 0.0}):
        optimizer = replace(settings, **changes).build(module.parameters())
        held = [id(parameter) for group in optimizer.param_groups for parameter in group["params"]]
        assert len(held) == len(expected)
        assert set(held) == expected
        # LAMB tells vectors apart without decay too: their steps are not scaled.
        told_apart = not changes or (isinstance(settings, LAMB) and "weight_decay" in changes)
        assert len(optimizer.param_groups) == (2 if told_apart else 1)
    assert len(settings.build(vectors(module)).param_groups) == 1
    assert len(settings.build([p for p in module.parameters() if p.ndim >= 2]).param_groups) == 1


@every
def test_the_groups_learning_rate_is_the_one_used(settings: Any) -> None:
    def distance(lr: float) -> list[Tensor]:
        module = network()
        before = copy.deepcopy(module)
        optimizer = settings.build(module.parameters())
        for group in optimizer.param_groups:
            assert group["lr"] == settings.lr
            group["lr"] = lr
        stepped(module, optimizer, 0)
        return [p.detach() - q.detach() for p, q in zip(module.parameters(), before.parameters(), strict=True)]

    assert all(torch.equal(moved, torch.zeros_like(moved)) for moved in distance(0.0))
    for once, twice in zip(distance(1e-3), distance(2e-3), strict=True):
        torch.testing.assert_close(2 * once, twice, rtol=1e-9, atol=1e-12)
        assert once.abs().max() > 0


@every
def test_a_parameter_without_gradient_stays(settings: Any) -> None:
    used, unused = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2, 2))
    optimizer = settings.build([used, unused])
    used.grad = torch.ones(2, 2)
    optimizer.step()
    assert torch.equal(unused, torch.ones(2, 2))
    assert not torch.equal(used, torch.ones(2, 2))


@pytest.mark.parametrize("settings", [Adam(), AdamW(weight_decay=0.1), SGD(momentum=0.9)])
def test_the_fused_kernel_is_used_where_there_is_one(settings: Optimizer) -> None:
    flags = [group["fused"] for group in settings.build(network().parameters()).param_groups]
    assert all(flags)
    for other in (torch.zeros(2, 2, device="meta"), torch.zeros(2, 2, dtype=torch.complex64)):
        for group in settings.build([nn.Parameter(other)]).param_groups:
            assert (group["fused"], group["foreach"]) == (False, True)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@every
def test_a_gpu_steps_as_a_cpu_does(settings: Any) -> None:
    a, b = network(), network().cuda()
    first, second = settings.build(a.parameters()), settings.build(b.parameters())
    for number in range(10):
        stepped(a, first, number)
        for p, q in zip(a.parameters(), b.parameters(), strict=True):
            assert p.grad is not None
            q.grad = p.grad.cuda()
        second.step()
    for p, q in zip(a.parameters(), b.parameters(), strict=True):
        torch.testing.assert_close(p, q.cpu(), rtol=0, atol=1e-11)


@every
def test_fit_trains_and_resumes_with_it(settings: Any) -> None:
    """Ends below the loss it started from, by much; and a run resumed in the middle is the undisturbed one, bit for bit."""
    asked = recipe(optimizer=settings, epochs=10)
    epochs = list(fit(task, asked))
    assert epochs[-1].metrics["train/loss"] < 0.85 * math.log(3)
    whole = epochs[-1].run
    begun = fit(task, asked)
    for _ in range(3):
        epoch = next(begun)
    *_, last = fit(task, asked, state=copy.deepcopy(epoch.run.state()))
    for p, q in zip(whole.parameters, last.run.parameters, strict=True):
        assert torch.equal(p, q)


@pytest.mark.parametrize(
    ("part", "said"),
    [
        *(
            (kind(lr=lr), f"{kind.__name__} lr {lr}")
            for kind in (Adam, AdamW, SGD, RAdam, RMSprop, LAMB)
            for lr in (0, math.inf)
        ),
        *((kind(weight_decay=-1), "weight_decay -1") for kind in (Adam, AdamW, SGD, RAdam, RMSprop, LAMB)),
        *((kind(betas=(0.9, 1.0)), "betas (0.9, 1.0)") for kind in (Adam, AdamW, RAdam, LAMB)),
        *(
            (kind(betas=(0.9,)), "betas (0.9,)")  # type: ignore[arg-type]
            for kind in (Adam, AdamW, RAdam, LAMB)
        ),
        *((kind(eps=0), "eps 0") for kind in (Adam, AdamW, RAdam, RMSprop, LAMB)),
        (AdamW(lr=math.nan), "lr nan"),
        (SGD(weight_decay=math.nan), "weight_decay nan"),
        (SGD(momentum=1.5), "momentum 1.5"),
        (SGD(nesterov=True), "nesterov"),
        (RMSprop(alpha=1.0), "alpha 1.0"),
        (RMSprop(momentum=1.0), "momentum 1.0"),
    ],
)
def test_settings_that_make_no_sense_are_said(part: Part, said: str) -> None:
    conflicts = list(part.conflicts())
    assert len(conflicts) == 1
    assert said in conflicts[0]


@every
def test_the_members_themselves_have_no_conflict(settings: Any) -> None:
    assert list(settings.conflicts()) == []
    assert list(type(settings)().conflicts()) == []


@pytest.mark.parametrize("optimizer", [SGD(lr=0.1, momentum=0.9), AdamW(lr=0.01), Adam(lr=0.01)], ids=str)
def test_parameters_in_half_precision_follow_those_in_single(optimizer: Optimizer) -> None:
    """torch's fused SGD does not, on a CPU: after 30 steps its loss is more than twice as high."""
    losses = []
    for dtype in (torch.float32, torch.bfloat16):
        torch.manual_seed(0)
        weight = nn.Parameter(torch.randn(8, 2).to(dtype))
        x, y = torch.randn(16, 2).to(dtype), torch.randint(0, 8, (16,))
        built = optimizer.build([weight])
        for _ in range(30):
            built.zero_grad()
            loss = nn.functional.cross_entropy(x @ weight.T, y)
            loss.backward()
            built.step()
        losses.append(loss.item())
    assert losses[1] == pytest.approx(losses[0], rel=0.05)
