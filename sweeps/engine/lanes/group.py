"""What the workers of one group do with a job, whichever lane started them."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch.distributed as dist

from analysis.records import Stage, Status
from sweeps.engine.job import Job
from sweeps.engine.trial import ATTEMPTS, Message, Runner, tried

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

Send = Callable[[Message], None]
"""Sends a message on its way to the driver; called in every worker, what the first one sends counts."""


class Group:
    """One of ``size`` workers that Ray Train has joined by torch's process group, as it runs jobs with the others.

    A job may use fewer workers than there are: the rest wait. ``broker`` is the handle of the Broker's actor.
    """

    def __init__(self, runner: Runner, broker: Any, *, rank: int, size: int) -> None:
        self._runner, self._broker, self._rank, self._size = runner, broker, rank, size
        self._joined: dict[int, ProcessGroup] = {}

    def run(self, job: Job, *, workers: int, name: str, send: Send) -> Message:
        """The last message of a job, the same in every worker.

        An exception in one worker is one of all, and the job is tried again from its checkpoint. ``name`` tells this run from every
        other. Raises RuntimeError when a worker does not come back from the job: the group must be started anew.
        """
        import ray

        attempts = 0
        while True:
            attempts += 1
            outcome = self._attempt(job, workers, send)
            settled = self._broker.settle.remote(f"{name}/{attempts}", self._rank, self._size, outcome)
            if outcome is not None and outcome["error"] is not None:
                self._part(workers)  # the others may still wait for this one
            last: Message | None = ray.get(settled)
            if last is None:
                own = (
                    f"; this one says {outcome['reason']}"
                    if outcome is not None and outcome["error"] is not None
                    else ""
                )
                raise RuntimeError(f"a worker did not come back from job {job.id}{own}")
            if last["error"] is not None:
                self._part(workers)
            if last["status"] != Status.FAILED or last["hopeless"] or attempts == ATTEMPTS:
                return tried(last, attempts)

    def _attempt(self, job: Job, workers: int, send: Send) -> Message | None:
        """Run once; the last message comes back, None from a worker that takes no part."""
        import ray
        from ray.train.torch import get_device

        from trainables.world import World

        waits = job.stage is Stage.HEAT and self._runner.sweep.early_stop is not None

        def tell(message: Message) -> bool:
            # A failure of the first worker is met here, where leaving the process group wakes the others, and not inside ``send``.
            world.told(None)
            epoch = message["rows"][-1]["epoch"] if waits else None
            send({**message, "waits": epoch})
            if not waits or self._rank > 0:
                return False
            return bool(ray.get(self._broker.verdict.remote(job.id, epoch)))

        world = World(rank=self._rank, size=workers, group=self._group(workers))
        if self._rank >= workers:
            return None
        return self._runner.attempt(job, tell, world=world, device=get_device())

    def _group(self, workers: int) -> ProcessGroup | None:
        """The process group of the first ``workers``; all of this group must ask for it together. None for one worker."""
        if workers == 1:
            return None
        if workers not in self._joined:
            # Never the default group, which could not be left and made anew.
            self._joined[workers] = dist.new_group(list(range(workers)))
        return self._joined[workers]

    def _part(self, workers: int) -> None:
        """Leave a process group, so that nobody waits in it; the next job makes it anew."""
        joined = self._joined.pop(workers, None)
        if joined is not None and self._rank < workers:
            dist.destroy_process_group(joined)
            # gloo closes its connections, which wakes who waits at their other ends, when the last reference is gone.
            del joined
            gc.collect()
