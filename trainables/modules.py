"""Parts of a module by name: which are frozen, and whose activations are computed again instead of kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from fnmatch import fnmatchcase
from functools import partial
from typing import TYPE_CHECKING

from trainables.errors import ConflictError

if TYPE_CHECKING:
    from torch import nn


def freeze(module: nn.Module, patterns: Sequence[str]) -> list[nn.Module]:
    """Take the parameters that match a pattern, such as ``blocks.0.*``, out of the training.

    Submodules all of whose parameters are frozen come back: in training they stay in evaluation mode, so that a frozen BatchNorm
    keeps its statistics. Raises ConflictError for a pattern that matches nothing.
    """
    names = [name for name, _ in module.named_parameters()]
    chosen = set(_matched("freeze", names, patterns))
    for name, parameter in module.named_parameters():
        if name in chosen:
            parameter.requires_grad_(False)
    if not chosen:
        return []
    return [
        part
        for part in module.modules()
        if (parameters := list(part.parameters())) and not any(parameter.requires_grad for parameter in parameters)
    ]


def recompute(module: nn.Module, patterns: Sequence[str]) -> None:
    """Keep no activations inside the submodules that match a pattern, such as ``blocks.*``: backward computes them again.

    Activation checkpointing (Chen et al., 2016): less memory for about a third more compute. Where a submodule and one inside it
    match, the outer one counts. Dropout draws the same masks again. Raises ConflictError for a pattern that matches nothing.
    """
    names = [name for name, _ in module.named_modules() if name]
    chosen = _matched("recompute", names, patterns)
    for name in chosen:
        if not any(name.startswith(f"{other}.") for other in chosen):
            part = module.get_submodule(name)
            part.forward = partial(_checkpointed, part, part.forward)


def _checkpointed(part: nn.Module, forward: Callable[..., object], *inputs: object) -> object:
    import torch
    from torch.utils.checkpoint import checkpoint

    if not torch.is_grad_enabled():
        return forward(*inputs)
    if torch.compiler.is_compiling():
        return checkpoint(forward, *inputs, use_reentrant=False)
    return checkpoint(forward, *inputs, use_reentrant=False, context_fn=lambda: (nullcontext(), _unchanged(part)))


@contextmanager
def _unchanged(part: nn.Module) -> Iterator[None]:
    """A second forward pass over the same batch: buffers, such as BatchNorm's statistics, have taken it in already."""
    import torch

    buffers = [(buffer, buffer.clone()) for buffer in part.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)


def _matched(what: str, names: Iterable[str], patterns: Sequence[str]) -> list[str]:
    names = list(names)
    idle = [pattern for pattern in patterns if not any(fnmatchcase(name, pattern) for name in names)]
    if idle:
        shown = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
        raise ConflictError("model", [f"{what} {pattern!r} matches nothing; there are {shown}" for pattern in idle])
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]
