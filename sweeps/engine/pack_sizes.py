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
    from sweeps.engine.spec import Sweep
    from trainables import Splits
    from trainables.fused.probe import Choice


COPIES = 2
"""Of each member's data: its own, and the one in which all are side by side."""


def pack_sizes(sweep: Sweep, pools: Pools) -> dict[str, int]:
    """The sizes by structure, 1 where trials are best trained alone."""
    return {alike: choice.size for alike, choice in choices(sweep, pools).items()}


def choices(sweep: Sweep, pools: Pools) -> dict[str, Choice]:
    """What was chosen, by structure; tried here, once on a machine, in a few seconds, up to the size that there are trials for, and
    room for their data.

    Nothing is tried where trials take a GPU, which this process may not have, nor where a try fails: what is wrong with a trial is
    told by the trial.
    """
    import torch

    from trainables.fused.probe import SIZES, chosen

    if sweep.resources.gpus != 0 and torch.cuda.is_available():
        return {}
    found: dict[str, Choice] = {}
    splits, threads = load(sweep), torch.get_num_threads()
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    room = room_for(sweep, splits, memory // 2 // pools.at_once)
    torch.set_num_threads(sweep.resources.cpus)
    try:
        for recipe in (sweep.corner(level, end) for level in sweep.levels() for end in range(sweep.ends)):
            alike = structure(sweep.task, recipe)
            if alike not in found and next(unfit(recipe), None) is None:
                seeded = replace(recipe, seed=sweep.heat_seeds())
                most = pools.members(alike)
                sizes = [size for before, size in pairwise((0, *SIZES)) if before < most and size <= room]
                found[alike] = chosen(sweep.task, seeded, splits, torch.device("cpu"), sizes)
    except Exception:
        logging.getLogger(__name__).debug("no size was chosen", exc_info=True)
    finally:
        torch.set_num_threads(threads)
    return found


def room_for(sweep: Sweep, splits: Splits[Any], memory: int) -> int:
    """How many members' data fit into so many bytes: where finals draw their split each has its own, and the pack a copy of all."""
    from trainables.fused.probe import SIZES

    if "split" not in drawn(sweep.vary):
        return max(SIZES)
    size = sum(tensor.nbytes for samples in splits.named().values() if resident(samples) for tensor in samples)
    return memory // (COPIES * max(size, 1))
