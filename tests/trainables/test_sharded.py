"""A model that is sharded over devices is refused in words."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from tests.trainables.small import recipe, task
from trainables import ConflictError
from trainables.fit import fit


@dataclass(frozen=True, kw_only=True, slots=True)
class Sharded:
    def build(self) -> nn.Module:
        module = nn.Linear(2, 3)
        fully_shard(module, mesh=init_device_mesh("cpu", (1,)))
        return module


@pytest.mark.filterwarnings("ignore")  # torch's own, about itself
def test_it_is_refused_and_the_way_out_is_named(tmp_path: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        with pytest.raises(ConflictError, match=r"sharded module \(FSDP\).*recompute=.*micro_batch=Auto\(\)"):
            next(iter(fit(task, recipe(model=Sharded()))))
    finally:
        dist.destroy_process_group()
