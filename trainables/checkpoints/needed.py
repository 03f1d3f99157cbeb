"""How much room on disk a run needs, told before it trains."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from trainables.keep import Keep
from trainables.recipe import Recipe
from trainables.run import Run

ROW = 500
"""Bytes of an epoch in the history, about."""

ADAM = 2.0
"""What an optimizer keeps for each parameter where it cannot be asked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Needed:
    """Bytes, about: of one ``state``, of one file of ``weights``, of ``files`` such files at most."""

    state: int
    weights: int
    files: int

    @property
    def most(self) -> int:
        """While the run is under way: two states, the files of weights, and what is being written."""
        return 3 * self.state + self.weights * self.files + max(0, self.weights - self.state)

    @property
    def left(self) -> int:
        """What a finished final leaves: weights."""
        return self.weights * self.files

    def check(self, folder: Path) -> None:
        """Raises OSError, with the sum and the ways out, where the disk of ``folder`` has less than a run needs yet."""
        there = sum(path.stat().st_size for path in folder.iterdir() if path.is_file()) if folder.exists() else 0
        place = next(path for path in (folder, *folder.resolve().parents) if path.exists())
        usage, wanted = shutil.disk_usage(place), self.most - there
        if wanted > usage.free and usage.total:  # an object store has no size
            raise OSError(
                errno.ENOSPC,
                f"the checkpoints in {folder} need about {size(wanted)} more (three states of {size(self.state)}, {self.files} "
                f"× {size(self.weights)} of weights), and {size(usage.free)} are free; make room, let the runs lie elsewhere, or "
                "keep fewer epochs (Keep top, every)",
            )


def needed(run: Run, keep: Keep) -> Needed:
    """What this run will need; the optimizer's share from what its kind keeps for each value of a parameter."""
    module, average = _bytes(run.module.state_dict().values()), 0
    if run.average is not None:
        average = _bytes(run.average.module.state_dict().values())
    optimizer = int(_kept(run.recipe, run.parameters[0].dtype) * _bytes(run.parameters))
    return Needed(
        state=module + average + optimizer + ROW * run.plan.epochs,
        weights=average or module,
        files=keep.files(run.plan.epochs),
    )


def size(count: int) -> str:
    """A number of bytes for a person."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def _kept(recipe: Recipe, dtype: torch.dtype) -> float:
    """Bytes that the optimizer keeps for each byte of a parameter, from one step on a small one."""
    parameter = torch.nn.Parameter(torch.ones(8, 8, dtype=dtype))
    parameter.grad = torch.ones_like(parameter)
    try:
        optimizer = recipe.optimizer.build([parameter])
        optimizer.step()
    except Exception:
        return ADAM  # one's own optimizer, which may want more than a parameter and its gradient
    held = [value for value in optimizer.state[parameter].values() if isinstance(value, Tensor) and value.numel() > 1]
    return _bytes(held) / _bytes([parameter])


def _bytes(tensors: Iterable[object]) -> int:
    """The bytes of tensors; one that stands in several places counts once."""
    found = {
        tensor.data_ptr(): tensor.numel() * tensor.element_size() for tensor in tensors if isinstance(tensor, Tensor)
    }
    return sum(found.values())
