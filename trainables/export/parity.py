"""Does the exported model say what the module says?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from trainables.checkpoints.files import whole
from trainables.export.graph import single
from trainables.export.needed import ExportError
from trainables.export.samples import answers, first
from trainables.export.session import Session

if TYPE_CHECKING:
    from torch import Tensor, nn

    from trainables.data.source import Set


@dataclass(frozen=True, kw_only=True, slots=True)
class Tolerance:
    """How far an output may be off: ``absolute``, and ``relative`` to the largest output of its sample, both together."""

    absolute: float = 1e-4
    relative: float = 1e-3

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        for name in ("absolute", "relative"):
            value = getattr(self, name)
            if not 0 <= value < float("inf"):
                yield f"Tolerance {name} {value} must be 0 or more; 1e-4 is usual in single precision"


@dataclass(frozen=True, kw_only=True, slots=True)
class Parity:
    """Two models' outputs over the same samples.

    ``absolute`` is the largest difference of two outputs, ``relative`` the largest of a sample's greatest difference to its
    greatest output. ``worst`` is the sample that is furthest beyond the tolerance, or nearest to it, and ``excess`` how many
    times the tolerance it is off. ``same`` counts the samples whose largest output is the same one; None where there is one output
    alone. What is not a number on both sides is the same; on one side it is beyond any tolerance.
    """

    samples: int
    absolute: float
    relative: float
    worst: int
    excess: float
    same: int | None

    @property
    def passed(self) -> bool:
        """True when no sample is beyond the tolerance."""
        return self.excess <= 1

    def says(self) -> str:
        """The outcome as a sentence."""
        chosen = "" if self.same is None else f", the same class for {self.same} of {self.samples} samples"
        return (
            f"largest difference from torch {self.absolute:.1e}, relative {self.relative:.1e} "
            f"over {self.samples} samples{chosen}"
        )


def parity(reference: Tensor, other: Tensor, tolerance: Tolerance) -> Parity:
    """Compare outputs [N, ...] sample by sample. Raises ExportError where their shapes differ."""
    if reference.shape != other.shape:
        raise ExportError(f"outputs of shape {tuple(other.shape)} where torch gives {tuple(reference.shape)}")
    a, b = (one.detach().cpu().double().reshape(len(one), -1) for one in (reference, other))
    alike = (a == b) | (a.isnan() & b.isnan())
    off = (a - b).abs().nan_to_num(nan=torch.inf).masked_fill(alike, 0.0).amax(1)
    size = a.abs().nan_to_num(nan=0.0, posinf=0.0).amax(1)
    excess = off / (tolerance.absolute + tolerance.relative * size).clamp(min=torch.finfo(torch.float64).tiny)
    several = a.shape[1] > 1
    return Parity(
        samples=len(a),
        absolute=float(off.max()),
        relative=float((off / size.clamp(min=torch.finfo(torch.float64).tiny)).masked_fill(off == 0, 0.0).max()),
        worst=int(excess.argmax()),
        excess=float(excess.max()),
        same=int((a.argmax(1) == b.argmax(1)).sum()) if several else None,
    )


def write(
    path: Path, model: bytes, module: nn.Module, samples: Set, *, tolerance: Tolerance | None = None, threads: int = 1
) -> Parity:
    """Write an exported ``model`` once it answers as the ``module`` does on all ``samples`` (input…, target), also on one alone.

    Raises ExportError, naming the sample, where it does not: then there is no file, an older one neither.
    """
    tolerance = tolerance or Tolerance()
    try:
        session = Session(model, threads=threads)
        expected = answers(single(module), samples)
        together = parity(expected, answers(session, samples), tolerance)
        alone = parity(expected[:1], session(*first(samples, 1)), tolerance)
        for compared, which in ((together, ""), (alone, " when it is alone")):
            if not compared.passed:
                raise ExportError(
                    f"{type(module).__name__}: the exported model is not the module: on sample {compared.worst}{which} it is "
                    f"off by {compared.excess:.3g} times the tolerance ("
                    f"{tolerance.absolute:g} + {tolerance.relative:g} x its largest output); "
                    f"{compared.says()}; {path} was not kept"
                )
    except ExportError:
        path.unlink(missing_ok=True)
        raise
    with whole(path) as temporary:
        temporary.write_bytes(model)
    return together
