"""The next batches are made while the model learns from this one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Event, Semaphore, Thread
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")

MOST = 4
"""Threads at most when their number is not given: they copy memory, of which a few fill the bus."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Prefetch:
    """Up to ``depth`` batches are looked up, and put into pinned memory for a GPU, in threads beside the training.

    The batches are the same, in the same order. ``workers`` threads look up what lies in the CPU's memory or on disk; None takes
    as many as this process has cores to spare, 4 at most. A stream is read by one. Threads start with an epoch in microseconds,
    so none are kept from one to the next. Tensors that lie on the GPU as a whole need no look-up and pass by.
    """

    depth: int = 2
    workers: int | None = None

    def threads(self) -> int:
        """How many threads look up."""
        if self.workers is not None:
            return self.workers
        import torch

        return min(MOST, max(1, torch.get_num_threads() - 1))

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        if not isinstance(self.depth, int) or self.depth < 1:
            yield f"Prefetch depth {self.depth} must be a whole number of batches from 1; prefetch=None switches it off"
        if self.workers is not None and (not isinstance(self.workers, int) or self.workers < 1):
            yield f"Prefetch workers {self.workers} must be a whole number from 1; None takes what cores there are"


def prefetched(items: Iterable[T], depth: int) -> Iterator[T]:
    """The items in their order, made in a thread that is up to ``depth`` of them ahead; what it raises is raised here.

    Closed early, it waits for the item that is being made and lets the thread end.
    """
    done: SimpleQueue[tuple[T] | BaseException | None] = SimpleQueue()
    room, closed = Semaphore(depth), Event()

    def make() -> None:
        try:
            stream = iter(items)
            while room.acquire() and not closed.is_set():
                try:
                    item = next(stream)
                except StopIteration:
                    break
                done.put((item,))
        except BaseException as error:
            done.put(error)
        else:
            done.put(None)

    thread = Thread(target=make, name="prefetch", daemon=True)
    thread.start()
    try:
        while (found := done.get()) is not None:
            if isinstance(found, BaseException):
                raise found
            room.release()
            yield found[0]
    finally:
        closed.set()
        room.release()
        thread.join()


def looked_up(rows: Iterable[Tensor], take: Callable[[Tensor], T], depth: int, workers: int) -> Iterator[T]:
    """What ``take`` gives for each of the ``rows``, in their order, up to ``depth`` ahead in ``workers`` threads."""
    pool = ThreadPoolExecutor(workers, thread_name_prefix="prefetch")
    try:
        waiting: deque[Future[T]] = deque()
        for asked in rows:
            waiting.append(pool.submit(take, asked))
            if len(waiting) > depth:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
