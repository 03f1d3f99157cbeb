"""A clean slate: what one trial did to the process must not reach the next one in it."""

from __future__ import annotations

import gc
import random
import sys

import numpy as np
import torch

from trainables.heap import give_back, settle
from trainables.seeds import derived


def clean(threads: int, *parts: int | str) -> None:
    """Put the process's global state to where a fresh process has it, and seed every global generator from ``parts``.

    A trial that draws from ``random``, numpy or torch, or that changes torch's defaults, is then the same whatever ran before it.
    """
    settle()
    seed = derived(*parts)
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    torch.set_default_dtype(torch.float32)
    torch.set_default_device(None)
    torch.set_grad_enabled(True)
    torch.use_deterministic_algorithms(False)
    torch.autograd.set_detect_anomaly(False)
    torch.backends.cudnn.deterministic = False
    torch.backends.cudnn.benchmark = False
    if "torch._dynamo" in sys.modules:
        # Compiled code is kept by the function that was traced, which models of one class share: their limit is soon reached.
        torch._dynamo.reset()
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        gc.collect()
        torch.cuda.empty_cache()
    give_back()
