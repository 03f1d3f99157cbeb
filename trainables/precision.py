"""Precision: what the parameters are stored in, and what forward and backward pass compute in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from trainables.scaler import LEAST, Dynamic, Scaler, Unscaled

if TYPE_CHECKING:
    import torch

_LARGEST = 2.0**127


@runtime_checkable
class Precision(Protocol):
    """A part that says which type the parameters have, what is computed in, and how gradients are kept in its range."""

    def dtype(self) -> torch.dtype:
        """The type of parameters and floating inputs."""
        ...

    def autocast(self, device: torch.device) -> AbstractContextManager[object]:
        """The context of forward pass and loss; entered once a micro-batch."""
        ...

    def arithmetic(self) -> AbstractContextManager[object]:
        """The process's switches for float32 arithmetic, put back at the end; entered around a whole pass, backward included."""
        ...

    def scaler(self, device: torch.device) -> Scaler:
        """A new scaler, for one run."""
        ...

    def unsupported(self, device: torch.device) -> str | None:
        """Why this device cannot do it and what can be done instead, or None."""
        ...

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class FP32:
    """Single precision throughout: TF32 is switched off, also for convolutions, where torch leaves it on."""

    def dtype(self) -> torch.dtype:
        """float32."""
        return _float32()

    def autocast(self, device: torch.device) -> AbstractContextManager[object]:  # noqa: ARG002
        """Nothing to change."""
        return nullcontext()

    def arithmetic(self) -> AbstractContextManager[object]:
        """TF32 off."""
        return tensor_float(allowed=False)

    def scaler(self, device: torch.device) -> Scaler:  # noqa: ARG002
        """None is needed."""
        return Unscaled()

    def unsupported(self, device: torch.device) -> str | None:  # noqa: ARG002
        """Every device can."""
        return None

    def conflicts(self) -> Iterator[str]:
        """There is nothing to set."""
        yield from ()


@dataclass(frozen=True, kw_only=True, slots=True)
class FP64:
    """Double precision throughout: slow, for checks of equality."""

    def dtype(self) -> torch.dtype:
        """float64."""
        import torch

        return torch.float64

    def autocast(self, device: torch.device) -> AbstractContextManager[object]:  # noqa: ARG002
        """Nothing to change."""
        return nullcontext()

    def arithmetic(self) -> AbstractContextManager[object]:
        """TF32 off."""
        return tensor_float(allowed=False)

    def scaler(self, device: torch.device) -> Scaler:  # noqa: ARG002
        """None is needed."""
        return Unscaled()

    def unsupported(self, device: torch.device) -> str | None:
        """Apple's GPUs cannot."""
        return "FP64 is not there on mps; set precision=FP32()" if device.type == "mps" else None

    def conflicts(self) -> Iterator[str]:
        """There is nothing to set."""
        yield from ()


@dataclass(frozen=True, kw_only=True, slots=True)
class TF32:
    """As FP32, but the tensor cores may round the factors of matrix products and convolutions to 10 bits; sums stay in float32."""

    def dtype(self) -> torch.dtype:
        """float32."""
        return _float32()

    def autocast(self, device: torch.device) -> AbstractContextManager[object]:  # noqa: ARG002
        """Nothing to change."""
        return nullcontext()

    def arithmetic(self) -> AbstractContextManager[object]:
        """TF32 on."""
        return tensor_float(allowed=True)

    def scaler(self, device: torch.device) -> Scaler:  # noqa: ARG002
        """None is needed: the range is float32's."""
        return Unscaled()

    def unsupported(self, device: torch.device) -> str | None:
        """GPUs from compute capability 8.0 have it, nothing else has."""
        return _gpu_lacks("TF32", (8, 0), device, "FP32()")

    def conflicts(self) -> Iterator[str]:
        """There is nothing to set."""
        yield from ()


@dataclass(frozen=True, kw_only=True, slots=True)
class BF16:
    """Parameters in single precision, forward pass by autocast in bfloat16; no loss scaling is needed at its range."""

    def dtype(self) -> torch.dtype:
        """float32: the parameters' own type."""
        return _float32()

    def autocast(self, device: torch.device) -> AbstractContextManager[object]:
        """Autocast to bfloat16."""
        import torch

        # One micro-batch a context: a cache of casted weights would only have to be cleared again.
        return torch.autocast(device.type, dtype=torch.bfloat16)

    def arithmetic(self) -> AbstractContextManager[object]:
        """TF32 off in what autocast leaves in float32."""
        return tensor_float(allowed=False)

    def scaler(self, device: torch.device) -> Scaler:  # noqa: ARG002
        """None is needed: the range is float32's."""
        return Unscaled()

    def unsupported(self, device: torch.device) -> str | None:
        """GPUs before compute capability 8.0 emulate it, slower than single precision."""
        return _gpu_lacks("BF16", (8, 0), device, "FP32()") if device.type == "cuda" else None

    def conflicts(self) -> Iterator[str]:
        """There is nothing to set."""
        yield from ()


