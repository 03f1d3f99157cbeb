"""What a trial leaves in its process does not reach the next."""

from __future__ import annotations

import random

import numpy as np
import torch

from trainables.slate import clean


def drawn() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def test_every_global_generator_starts_from_the_same_parts() -> None:
    clean(1, "trial", "a")
    first = drawn()
    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    clean(1, "trial", "a")
    assert drawn() == first
    clean(1, "trial", "b")
    assert drawn() != first


def test_a_poisoned_process_is_put_right() -> None:
    torch.set_default_dtype(torch.float64)
    torch.set_grad_enabled(False)
    torch.use_deterministic_algorithms(True)
    torch.set_default_device("meta")
    torch.set_num_threads(2)
    clean(1, "next")
    weight = torch.zeros(2, requires_grad=True)
    assert (weight.dtype, weight.device.type) == (torch.float32, "cpu")
    assert torch.is_grad_enabled()
    assert torch.get_num_threads() == 1
    assert not torch.are_deterministic_algorithms_enabled()
