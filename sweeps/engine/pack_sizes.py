"""How many trials of each structure are trained at once."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from sweeps.engine.rehearsal import load
from trainables.fused.structure import structure, unfit

if TYPE_CHECKING:
    from sweeps.engine.spec import Sweep


def pack_sizes(sweep: Sweep) -> dict[str, int]:
    """The sizes by structure, 1 where trials are best trained alone; tried here, once on a machine, in a few seconds.

    Nothing is tried where trials take a GPU, which this process may not have, nor where a try fails: what is wrong with a trial is
    told by the trial.
    """
    import torch

    from trainables.fused.probe import chosen

    if sweep.resources.gpus != 0 and torch.cuda.is_available():
        return {}
    found: dict[str, int] = {}
    splits, threads = load(sweep), torch.get_num_threads()
    torch.set_num_threads(sweep.resources.cpus)
    try:
        for recipe in (sweep.corner(level, end) for level in sweep.levels() for end in range(sweep.ends)):
            alike = structure(sweep.task, recipe)
            if alike not in found and next(unfit(recipe), None) is None:
                choice = chosen(sweep.task, replace(recipe, seed=sweep.heat_seeds()), splits, torch.device("cpu"))
                found[alike] = choice.size
    except Exception:
        logging.getLogger(__name__).debug("no size was chosen", exc_info=True)
    finally:
        torch.set_num_threads(threads)
    return found