@dataclass(frozen=True, kw_only=True, slots=True)
class FP16:
    """Parameters in single precision, forward pass by autocast in float16, the loss scaled against underflow.

    The scale starts at ``init_scale``, is multiplied by ``backoff_factor`` at each overflow, whose step is skipped, and by
    ``growth_factor`` after ``growth_interval`` steps without one; the defaults are torch's. A few skipped steps at the start, while
    the scale finds its size, are usual. On a CPU it is for trying out: slow, and without some layers, such as nn.LSTM.
    """

    init_scale: float = 2.0**16
    growth_factor: float = 2.0
    backoff_factor: float = 0.5
    growth_interval: int = 2000

    def dtype(self) -> torch.dtype:
        """float32: the parameters' own type."""
        return _float32()

    def autocast(self, device: torch.device) -> AbstractContextManager[object]:
        """Autocast to float16."""
        import torch

        return torch.autocast(device.type, dtype=torch.float16)

    def arithmetic(self) -> AbstractContextManager[object]:
        """TF32 off in what autocast leaves in float32."""
        return tensor_float(allowed=False)

    def scaler(self, device: torch.device) -> Scaler:
        """A dynamic scale on this device."""
        import torch

        return Dynamic(
            torch.amp.GradScaler(
                device.type,
                init_scale=torch.tensor(self.init_scale, dtype=torch.float32).item(),
                growth_factor=self.growth_factor,
                backoff_factor=self.backoff_factor,
                growth_interval=self.growth_interval,
            )
        )

    def unsupported(self, device: torch.device) -> str | None:
        """GPUs from compute capability 7.0 have tensor cores for it, and CPUs compute it slowly; elsewhere it is refused."""
        if device.type == "cpu":
            return None
        return _gpu_lacks("FP16", (7, 0), device, "FP32() or BF16()")

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        if not LEAST <= self.init_scale <= _LARGEST:
            yield f"FP16 init_scale {self.init_scale} must lie between 2**-14 and 2**127; 2.0**16 is usual"
        if not self.growth_factor > 1:
            yield f"FP16 growth_factor {self.growth_factor} must be above 1; 2.0 is usual"
        if not 0 < self.backoff_factor < 1:
            yield f"FP16 backoff_factor {self.backoff_factor} must lie between 0 and 1; 0.5 is usual"
        if not isinstance(self.growth_interval, int) or self.growth_interval < 1:
            yield f"FP16 growth_interval {self.growth_interval} must be a whole number of steps from 1; 2000 is usual"


@dataclass(frozen=True, kw_only=True, slots=True)
class PureBF16:
    """Parameters, gradients and optimizer states in bfloat16: half the memory, and eight bits of mantissa for everything.

    An update smaller than 1/256 of its weight is lost, so small learning rates stand still; BF16() keeps parameters in single
    precision and costs memory instead. For models that do not fit otherwise.
    """

    def dtype(self) -> torch.dtype:
        """bfloat16."""
        import torch

        return torch.bfloat16

    def autocast(self, device: torch.device) -> AbstractContextManager[object]:  # noqa: ARG002
        """Nothing to change: everything is in bfloat16 already."""
        return nullcontext()

    def arithmetic(self) -> AbstractContextManager[object]:
        """TF32 off."""
        return tensor_float(allowed=False)

    def scaler(self, device: torch.device) -> Scaler:  # noqa: ARG002
        """None is needed: the range is float32's."""
        return Unscaled()

    def unsupported(self, device: torch.device) -> str | None:
        """GPUs before compute capability 8.0 emulate it."""
        return _gpu_lacks("PureBF16", (8, 0), device, "FP32()") if device.type == "cuda" else None

    def conflicts(self) -> Iterator[str]:
        """There is nothing to set."""
        yield from ()


@contextmanager
def tensor_float(*, allowed: bool) -> Iterator[None]:
    """Run a block with TF32 allowed, or not, in matrix products, convolutions and recurrent layers; all switches are put back.

    The switches hold for the whole process, the threads of the backward pass included.
    """
    import torch

    backends: Any = torch.backends
    switches = (backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn, backends.mkldnn.matmul)
    before = [switch.fp32_precision for switch in switches]
    _switch("tf32" if allowed else "ieee", "tf32" if allowed else "ieee", "tf32" if allowed else "ieee", "ieee")
    try:
        yield
    finally:
        _switch(*before)


def _switch(matmul: str, conv: str, rnn: str, cpu: str) -> None:
    """Set torch's switches, each to "ieee", "tf32", "bf16" or "none" (as the one above it says)."""
    import torch

    backends: Any = torch.backends
    # The older switches first: where they disagree with the newer ones, torch.compile and cudnn.flags() raise RuntimeError.
    high = "medium" if cpu == "bf16" else "high"
    torch.set_float32_matmul_precision(high if matmul == "tf32" else "highest")
    backends.cudnn.allow_tf32 = conv == "tf32"
    backends.cuda.matmul.fp32_precision = matmul
    backends.cudnn.conv.fp32_precision = conv
    backends.cudnn.rnn.fp32_precision = rnn
    backends.mkldnn.matmul.fp32_precision = cpu


def _float32() -> torch.dtype:
    import torch

    return torch.float32


def _gpu_lacks(name: str, least: tuple[int, int], device: torch.device, instead: str) -> str | None:
    """Why a device is no NVIDIA GPU of this compute capability, or None where it is one."""
    import torch

    needed = f"{name} needs an NVIDIA GPU of compute capability {least[0]}.{least[1]}"
    if device.type != "cuda":
        return f"{needed}, and this run is on {device.type}; set precision={instead}"
    if not torch.cuda.is_available():
        return f"{needed}, and torch sees no GPU here; set precision={instead}"
    major, minor = torch.cuda.get_device_capability(device)
    if (major, minor) < least:
        return f"{needed}, {torch.cuda.get_device_name(device)} has {major}.{minor}; set precision={instead}"
    return None
