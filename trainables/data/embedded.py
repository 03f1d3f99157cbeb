"""Inputs that have been through the frozen front of a model once, instead of in every epoch."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.data.indexed import Chosen, Joined, indexed
from trainables.data.mapped import INDEX, Mapped, write
from trainables.data.source import Indexed, by_sample, count, every_target
from trainables.describe import plain
from trainables.errors import ConflictError
from trainables.precision import FP32, Precision
from trainables.recipe import Adaptable, Model
from trainables.seeds import seeded
from trainables.task import Shape, Splits

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor, nn

    from trainables.data.source import Set
    from trainables.task import Tensors


@dataclass(frozen=True, kw_only=True, slots=True)
class Embedded:
    """The data of a task as ``front`` sees it: its output [B, ...] in place of the inputs, the targets as they were.

    Give it to a task: ``replace(task, data=Embedded(data=task.data, front=..., cache=...))``. ``front`` builds a module that holds
    its weights; it is run in evaluation mode, in the arithmetic of ``precision``, over each distinct sample of all sets, once. The
    result lies under ``cache`` by what it follows from: weights, code and arithmetic of the front, and the inputs. A sample's
    embedding is found by what the sample is, not by where it lies, so another seed's split of the same samples takes them from the
    same file, and nothing can part an input from its target. ``in_memory=False`` leaves embeddings on disk, for more than fit.

    Learned is then what comes behind the front. Augmentation would change embeddings instead of inputs.
    """

    data: Callable[[int], Splits[Any]]
    front: Model
    cache: Path
    precision: Precision = FP32()
    batch_size: int = 256
    device: str = "cpu"
    in_memory: bool = True

    def __call__(self, seed: int) -> Splits[Any]:
        """The splits with embeddings. Raises ConflictError for a set that cannot be asked for single samples."""
        import numpy as np
        import torch

        splits = self.data(seed)
        sets = {name: _by_number(name, samples) for name, samples in splits.named().items()}
        keys = {name: _keys(samples) for name, samples in sets.items()}
        distinct, first = np.unique(np.concatenate([*keys.values()]), return_index=True)
        embeddings = self._kept(_all(list(sets.values())), distinct, torch.from_numpy(first))

        def paired(name: str) -> Tensors | Beside:
            rows = torch.from_numpy(np.searchsorted(distinct, keys[name]))
            there = Beside(inputs=Chosen(source=embeddings, rows=rows), target=every_target(sets[name]))
            return there.take(torch.arange(len(rows))) if self.in_memory else there

        more = {name: paired(f"val_{name}") for name in splits.more}
        return replace(splits, train=paired("train"), val=paired("val"), test=paired("test"), more=more)

    def _kept(self, samples: Indexed, distinct: np.ndarray[Any, Any], first: Tensor) -> Mapped:
        """The embeddings of the distinct samples, in the order of their keys: from the cache, or computed."""
        import torch

        device = torch.device(self.device)
        with seeded(torch.device("cpu"), "front"):
            front = self.front.build()
        front = front.to(device=device, dtype=self.precision.dtype()).eval()
        key = hashlib.sha256(distinct.tobytes())
        inputs = [f"{tensor.dtype} {tuple(tensor.shape[1:])}" for tensor in samples.take(first[:1])[:-1]]
        for part in (*_described(front), repr(self.precision), *inputs):
            key.update(part if isinstance(part, bytes) else part.encode())
        folder = Path(self.cache) / key.hexdigest()[:24]
        if not (folder / INDEX).exists():
            return write(folder, self._computed(front, samples, first, device))
        return Mapped(folder)

    def _computed(self, front: nn.Module, samples: Indexed, first: Tensor, device: torch.device) -> Iterator[Tensors]:
        """The front's outputs, batch by batch."""
        import torch

        from trainables.data.source import moved

        for rows in first.split(self.batch_size):  # type: ignore[no-untyped-call]
            *inputs, _ = moved(samples.take(rows), device, self.precision.dtype())
            with torch.inference_mode(), self.precision.arithmetic(), self.precision.autocast(device):
                found = front(*inputs)
            outputs = found if isinstance(found, tuple) else (found,)
            yield tuple(output.cpu() for output in outputs)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Beside:
    """A source of inputs, and the targets [N, ...] of its samples in memory."""

    inputs: Indexed
    target: Tensor

    @property
    def samples(self) -> int:
        """How many there are."""
        return len(self.target)

    def targets(self) -> Tensor:
        """All of them."""
        return self.target

    def take(self, rows: Tensor) -> Tensors:
        """These inputs with their targets."""
        return (*self.inputs.take(rows), self.target[rows])

    def in_order(self, begin: int, end: int, size: int) -> Iterator[Tensors]:
        """Batches in the order in which the targets lie."""
        import torch

        return (self.take(torch.arange(start, min(start + size, end))) for start in range(begin, end, size))


