"""The last batch of an epoch where it is a single sample, of which a batch norm may take no variance."""

from __future__ import annotations

import traceback
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trainables.run import Run


def single(samples: int, batch_size: int) -> bool:
    """Whether so many samples in such batches leave a last one of one sample."""
    return 1 < batch_size < samples and samples % batch_size == 1


def refused(samples: int, batch_size: int, layer: str) -> str:
    """The value, the rule and the way out, where a layer of this kind cannot be trained on the sample that is left."""
    return (
        f"{samples} samples in batches of {batch_size} leave a last one of 1, of which {layer} cannot take a variance; "
        f"choose another batch_size, such as {_near(samples, batch_size)}, or leave out a sample"
    )


def _near(samples: int, batch_size: int) -> int:
    """The batch size closest to this one that leaves no single sample."""
    others = (batch_size + sign * distance for distance in count(1) for sign in (1, -1))
    return next(size for size in others if size > 1 and not single(samples, size))


def refusing(run: Run) -> str | None:
    """The kind of batch norm that a single sample stops in training; None where there is none, or a sample holds enough for it.

    Whatever else the module raises is raised.
    """
    from torch.nn.modules.batchnorm import _BatchNorm

    from trainables.data.source import head, moved
    from trainables.modules import harmless

    run.training()
    if not any(isinstance(part, _BatchNorm) and part.training for part in run.module.modules()):
        return None
    batch = moved(head(run.splits.train, 1), run.device, run.recipe.precision.dtype())
    try:
        harmless(run.module)(*batch[:-1])
    except ValueError as error:
        callers = [frame.f_locals.get("self") for frame, _ in traceback.walk_tb(error.__traceback__)]
        kinds = [type(caller).__name__ for caller in callers if isinstance(caller, _BatchNorm)]
        if not kinds:
            raise
        return kinds[-1]
    return None
