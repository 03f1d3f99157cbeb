"""How many trials of each structure are trained at once."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from sweeps.engine.pools import Pools
from sweeps.engine.rehearsal import load
from sweeps.engine.vary import drawn
from trainables.data.source import resident
from trainables.fused.structure import structure, unfit

if TYPE_CHECKING:
    import torch

    from sweeps.engine.spec import Sweep
    from trainables import Splits
    from trainables.fused.probe import Choice


PATIENCE = 120.0
"""Seconds for a try where trials are run: a machine may have to be waited for, and none may come."""

COPIES = 2
"""Of each member's data: its own, and the one in which all are side by side."""


def choices(sweep: Sweep, pools: Pools) -> dict[str, Choice]:
    """What was chosen, by structure; tried once on a machine, in a few seconds, up to the size that there are trials for, and room
    for their data.

    Where trials take a GPU, or a cluster was joined, it is tried where they are run, for which Ray must be up. Where a try fails,
    or no machine is free for it, nothing was chosen: what is wrong with a trial is told by the trial.
    """
    import torch

    if sweep.resources.gpus or "RAY_ADDRESS" in os.environ:
        return _where_trials_are_run(sweep, pools)
    return _tried(sweep, pools, torch.device("cpu"))


def _where_trials_are_run(sweep: Sweep, pools: Pools) -> dict[str, Choice]:
    """In a task that takes what a trial takes."""
    import ray

    from sweeps.engine.capacity import bundle

    def tried() -> dict[str, Choice]:
        import torch

        return _tried(sweep, pools, torch.device("cuda" if torch.cuda.is_available() else "cpu"))

    wanted = bundle(sweep.resources)
    takes = {"num_cpus": wanted.pop("CPU"), "num_gpus": wanted.pop("GPU", 0.0), "memory": wanted.pop("memory", 0.0)}
    asked = ray.remote(**takes, resources=wanted, max_retries=0)(tried).remote()
    try:
        found: dict[str, Choice] = ray.get(asked, timeout=PATIENCE)
    except Exception:
        ray.cancel(asked, force=True)
        logging.getLogger(__name__).debug("no size was chosen", exc_info=True)
        return {}
    return found


def _tried(sweep: Sweep, pools: Pools, device: torch.device) -> dict[str, Choice]:
    """What is chosen on this device."""
    import torch

    from trainables.fused.probe import SIZES, chosen

    found: dict[str, Choice] = {}
    splits, threads = load(sweep), torch.get_num_threads()
    room = room_for(sweep, splits, _memory(sweep, pools, device))
    torch.set_num_threads(sweep.resources.cpus)
    try:
        for recipe in (sweep.corner(level, end) for level in sweep.levels() for end in range(sweep.ends)):
            alike = structure(sweep.task, recipe)
            if alike not in found and next(unfit(recipe), None) is None:
                seeded = replace(recipe, seed=sweep.heat_seeds())
                most = pools.members(alike)
                sizes = [size for before, size in pairwise((0, *SIZES)) if before < most and size <= room]
                found[alike] = chosen(sweep.task, seeded, splits, device, sizes)
    except Exception:
        logging.getLogger(__name__).debug("no size was chosen", exc_info=True)
    finally:
        torch.set_num_threads(threads)
    return found


def _memory(sweep: Sweep, pools: Pools, device: torch.device) -> int:
    """The bytes that a pack's data may take: half of what it has. Of a shared GPU this process then gets its share alone."""
    import torch

    if device.type == "cpu":
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2 // pools.at_once
    share = min(sweep.resources.gpus or 1.0, 1.0)
    torch.cuda.set_per_process_memory_fraction(share, device)
    return int(share * torch.cuda.mem_get_info(device)[1]) // 2


def room_for(sweep: Sweep, splits: Splits[Any], memory: int) -> int:
    """How many members' data fit into so many bytes: where finals draw their split each has its own, and the pack a copy of all."""
    from trainables.fused.probe import SIZES

    if "split" not in drawn(sweep.vary):
        return max(SIZES)
    size = sum(tensor.nbytes for samples in splits.named().values() if resident(samples) for tensor in samples)
    return memory // (COPIES * max(size, 1))
