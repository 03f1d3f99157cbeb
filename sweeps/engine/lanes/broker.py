"""The broker: hands jobs to groups of workers and carries their words to the trials that asked."""

from __future__ import annotations

import asyncio
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sweeps.engine.race import RESTARTS

IDLE_SECONDS = 30.0
"""How long a crew without a job keeps its place: longer than the start of another one would take."""

GRACE_SECONDS = 60.0
"""How long the workers of a group, one of which has failed, wait for those that have not come to the end of the job."""

VERDICT_SECONDS = 120.0
"""How long a worker waits for the word on an epoch before it goes on; the driver that would give it may be gone."""

BARREN = 5
"""How often a crew may come together in a row without a job in hand before it is given up."""

Order = tuple[str, int] | None
"""A job as text and its number of workers; None sends a crew home."""


@dataclass(slots=True)
class _Work:
    """A job that was asked for."""

    job: str
    workers: int
    messages: list[Mapping[str, Any]] = field(default_factory=list)
    ticket: int = 0
    crew: str | None = None
    deaths: int = 0
    withdrawn: bool = False


@dataclass(slots=True)
class _Crew:
    """A group of workers that stays."""

    generation: int = 0
    orders: list[tuple[str, Order]] = field(default_factory=list)
    current: str | None = None
    barren: int = 0
    fault: str = ""


