"""A thread that writes while the run trains on."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self


class Writer:
    """Does one job at a time in a thread of its own; who hands in the next waits until the one before is done.

    What a job raises is raised where the next one is handed in, or at the end.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoints")
        self._under_way: Future[None] | None = None

    def submit(self, job: Callable[[], None]) -> None:
        """Hand in a job."""
        self.wait()
        self._under_way = self._thread.submit(job)

    def wait(self) -> None:
        """Wait for the job under way, and raise what it raised."""
        job, self._under_way = self._under_way, None
        if job is not None:
            job.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for all that was handed in. Where something else went wrong, that is what is told."""
        try:
            self.wait()
        except Exception:
            if kind is None:
                raise
        finally:
            self._thread.shutdown()
