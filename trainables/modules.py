"""Parts of a module: whose code they are, which are frozen, and whose activations are computed again instead of kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from fnmatch import fnmatchcase
from functools import partial
from typing import TYPE_CHECKING, Any

from trainables.errors import ConflictError

if TYPE_CHECKING:
    from torch import nn

HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
"""Where a part has the functions that are called around its passes."""

OWN = ("torch.nn.", "trainables.models.", "trainables.losses.")
"""Where code comes from that goes by nothing but its tensors and settings."""


def harmless(module: nn.Module) -> Callable[..., Any]:
    """The module as a function that leaves what it is given as it was: one that may write into it is given a copy."""
    return module if reads_only(module) else lambda *inputs: module(*(tensor.clone() for tensor in inputs))


def reads_only(module: nn.Module) -> bool:
    """Whether it writes nothing into what it is given, as far as is known: of torch's layers those do that are asked to."""
    return not any(getattr(part, "inplace", False) or not known(part) for part in module.modules())


def known(part: nn.Module) -> bool:
    """Whether a part's code, what it calls and what is called around it are torch's or this package's."""
    if not own(part) or hooked(part):
        return False
    held = vars(part)
    return all(own(value) for name, value in held.items() if name != "_modules" and callable(value))


def hooked(part: nn.Module) -> bool:
    """Whether functions are called around a part's passes."""
    return any(vars(part)[name] for name in HOOKS)


def own(part: object) -> bool:
    """Whether an object's code is torch's or this package's."""
    named = getattr(part, "__module__", None) or ""
    return f"{named}.".startswith(OWN)


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
