"""Which rule steps a pack."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from trainables.fused.rows import Rows
from trainables.fused.rules.blocks import Span, spans
from trainables.fused.rules.kernels import Adams, Descents
from trainables.fused.rules.mean_square import MeanSquare
from trainables.fused.rules.one_by_one import OneByOne
from trainables.fused.rules.rectified import Rectified
from trainables.fused.rules.rule import Rule
from trainables.fused.rules.trust_ratio import TrustRatios
from trainables.optimizers.groups import FUSED_ON
from trainables.optimizers.trust_ratio import TrustRatioAdam

OFF = ("amsgrad", "maximize", "differentiable", "dampening", "capturable")
"""Settings of torch's optimizers that the rules do not know."""

SAME = ("nesterov", "centered", "decoupled_weight_decay", "adapted")
"""Settings that are the same for all members of one span, or a rule does not fit."""


HOOKS = ("_optimizer_step_pre_hooks", "_optimizer_step_post_hooks")
"""Where a torch optimizer has the functions that are called around its steps."""

BY_GROUP = ("params", "weight_decay", "adapted")
"""What may differ between the groups of one optimizer."""


def rule_of(rows: Rows, optimizers: Sequence[torch.optim.Optimizer]) -> Rule:
    """The rule for these members' optimizers, which are of one kind; by each member's own where no other fits."""
    kinds = {type(optimizer) for optimizer in optimizers}
    found = spans(rows, optimizers)
    if len(kinds) > 1 or found is None or not _known(found) or not all(_even(optimizer) for optimizer in optimizers):
        return OneByOne(rows, optimizers)
    return _rule(kinds.pop(), rows, optimizers, found) or OneByOne(rows, optimizers)


def _rule(
    kind: type[torch.optim.Optimizer],
    rows: Rows,
    optimizers: Sequence[torch.optim.Optimizer],
    found: Sequence[Span],
) -> Rule | None:
    flat = rows.flat
    kernels = flat.device.type in FUSED_ON and (flat.device.type != "cpu" or flat.element_size() >= 4)
    known: dict[type, tuple[bool, Callable[..., Rule]]] = {
        torch.optim.Adam: (kernels, Adams),
        torch.optim.AdamW: (kernels, Adams),
        torch.optim.SGD: (kernels, Descents),
        torch.optim.RAdam: (True, Rectified),
        torch.optim.RMSprop: (True, MeanSquare),
        TrustRatioAdam: (True, TrustRatios),
    }
    fits, rule = known.get(kind, (False, None))
    return rule(rows, optimizers, found) if fits and rule is not None else None


def _known(spans: Sequence[Span]) -> bool:
    """Whether the rules know all that the groups ask for."""
    strange = any(group.get(name) for span in spans for group in span.groups for name in OFF)
    uniform = all(len({group.get(name) for group in span.groups}) == 1 for span in spans for name in SAME)
    return not strange and uniform and all(_settings(span) == _settings(spans[0]) for span in spans)


def _even(optimizer: torch.optim.Optimizer) -> bool:
    """Whether all parameters have taken as many steps, and nobody watches these: a state may stem from another recipe."""
    states = [optimizer.state[p] for group in optimizer.param_groups for p in group["params"] if p in optimizer.state]
    steps = {float(state.get("step", 0)) for state in states}
    begun = len(states) in (0, sum(len(group["params"]) for group in optimizer.param_groups))
    watched = "step" in vars(optimizer) or any(vars(optimizer)[name] for name in HOOKS)
    return begun and len(steps) <= 1 and not watched


def _settings(span: Span) -> list[dict[str, Any]]:
    """What must be the same in all groups of one member."""
    return [{name: value for name, value in group.items() if name not in BY_GROUP} for group in span.groups]
