"""Shards read by the cluster."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trainables.data import Shards
from trainables.errors import ConflictError

if TYPE_CHECKING:
    from torch import Tensor

    Tensors = tuple[Tensor, ...]

CONFLICT = "conflict"
"""The column of a block that holds no samples but what is wrong with them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RayShards:
    """The same shards, read and decoded by tasks of Ray Data wherever the cluster has room, up to ``ahead`` of them at a time.

    What is read waits in the object store, which holds it back from growing; the worker that trains takes each shard out in its
    turn. Tasks ask for no CPU of their own, since trials may have taken all there are. The nodes must see the files::

        Splits(train=Stream(shards=RayShards(shards=ParquetShards(path=..., inputs=..., target=...))), val=..., test=...)
    """

    shards: Shards
    ahead: int = 2

    @property
    def counts(self) -> Sequence[int]:
        """The samples of each shard."""
        return self.shards.counts

    def targets(self) -> Tensor:
        """What the shards tell."""
        return self.shards.targets()

    def read(self, numbers: Sequence[int]) -> Iterator[Tensors]:
        """These shards in this order. Raises ConflictError for cells that cannot be read, as reading them here would."""
        import torch

        full = [number for number in numbers if self.counts[number]]
        blocks = iter(self._blocks(full) if full else ())
        for number in numbers:
            if not self.counts[number]:
                yield from self.shards.read([number])
                continue
            parts: list[Any] = []
            while sum(len(part["0"]) for part in parts) < self.counts[number]:
                block = next(blocks, {CONFLICT: [f"shard {number} has fewer samples than it had; start the run anew"]})
                if CONFLICT in block:
                    raise ConflictError("data", [str(text) for text in block[CONFLICT]])
                parts.append(block)
            # Arrays out of the object store cannot be written to, and lie there until they are let go: hence copies.
            names = sorted(parts[0], key=int)
            yield tuple(torch.cat([torch.tensor(part[name]) for part in parts]) for name in names)

    def _blocks(self, numbers: Sequence[int]) -> Iterator[dict[str, Any]]:
        """The shards as Ray Data hands them out, in this order: one block each, or several of a large one."""
        import ray.data

        logging.getLogger("ray.data").setLevel(logging.WARNING)  # else it tells of every epoch's plan
        rows = ray.data.from_items([{"shard": number} for number in numbers], override_num_blocks=len(numbers))
        rows.context.execution_options.preserve_order = True
        rows.context.enable_progress_bars = False
        tasks = ray.data.TaskPoolStrategy(size=self.ahead)
        found = rows.map_batches(self._loaded, batch_size=None, num_cpus=0, compute=tasks)
        yield from found.iter_batches(batch_size=None, prefetch_batches=1)

    def _loaded(self, batch: dict[str, Any]) -> dict[str, Any]:
        """One task: the shard that the row names, as columns; a conflict as one too, since of what is raised only text arrives."""
        import numpy as np

        try:
            (tensors,) = self.shards.read([int(number) for number in batch["shard"]])
        except ConflictError as error:
            return {CONFLICT: np.array(error.conflicts)}
        return {str(place): tensor.numpy() for place, tensor in enumerate(tensors)}
