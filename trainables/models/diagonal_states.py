"""The diagonal state-space layer."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class DiagonalStates(nn.Module):
    """A linear system of N complex states for each of W channels, [B, T, W] to [B, T, W] (S4D-Lin: Gu et al., 2022).

    In continuous time s' = a s + u and y = 2 Re(c · s) + d u, where N states stand for N conjugate pairs; a = -decay + i frequency
    begins at -1/2 + i pi n, and decay stays above 0 as the exponential of what is learned, so the system stays stable (Orvieto et
    al., 2023). Held inputs over a learned time step of each channel, log-uniform in ``timescales`` at first, give exactly
    s_t = A s_(t-1) + B u_t with A = exp(step a) and B = (A - 1) / a.

    ``forward`` convolves with the system's answer to an impulse, all steps at once in O(T log T); ``recurrent`` and ``step`` give
    the same one step after the other. Parameters are real: W (step) + 4 W N (decay, frequency, both parts of c) + W (d).
    """

    def __init__(self, width: int, states: int, timescales: tuple[float, float]) -> None:
        super().__init__()
        shortest, longest = map(math.log, timescales)
        self.log_step = nn.Parameter(shortest + (longest - shortest) * torch.rand(width))
        self.log_decay = nn.Parameter(torch.full((width, states), math.log(0.5)))
        self.frequency = nn.Parameter(math.pi * torch.arange(states).float().repeat(width, 1))
        self.read_real = nn.Parameter(torch.randn(width, states) * math.sqrt(0.5))
        self.read_imaginary = nn.Parameter(torch.randn(width, states) * math.sqrt(0.5))
        self.through = nn.Parameter(torch.randn(width))

    def forward(self, x: Tensor) -> Tensor:
        # Neither complex numbers nor the transform exist in the short formats of mixed precision.
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(self.through.dtype)
            count = x.shape[1]
            padded = 2 * count  # a circular convolution over twice the length is a plain one over the length
            answer = torch.fft.rfft(self.impulse(count), n=padded, dim=0)
            convolved = torch.fft.irfft(torch.fft.rfft(x, n=padded, dim=1) * answer, n=padded, dim=1)
            out: Tensor = convolved[:, :count] + self.through * x
            return out

    def impulse(self, count: int) -> Tensor:
        """What comes out at steps 0 to ``count`` - 1 for a 1 that goes in at step 0, without the direct path: [T, W]."""
        exponent, read = self._system()
        steps = torch.arange(count, dtype=self.through.dtype, device=self.through.device)
        powers = torch.exp(exponent.unsqueeze(0) * steps[:, None, None])
        return 2 * (powers * read).sum(-1).real

    def recurrent(self, x: Tensor) -> Tensor:
        """The same as ``forward``, step after step, in O(T) with a state of fixed size."""
        state = torch.zeros(len(x), *self.read_real.shape, dtype=x.dtype.to_complex(), device=x.device)
        outputs = []
        for u in x.unbind(1):
            y, state = self.step(u, state)
            outputs.append(y)
        return torch.stack(outputs, dim=1)

    def step(self, u: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """One step: inputs [B, W] and the complex states before it [B, W, N] give outputs [B, W] and the states after it."""
        exponent, read = self._system()
        state = torch.exp(exponent) * state + u.unsqueeze(-1)
        return 2 * (read * state).sum(-1).real + self.through * u, state

    def _system(self) -> tuple[Tensor, Tensor]:
        """log A [W, N], and c B [W, N]: inputs are scaled where they are read, which is the same and cheaper."""
        a = torch.complex(-self.log_decay.exp(), self.frequency)
        exponent = self.log_step.exp().unsqueeze(-1) * a
        return exponent, torch.complex(self.read_real, self.read_imaginary) * torch.expm1(exponent) / a
