"""Every shipped architecture as ONNX, or refused in words."""

from __future__ import annotations

import sys

import onnx
import pytest
import torch
from torch import Tensor, nn

from tests.trainables.models.members import CASES, Case
from trainables.export import ExportError, Parity, Session, Tolerance, exported, parity
from trainables.models import GRU, LSTM, TCN, MultiPlasticity, StateSpace, Transformer

SHORT = (3, 2)
"""Steps and features: recurrences are traced step by step."""

EACH = {
    **{name: CASES[name] for name in ("mlp, norm", "residual mlp", "cnn")},
    "lstm": Case(model=LSTM(width=5, depth=2), inputs=SHORT, blocks=2),
    "gru": Case(model=GRU(width=5, pool="mean"), inputs=SHORT, blocks=1),
    "tcn": Case(model=TCN(width=5, depth=1), inputs=SHORT, blocks=1),
    "transformer": Case(
        model=Transformer(width=8, heads=2, depth=1, causal=True, positions="sinusoidal"), inputs=SHORT, blocks=1
    ),
    "state space": Case(model=StateSpace(width=4, states=2, depth=1), inputs=SHORT, blocks=1),
    "plasticity": Case(model=MultiPlasticity(width=4, time_constants=(2.0, 5.0)), inputs=SHORT, blocks=1),
}
"""One of each architecture."""

REFUSED = {"state space": "ONNX has no operator for aten.expm1 of complex numbers"}
"""Those that ONNX cannot express, with a word of the reason."""


class Counting(nn.Module):
    """Reads the number of its samples by ``len``, which a tracer takes for a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear(x.reshape(len(x), 4))
        return out


class Fixed(nn.Module):
    """Takes batches of three alone."""

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.arange(3.0).unsqueeze(1)


class Two(nn.Module):
    """Puts out two tensors."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x + 1


class Branching(nn.Module):
    """What it computes depends on the values."""

    def forward(self, x: Tensor) -> Tensor:
        return x + 1 if float(x.sum()) > 0 else x


class Adding(nn.Module):
    """Takes two inputs, one of them whole numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(5, 4)

    def forward(self, x: Tensor, which: Tensor) -> Tensor:
        out: Tensor = x + self.table(which)
        return out


def compared(module: nn.Module, *inputs: Tensor) -> Parity:
    session = Session(exported(module, inputs))
    with torch.no_grad():
        expected = module.eval()(*inputs)
    return parity(expected, session(*inputs), Tolerance(absolute=1e-5, relative=1e-4))


@pytest.mark.parametrize("name", EACH)
def test_every_architecture_says_the_same_whatever_the_batch_or_is_refused_in_words(name: str) -> None:
    case = EACH[name]
    module = case.built(dtype=torch.float32).train()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    if name in REFUSED:
        with pytest.raises(ExportError, match=REFUSED[name]) as raised:
            exported(module, [case.batch(5, torch.float32)])
        assert str(raised.value).startswith(f"{type(module).__name__} cannot be exported: ")
        assert "\n" not in str(raised.value)
        return
    session = Session(exported(module, [case.batch(5, torch.float32)]))
    assert module.training
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
    module.eval()
    for size in (1, 2, 7):
        x = case.batch(size, torch.float32)
        with torch.no_grad():
            found = parity(module(x), session(x), Tolerance(absolute=1e-5, relative=1e-4))
        assert found.passed, found.says()


def test_nothing_of_this_machine_is_in_the_graph() -> None:
    module = CASES["mlp"].built(dtype=torch.float32)
    model = onnx.load_from_string(exported(module, [CASES["mlp"].batch(2, torch.float32)]))
    assert "/" + __file__.strip("/").partition("/")[0] + "/" not in str(model)
    assert ".py" not in str(model)
    assert [one.name for one in model.graph.input] == ["input"]
    assert [one.name for one in model.graph.output] == ["output"]
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert {name for name, _ in module.named_parameters()} <= {one.name for one in model.graph.initializer}


def test_a_module_in_double_precision_is_exported_in_single() -> None:
    case = CASES["mlp"]
    module, x = case.built(), case.batch(4)
    assert parity(module.eval()(x).detach(), Session(exported(module, [x]))(x), Tolerance()).passed
    assert next(module.parameters()).dtype == torch.float64


def test_several_inputs_and_whole_numbers() -> None:
    assert compared(Adding(), torch.randn(6, 4), torch.tensor([0, 1, 2, 3, 4, 4])).passed


def test_a_size_read_by_len_stays_free() -> None:
    session = Session(exported(Counting(), [torch.randn(2, 2, 2)]))
    assert session(torch.randn(1, 2, 2)).shape == (1, 3)
    assert session(torch.randn(9, 2, 2)).shape == (9, 3)


@pytest.mark.parametrize(
    ("module", "word"),
    [(Fixed(), "batches of one size alone"), (Two(), "2 tensors"), (Branching(), "depends on the values")],
    ids=["fixed", "two", "branching"],
)
def test_what_cannot_be_exported_is_refused_in_words(module: nn.Module, word: str) -> None:
    with pytest.raises(ExportError, match=word) as raised:
        exported(module, [torch.randn(4, 2)])
    assert str(raised.value).startswith(type(module).__name__)
    assert len(str(raised.value)) < 500
    assert "\n" not in str(raised.value)


def test_the_extra_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ExportError, match=r"needs onnxscript; install the extra: pip install .*\[export\]"):
        exported(nn.Linear(2, 2), [torch.randn(2, 2)])


def test_what_the_runtime_does_not_take_is_said() -> None:
    with pytest.raises(ExportError, match="ONNX Runtime does not take the model"):
        Session(b"nothing")