@dataclass(frozen=True, kw_only=True, slots=True)
class Stacked:
    """A model of a ``front`` and a ``head`` behind it, named so in its state: trained with ``freeze=("front.*",)``, or used.

    The head's weights are drawn as they are without the front, so that training it on embeddings is the same run.
    """

    front: Model
    head: Model

    def adapted(self, shape: Shape) -> Stacked:
        """The sizes of the front from the data, those of the head from what the front makes of one sample."""
        import torch

        front = self.front.adapted(shape) if isinstance(self.front, Adaptable) else self.front
        if not isinstance(self.head, Adaptable):
            return replace(self, front=front)
        with seeded(torch.device("cpu"), "front"), torch.inference_mode():
            output = front.build().eval()(torch.zeros(1, *shape.inputs))
        head = self.head.adapted(Shape(inputs=tuple(output.shape[1:]), outputs=shape.outputs))
        return Stacked(front=front, head=head)

    def build(self) -> nn.Module:
        """Both, one behind the other."""
        import torch
        from torch import nn

        head = self.head.build()
        with seeded(torch.device("cpu"), "front"):
            front = self.front.build()

        class Both(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.front, self.head = front, head

            def forward(self, *inputs: Tensor) -> Tensor:
                found: Tensor = self.head(self.front(*inputs))
                return found

        return Both()


def _by_number(name: str, samples: Set) -> Indexed:
    there = indexed(samples)
    if isinstance(there, Indexed):
        return there
    raise ConflictError(
        "data", [f"{name} is a stream, which cannot be asked for single samples; put it on disk by write()"]
    )


def _all(sets: list[Indexed]) -> Indexed:
    first, *others = sets
    for other in others:
        first = Joined(first=first, then=other)
    return first


def _keys(samples: Set) -> np.ndarray[Any, Any]:
    """What each sample's inputs are, as 16 bytes of their digest: [N]; one sample as another only if their bytes are the same."""
    import numpy as np
    import torch

    def digests(batch: Tensors) -> Tensor:
        held = [tensor.cpu().contiguous().flatten(1).view(torch.uint8) for tensor in _wide(batch[:-1])]
        rows = torch.cat(held, dim=1).numpy()
        found = b"".join(hashlib.blake2b(row.data, digest_size=16).digest() for row in rows)
        return torch.frombuffer(bytearray(found), dtype=torch.uint8).view(len(rows), 16)

    return by_sample(samples, digests).numpy().view("S16")[:, 0] if count(samples) else np.empty(0, "S16")


def _wide(inputs: Tensors) -> Tensors:
    """Inputs of one number a sample, [N], as [N, 1]."""
    return tuple(tensor[:, None] if tensor.ndim == 1 else tensor for tensor in inputs)


def _described(module: nn.Module) -> Iterator[str | bytes]:
    """All that its output follows from beside the inputs: structure, settings, code that is not torch's, weights and buffers."""
    import torch

    yield repr(module)
    for name, part in module.named_modules():
        yield from (f"{name}.{setting}" for setting in _settings(part))
    kinds = {type(part) for part in module.modules()}
    for kind in sorted(kinds, key=lambda kind: (kind.__module__, kind.__qualname__)):
        if not kind.__module__.startswith("torch."):
            yield _source(kind)
    for name, tensor in module.state_dict().items():
        yield f"{name} {tensor.dtype} {tuple(tensor.shape)}"
        yield tensor.cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()


def _settings(part: nn.Module) -> Iterator[str]:
    """The numbers, texts and functions that a module holds, and those that its ``forward`` takes from around it."""
    held = {name: value for name, value in vars(part).items() if not name.startswith("_") and name != "training"}
    forward = inspect.unwrap(type(part).forward)
    if inspect.isfunction(forward):
        around = inspect.getclosurevars(forward)
        held |= {**around.globals, **around.nonlocals}
    for name, value in held.items():
        if (
            value is None
            or isinstance(value, bool | int | float | str | tuple)
            or callable(value)
            or is_dataclass(value)
        ):
            yield f"{name}={plain(value)}"


def _source(kind: type[object]) -> str:
    """A class's text; its name alone where it was typed in."""
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError):
        return f"{kind.__module__}.{kind.__qualname__}"
