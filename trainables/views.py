"""Views: the same samples seen in another way, for predictions that are averaged over several."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

Change = Callable[["Tensor"], "Tensor"]
"""Inputs [B, ...] -> inputs [B, ...], or outputs [B, ...] -> outputs [B, ...]."""


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """``change`` alters the first input; ``undo`` brings the output back to the sample as it was, where it turns with the input.

    A class stays what it is under a mirror that its task allows; a map of pixels must be mirrored back.
    """

    name: str
    change: Change
    undo: Change | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Mirrored:
    """Flipped along ``dim``; flat inputs [B, H W …] are seen in this ``shape`` first, without the batch."""

    dim: int = -1
    shape: tuple[int, ...] | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """The flipped inputs. Raises ValueError where ``dim`` is the batch."""
        seen = _shaped(x, self.shape)
        if self.dim % seen.ndim == 0:
            raise ValueError(f"inputs {tuple(x.shape[1:])} have no dimension {self.dim} beside the batch")
        return seen.flip(self.dim).reshape(x.shape)


@dataclass(frozen=True, kw_only=True, slots=True)
class Shifted:
    """Moved along the last dimensions by ``steps``, such as (rows, columns); what comes in is 0. Flat inputs have a ``shape``."""

    steps: tuple[int, ...]
    shape: tuple[int, ...] | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """The moved inputs, in a copy. Raises ValueError where there are not as many dimensions beside the batch."""
        import torch

        seen = _shaped(x, self.shape)
        if seen.ndim <= len(self.steps):
            raise ValueError(f"inputs {tuple(x.shape[1:])} have no {len(self.steps)} dimensions to be moved along")
        dims = tuple(range(-len(self.steps), 0))
        moved = torch.roll(seen, self.steps, dims)
        for dim, step in zip(dims, self.steps, strict=True):
            if step:
                size = seen.shape[dim]
                gap = min(abs(step), size)
                moved.narrow(dim, 0 if step > 0 else size - gap, gap).zero_()
        return moved.reshape(x.shape)


@dataclass(frozen=True, kw_only=True, slots=True)
class Noisy:
    """With Gaussian noise of standard deviation ``std``, in the input's units; the same ``seed`` gives the same noise each time."""

    std: float
    seed: int = 0

    def __call__(self, x: Tensor) -> Tensor:
        """The noisy inputs."""
        import torch

        from trainables.seeds import generator

        noise = torch.randn(x.shape, generator=generator("view", self.seed), dtype=x.dtype)
        return x + self.std * noise.to(x.device)


def shifts(pixels: int, shape: tuple[int, ...] | None = None) -> list[View]:
    """Four views moved by so many pixels: up, down, left and right."""
    ways = {"up": (-pixels, 0), "down": (pixels, 0), "left": (0, -pixels), "right": (0, pixels)}
    return [View(name=f"shift {way} {pixels}", change=Shifted(steps=steps, shape=shape)) for way, steps in ways.items()]


def _shaped(x: Tensor, shape: tuple[int, ...] | None) -> Tensor:
    return x if shape is None else x.reshape(len(x), *shape)
