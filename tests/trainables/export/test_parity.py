"""An exported model that is not the module is not kept."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from trainables.export import ExportError, Tolerance, exported, parity, write


class Traced(nn.Module):
    """Computes something else for samples that begin above ``limit`` once it is exported: a planted fault of an exporter."""

    def __init__(self, limit: float) -> None:
        super().__init__()
        self.limit = limit
        self.linear = nn.Linear(2, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear(x)
        if torch.compiler.is_exporting():
            out = torch.where(x[:, :1] > self.limit, out + 0.5, out)
        return out


def samples() -> tuple[Tensor, Tensor]:
    """300 of them, the 271st alone beginning above 5."""
    x = torch.rand(300, 2, generator=torch.Generator().manual_seed(0))
    x[270, 0] = 9.0
    return x, torch.zeros(300, dtype=torch.long)


def test_a_model_that_is_the_module_is_written(tmp_path: Path) -> None:
    module, path = Traced(99.0), tmp_path / "model.onnx"
    model = exported(module, samples()[:-1])
    found = write(path, model, module, samples())
    assert path.read_bytes() == model
    assert found.samples == 300
    assert found.same == 300
    assert 0 <= found.absolute < 1e-5
    assert found.says().endswith("over 300 samples, the same class for 300 of 300 samples")


def test_one_that_is_not_is_refused_by_the_sample_and_an_older_file_goes(tmp_path: Path) -> None:
    module, path = Traced(5.0), tmp_path / "model.onnx"
    path.write_bytes(b"older")
    with pytest.raises(ExportError, match="on sample 270 it is off by") as raised:
        write(path, exported(module, samples()[:-1]), module, samples())
    assert "largest difference from torch 5.0e-01" in str(raised.value)
    assert [*tmp_path.iterdir()] == []


def test_the_largest_differences_and_the_worst_sample() -> None:
    reference = torch.tensor([[1.0, 2.0], [100.0, -50.0], [0.0, 0.0]])
    other = torch.tensor([[1.0, 2.002], [100.01, -50.0], [0.0, 0.0]])
    found = parity(reference, other, Tolerance(absolute=1e-4, relative=1e-3))
    assert found.absolute == pytest.approx(0.01, rel=1e-3)
    assert found.relative == pytest.approx(1e-3, rel=1e-3)
    assert (found.worst, found.same) == (0, 3)
    assert found.excess == pytest.approx(0.002 / (1e-4 + 2e-3), rel=1e-3)
    assert found.passed
    assert not parity(reference, other, Tolerance(absolute=0.0, relative=1e-4)).passed
    assert parity(reference, other.flip(1), Tolerance()).same == 1


def test_what_is_no_number_on_one_side_is_beyond_any_tolerance() -> None:
    nan, inf = float("nan"), float("inf")
    loose = Tolerance(absolute=1e9, relative=1e9)
    assert not parity(torch.tensor([1.0, 1.0]), torch.tensor([1.0, nan]), loose).passed
    assert not parity(torch.tensor([1.0, inf]), torch.tensor([1.0, 1.0]), loose).passed
    assert parity(torch.tensor([nan, inf]), torch.tensor([nan, inf]), Tolerance()).passed
    assert parity(torch.tensor([1.0, inf]), torch.tensor([1.0, 1.0]), loose).worst == 1


def test_one_output_alone_has_no_class() -> None:
    assert parity(torch.tensor([[1.0], [2.0]]), torch.tensor([[1.0], [2.0]]), Tolerance()).same is None


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ExportError, match=r"shape \(2, 3\) where torch gives \(2, 2\)"):
        parity(torch.zeros(2, 2), torch.zeros(2, 3), Tolerance())


def test_a_tolerance_below_nothing_is_a_conflict() -> None:
    assert [*Tolerance().conflicts()] == []
    assert len([*Tolerance(absolute=-1.0, relative=float("nan")).conflicts()]) == 2
