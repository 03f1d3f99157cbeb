"""Loss scaling: half precision's small gradients are multiplied into its range, and brought back before they are used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, final

if TYPE_CHECKING:
    import torch
    from torch import Tensor

LEAST = 2.0**-14
"""The smallest scale that is tried, float16's smallest normal number: gradients that overflow below it do so at any scale."""


class Scaler(Protocol):
    """Stands between loss and step: ``scale`` before each backward pass, ``unscale`` once the gradients are whole."""

    @property
    def skipped(self) -> int:
        """Steps skipped since the run began."""
        ...

    def scale(self, loss: Tensor) -> Tensor:
        """The loss, a scalar, as its backward pass shall start from it."""
        ...

    def unscale(self, optimizer: torch.optim.Optimizer) -> bool:
        """Bring the gradients back to their own size, in place; False when this step must be skipped."""
        ...

    def state(self) -> dict[str, Any]:
        """All that a resumed run needs, as plain values; at the end of a step."""
        ...

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        ...


@final
class Unscaled:
    """No scaling: nothing is changed and no step is skipped."""

    skipped = 0

    def scale(self, loss: Tensor) -> Tensor:
        """The loss as it is."""
        return loss

    def unscale(self, optimizer: torch.optim.Optimizer) -> bool:  # noqa: ARG002
        """Nothing to do; gradients that are not finite show in the weights, and end the run."""
        return True

    def state(self) -> dict[str, Any]:
        """Empty."""
        return {}

    def load(self, state: Mapping[str, Any]) -> None:
        """Nothing to do."""


@final
class Dynamic:
    """A scale that halves, or so, when a gradient overflows and grows while none does (Micikevicius et al., 2018).

    torch's ``GradScaler`` keeps the scale. A step with a gradient that is not finite is skipped. Below ``LEAST`` the scale is not
    to blame: the step is taken, and the run diverges as it would in any precision.
    """

    def __init__(self, scaler: torch.amp.GradScaler) -> None:
        self._scaler = scaler
        self._scale = scaler.get_scale()
        self.skipped = 0

    def scale(self, loss: Tensor) -> Tensor:
        """The loss times the scale."""
        return self._scaler.scale(loss)

    def unscale(self, optimizer: torch.optim.Optimizer) -> bool:
        """Divide by the scale, adapt it for the next step, and tell whether all gradients are finite.

        Under data parallelism every worker says the same: the gradients are summed over all workers by now, and a sum in which one
        term is not finite is not finite, so the scales stay equal without a word between the workers.
        """
        # The optimizer is never left to skip by itself (GradScaler.step): torch 2.13's fused SGD would keep uninitialised memory
        # as its momentum when the first step is skipped, and schedule and average must know anyway. A scale that fell is the one
        # public sign of an overflow. Reading it waits for the backward pass, once a step; what is left is a few short kernels.
        self._scaler.unscale_(optimizer)
        self._scaler.update()
        before, self._scale = self._scale, self._scaler.get_scale()
        if self._scale >= before or self._scale < LEAST:
            return True
        self.skipped += 1
        return False

    def state(self) -> dict[str, Any]:
        """The scale, the steps since it last changed, and the steps skipped."""
        return {"scaler": self._scaler.state_dict(), "skipped": self.skipped}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self._scaler.load_state_dict(dict(state["scaler"]))
        self._scale = self._scaler.get_scale()
        self.skipped = state["skipped"]
