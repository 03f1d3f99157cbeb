"""What the C library keeps, counted in pages that the kernel has to hand out."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping

import pytest

STEPS = """
import resource
import torch
from trainables import heap
assert heap.hold() is {held}
assert heap.hold() is {held}

before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    blocks = [torch.ones(6_000_000) for _ in range(2)]  # 24 MB each, gone when the next are there
    del blocks
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""

GIVEN_BACK = """
import torch
from trainables import heap

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

assert heap.hold()
blocks = [torch.ones(2_000_000) for _ in range(100)]  # 800 MB
keep = torch.ones(1_000)  # above them, so that the end of the heap is in use
full = resident()
del blocks[:3]
heap.give_back()
assert full - resident() < 10_000_000  # so little is sooner used again
del blocks
heap.give_back()
print(full - resident())
"""

HOLES = """
import resource
import torch
from trainables import heap

assert heap.hold()
blocks = [torch.ones(1_000_000) for _ in range(100)]
del blocks[::2]
heap.give_back()
del blocks[:5]
again = torch.ones(4_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    del again
    heap.give_back()
    again = torch.ones(4_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""

EXACT = """
import contextlib
import torch
from trainables import heap

def reserved():
    return int(open("/proc/self/statm").read().split()[0]) * 4096

torch.set_num_threads(1)  # each thread reserves memory of its own
assert heap.hold()
small = [torch.ones(1_000)]
before = reserved()
with {within}:
    for size in (2, 4, 6, 8):  # larger and larger ones, with small ones between them that stay
        blocks = []
        for _ in range(4):
            blocks.append(torch.ones(size * 1_000_000))
            small.append(torch.ones(1_000))
        del blocks
print(reserved() - before)
"""

NOT_HELD = """
import torch
from trainables import heap
heap.give_back()
assert heap._heap.held is None
print(0)
"""

SETTLED = """
import gc
import weakref
from trainables import heap

class Large:
    pass

gc.disable()
garbage, kept = Large(), Large()
garbage.itself, kept.itself = garbage, kept
gone, there = weakref.ref(garbage), weakref.ref(kept)
del garbage
heap.settle()
assert gone() is None and there() is kept
assert gc.get_freeze_count() > 10_000
gc.enable()
first = gc.get_freeze_count()
more = [[] for _ in range(100)]
heap.settle()
print(gc.get_freeze_count() - first)
"""


def counted(code: str, environment: Mapping[str, str] | None = None) -> int:
    """What a fresh process prints."""
    settings = {name: value for name, value in os.environ.items() if "MALLOC" not in name}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=settings | dict(environment or {}),
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout)


@pytest.fixture(scope="module", autouse=True)
def glibc() -> None:
    """Where the C library is another one nothing is held, and nothing of this can be seen."""
    assert os.confstr("CS_GNU_LIBC_VERSION"), "these tests need glibc"


def test_blocks_that_are_freed_in_every_step_are_asked_for_once() -> None:
    pages = 2 * 6_000_000 * 4 // 4096
    # Of ten times as many: small blocks may come to lie between them.
    assert counted(STEPS.format(held=True)) < 5 * pages


def test_what_the_user_has_set_holds() -> None:
    pages = 2 * 6_000_000 * 4 // 4096
    assert counted(STEPS.format(held=False), {"MALLOC_TRIM_THRESHOLD_": "131072"}) > 8 * pages


def test_much_that_is_free_is_given_back() -> None:
    assert counted(GIVEN_BACK) > 600_000_000


def test_holes_are_given_back_once() -> None:
    pages = 4_000_000 * 4 // 4096
    assert counted(HOLES) < 10 * pages  # not in each of twenty turns


def test_nothing_is_held_where_it_matters_what_fits() -> None:
    assert counted(EXACT.format(within="heap.exact()")) < 20_000_000
    assert counted(EXACT.format(within="contextlib.nullcontext()")) > 100_000_000


def test_giving_back_begins_nothing() -> None:
    assert counted(NOT_HELD) == 0


def test_what_stays_is_passed_over_and_garbage_goes() -> None:
    assert counted(SETTLED) == 0