class Broker:
    """An actor between trials and workers; every call names all it needs, so one that was started again sends its callers back.

    A job is submitted by a trial, taken by all workers of a crew, told of by the first of them, and settled by all. Jobs of a group
    that died go back to the head of the queue, ``RESTARTS`` times at most.
    """

    def __init__(self, idle_seconds: float = IDLE_SECONDS, grace_seconds: float = GRACE_SECONDS) -> None:
        self._idle_seconds, self._grace_seconds = idle_seconds, grace_seconds
        self._works: dict[str, _Work] = {}
        self._waiting: deque[str] = deque()
        self._crews: dict[str, _Crew] = {}
        self._verdicts: dict[str, dict[int, Any]] = {}
        self._meetings: dict[str, dict[int, Mapping[str, Any] | None]] = {}
        self._closed = False
        self._changed = asyncio.Condition()
        self._identity = uuid.uuid4().hex

    # What trials call.

    async def identity(self) -> str:
        """Another one for a broker that was started again, which knows of nothing before."""
        return self._identity

    async def submit(self, job_id: str, job: str, workers: int) -> int:
        """Ask for a job; the ticket for its messages comes back. Asked for again, it is told of from the first message on."""
        work = self._works.get(job_id)
        if work is None:
            work = self._works[job_id] = _Work(job, workers)
            self._waiting.append(job_id)
        work.ticket += 1
        work.withdrawn = False
        await self._tell_all()
        return work.ticket

    async def message(self, job_id: str, ticket: int, index: int) -> Mapping[str, Any] | None:
        """Message ``index`` of a job, when it is there; None when the job is not known (any more) or all is over."""

        def there() -> bool:
            work = self._works.get(job_id)
            return self._closed or work is None or work.ticket != ticket or len(work.messages) > index

        await self._until(there)
        work = self._works.get(job_id)
        if self._closed or work is None or work.ticket != ticket:
            return None
        return work.messages[index]

    async def withdraw(self, job_id: str, ticket: int) -> None:
        """A trial has what it wanted, or wants no more: a job under way stops at its next word."""
        work = self._works.get(job_id)
        if work is None or work.ticket != ticket:
            return
        work.withdrawn = True
        if work.crew is None:
            self._forget(job_id)
        await self._tell_all()

    # What the driver calls.

    async def judged(self, name: str, number: int, word: Any) -> None:
        """The word on an epoch of a job, or on a message of a pack: whether to stop, or who is to stop and who joins.

        On a gang's last message, which goes by 0 or less, it is that it was heard.
        """
        self._verdicts.setdefault(name, {})[number] = word
        await self._tell_all()

    async def census(self) -> tuple[int, int, list[str]]:
        """How many jobs wait, how many crews do, and the crews that have come together."""
        idle = sum(crew.current is None for crew in self._crews.values())
        return len(self._waiting), idle, list(self._crews)

    async def close(self) -> None:
        """Send all home."""
        self._closed = True
        await self._tell_all()

    async def is_closed(self) -> bool:
        """True when all were sent home."""
        return self._closed

    async def given_up(self, crew: str) -> str | None:
        """Why a crew that could not stay alive went home, empty where nothing is known; None for one that was sent."""
        known = self._crews.pop(crew, None)
        return known.fault if known is not None and known.barren >= BARREN else None

    # What workers call.

    async def muster(self, name: str) -> int | None:
        """A crew has come together, for the first time or again after a death: its generation, None to go home."""
        crew = self._crews.setdefault(name, _Crew())
        crew.generation += 1
        crew.orders.clear()
        if crew.current is None:
            crew.barren += 1
        else:
            self._died(crew.current, crew.fault)
            crew.current, crew.fault = None, ""
        await self._tell_all()
        return None if self._closed or crew.barren >= BARREN else crew.generation

    async def take(self, name: str, generation: int, rank: int, number: int) -> Order:
        """Order ``number`` of a crew, the same for all its workers; the first of them draws it.

        Raises LookupError for a crew that this broker has not mustered: it must come together again.
        """
        crew = self._crews.get(name)
        if crew is None or crew.generation != generation:
            raise LookupError(f"crew {name}, generation {generation} is not known here")
        if rank == 0:
            found = await self._until(
                lambda: self._closed or crew.generation != generation or bool(self._waiting), self._idle_seconds
            )
            if crew.generation != generation:
                return None  # this worker is gone; the orders are those of the workers that came after it
            if found and not self._closed:
                crew.current = job_id = self._waiting.popleft()
                work = self._works[job_id]
                work.crew = name
                crew.orders.append((job_id, (work.job, work.workers)))
            else:
                crew.orders.append(("", None))
            await self._tell_all()
        await self._until(lambda: len(crew.orders) > number or crew.generation != generation)
        return crew.orders[number][1] if crew.generation == generation else None

    async def tell(self, name: str, job_id: str, message: Mapping[str, Any]) -> None:
        """A word of a job that this crew has under way: a broker that was started anew must not deal it again."""
        work = self._works.get(job_id)
        if work is None:
            return
        if job_id in self._waiting:
            self._waiting.remove(job_id)
            work.crew = name
        work.messages.append(message)
        await self._tell_all()

    async def verdict(self, job_id: str, epoch: int) -> Any:
        """The driver's word on an epoch: True stops the job; of a pack's message, who is to stop and who joins.

        Without one in ``VERDICT_SECONDS`` all go on.
        """

        def withdrawn() -> bool:
            work = self._works.get(job_id)
            return work is not None and work.withdrawn

        await self._until(lambda: withdrawn() or epoch in self._verdicts.get(job_id, {}), VERDICT_SECONDS)
        words = self._verdicts.get(job_id, {})
        word = words.pop(epoch, False)
        if not words:
            self._verdicts.pop(job_id, None)
        return withdrawn() or word

    async def settle(
        self, meeting: str, rank: int, size: int, last: Mapping[str, Any] | None
    ) -> Mapping[str, Any] | None:
        """Wait for the last words of all workers on a job: the first failure that came in, else the first worker's.

        A worker that took no part gives None. None comes back when one of the others does not come: the group cannot go on.
        """
        said = self._meetings.setdefault(meeting, {})
        said[rank] = last
        await self._tell_all()

        def failed() -> list[Mapping[str, Any]]:
            return [words for words in said.values() if words is not None and words["error"] is not None]

        def over() -> bool:
            return len(said) == size or meeting not in self._meetings

        # A worker may take its time, to export something say; one that was left by a failure of another may never come.
        await self._until(lambda: over() or bool(failed()))
        if last is not None and not over():
            await self._until(over, self._grace_seconds)
        elif last is None:
            await self._until(over)
        self._meetings.pop(meeting, None)
        await self._tell_all()
        if len(said) < size:
            return None
        return failed()[0] if failed() else said[0]

    async def broke(self, name: str, said: str) -> None:
        """What one of a crew's workers raised outside of any job, before the crew comes together again."""
        crew = self._crews.get(name)
        if crew is not None and not crew.fault:
            crew.fault = said

    async def finished(self, name: str, job_id: str, last: Mapping[str, Any]) -> None:
        """A crew has ended a job."""
        crew, work = self._crews.get(name), self._works.get(job_id)
        if crew is not None:
            crew.current, crew.barren, crew.fault = None, 0, ""
        if work is not None:
            work.messages.append({**last, "deaths": work.deaths})
            work.crew = None
            if work.withdrawn:
                self._forget(job_id)
        await self._tell_all()

    def _died(self, job_id: str, fault: str) -> None:
        """The group that had this job is gone."""
        work = self._works.get(job_id)
        if work is None:
            return
        work.crew = None
        work.deaths += 1
        if work.withdrawn:
            self._forget(job_id)
        elif work.deaths <= RESTARTS:
            self._waiting.appendleft(job_id)
        else:
            cause = fault or "killed from outside, or out of memory"
            reason = f"a worker died {work.deaths} times ({cause}); the last checkpoint is kept"
            work.messages.append(
                {"rows": [], "status": "failed", "reason": reason, "error": reason, "deaths": work.deaths}
            )

    def _forget(self, job_id: str) -> None:
        self._works.pop(job_id, None)
        self._verdicts.pop(job_id, None)
        if job_id in self._waiting:
            self._waiting.remove(job_id)

    async def _tell_all(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _until(self, condition: Callable[[], bool], seconds: float | None = None) -> bool:
        """Wait for a condition; False when it did not come in time."""
        async with self._changed:
            try:
                await asyncio.wait_for(self._changed.wait_for(condition), seconds)
            except TimeoutError:
                return False
        return True
