"""Samples as an exported model takes them: on the CPU, in single precision."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import torch

from trainables.data.feed import looked_at
from trainables.data.source import head, moved
from trainables.world import World

if TYPE_CHECKING:
    from torch import Tensor

    from trainables.data.source import Set
    from trainables.task import Tensors

CPU = torch.device("cpu")
SIZE = 256
"""Samples of a set that are answered at once."""


def batches(samples: Set, size: int = SIZE) -> Iterator[Tensors]:
    """The set in its order, (input…, target)."""
    for batch in looked_at(samples, size, World(), CPU, torch.float32):
        yield moved(batch, CPU, torch.float32)


def first(samples: Set, number: int) -> Tensors:
    """The inputs of the first ``number`` samples; where there are fewer they come round again."""
    there = moved(head(samples, number), CPU, torch.float32)[:-1]
    round_again = torch.arange(number) % len(there[0])
    return tuple(one[round_again] for one in there)


def answers(call: Callable[..., Tensor], samples: Set, size: int = SIZE) -> Tensor:
    """What ``call`` of the inputs gives for the whole set, [N, ...]."""
    with torch.inference_mode():
        return torch.cat([call(*inputs) for *inputs, _ in batches(samples, size)])


def targets(samples: Set) -> Tensor:
    """The targets of the whole set, [N, ...]."""
    return torch.cat([target for *_, target in batches(samples)])
