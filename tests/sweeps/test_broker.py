"""The broker's book-keeping, call by call."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from sweeps.engine.lanes.broker import BARREN, Broker
from sweeps.engine.race import RESTARTS

LAST = {"rows": [], "status": "completed", "reason": None, "error": None}


def run(work: Coroutine[Any, Any, None]) -> None:
    # In a thread: the main one may have a loop of its own, a browser's.
    with ThreadPoolExecutor(max_workers=1) as pool:
        pool.submit(asyncio.run, asyncio.wait_for(work, 20)).result()


def test_a_job_goes_to_all_workers_of_a_crew_and_its_words_to_the_trial() -> None:
    async def work() -> None:
        broker = Broker()
        ticket = await broker.submit("a", "job a", 2)
        generation = await broker.muster("crew-1")
        assert generation == 1
        other = asyncio.create_task(broker.take("crew-1", 1, 1, 0))
        assert await broker.take("crew-1", 1, 0, 0) == ("job a", 2)
        assert await other == ("job a", 2)
        assert await broker.census() == (0, 0, ["crew-1"])
        await broker.tell("crew-1", "a", {"rows": [1]})
        assert await broker.message("a", ticket, 0) == {"rows": [1]}
        await broker.finished("crew-1", "a", LAST)
        assert await broker.message("a", ticket, 1) == {**LAST, "deaths": 0}
        await broker.withdraw("a", ticket)
        assert await broker.message("a", ticket, 0) is None
        assert await broker.census() == (0, 1, ["crew-1"])

    run(work())


def test_a_job_of_a_dead_group_comes_first_again_and_not_for_ever() -> None:
    async def work() -> None:
        broker = Broker()
        ticket = await broker.submit("a", "job a", 1)
        await broker.submit("b", "job b", 1)
        for generation in range(1, RESTARTS + 2):
            assert await broker.muster("crew-1") == generation
            assert await broker.take("crew-1", generation, 0, 0) == ("job a", 1)
        generation = await broker.muster("crew-1") or 0
        assert await broker.take("crew-1", generation, 0, 0) == ("job b", 1)
        last = await broker.message("a", ticket, 0)
        assert last is not None
        assert (last["status"], last["deaths"]) == ("failed", RESTARTS + 1)
        assert f"a worker died {RESTARTS + 1} times" in last["reason"]

    run(work())


def test_a_worker_of_a_dead_group_gets_no_job_of_the_next() -> None:
    async def work() -> None:
        broker = Broker()
        await broker.muster("crew-1")
        waiting = asyncio.create_task(broker.take("crew-1", 1, 1, 0))
        await asyncio.sleep(0)
        assert await broker.muster("crew-1") == 2
        assert await waiting is None
        with pytest.raises(LookupError, match="generation 1 is not known"):
            await broker.take("crew-1", 1, 0, 0)

    run(work())


def test_the_first_worker_of_a_dead_group_takes_no_job_from_the_next() -> None:
    """It waited in the broker when its group died; the job that comes then is not lost with it."""

    async def work() -> None:
        broker = Broker()
        await broker.muster("crew-1")
        gone = asyncio.create_task(broker.take("crew-1", 1, 0, 0))
        await asyncio.sleep(0)
        assert await broker.muster("crew-1") == 2
        await broker.submit("a", "job a", 2)
        assert await gone is None
        both = await asyncio.gather(broker.take("crew-1", 2, 0, 0), broker.take("crew-1", 2, 1, 0))
        assert both == [("job a", 2), ("job a", 2)]
        await broker.finished("crew-1", "a", LAST)
        await broker.submit("b", "job b", 2)
        both = await asyncio.gather(broker.take("crew-1", 2, 0, 1), broker.take("crew-1", 2, 1, 1))
        assert both == [("job b", 2), ("job b", 2)]

    run(work())


def test_a_broker_that_was_started_anew_does_not_deal_what_a_crew_has_under_way() -> None:
    async def work() -> None:
        broker = Broker()
        ticket = await broker.submit("a", "job a", 1)  # its trial asks again; the crew has never stopped
        await broker.tell("crew-1", "a", {"rows": [3]})
        assert await broker.message("a", ticket, 0) == {"rows": [3]}
        assert await broker.census() == (0, 0, [])

    run(work())


def test_a_crew_that_dies_with_nothing_to_do_is_given_up() -> None:
    async def work() -> None:
        broker = Broker()
        for _ in range(BARREN - 1):
            assert await broker.muster("crew-1") is not None
        await broker.broke("crew-1", "OSError: no route")
        assert await broker.muster("crew-1") is None
        assert await broker.given_up("crew-1") == "OSError: no route"
        assert await broker.given_up("crew-1") is None

    run(work())


def test_an_idle_crew_goes_home_and_all_do_at_the_end() -> None:
    async def work() -> None:
        broker = Broker(idle_seconds=0.05)
        await broker.muster("crew-1")
        first, second = await asyncio.gather(broker.take("crew-1", 1, 0, 0), broker.take("crew-1", 1, 1, 0))
        assert (first, second) == (None, None)
        assert await broker.given_up("crew-1") is None
        ticket = await broker.submit("a", "job a", 1)
        waiting = asyncio.create_task(broker.message("a", ticket, 0))
        await asyncio.sleep(0)
        await broker.close()
        assert await waiting is None
        assert await broker.is_closed()
        assert await broker.muster("crew-2") is None

    run(work())


def test_the_word_on_an_epoch_reaches_the_worker_that_waits() -> None:
    async def work() -> None:
        broker = Broker()
        waiting = asyncio.create_task(broker.verdict("a", 3))
        await asyncio.sleep(0)
        await broker.judged("a", 2, False)
        assert not waiting.done()
        await broker.judged("a", 3, True)
        assert await waiting is True
        await broker.judged("a", 4, False)
        assert await broker.verdict("a", 4) is False

    run(work())


def test_a_trial_that_wants_no_more_stops_its_job() -> None:
    async def work() -> None:
        broker = Broker()
        old = await broker.submit("a", "job a", 1)
        await broker.muster("crew-1")
        await broker.take("crew-1", 1, 0, 0)
        new = await broker.submit("a", "job a", 1)  # its trial was started again
        await broker.tell("crew-1", "a", {"rows": [1]})
        assert await broker.message("a", old, 0) is None
        assert await broker.message("a", new, 0) == {"rows": [1]}
        await broker.withdraw("a", old)
        await broker.judged("a", 1, False)
        assert await broker.verdict("a", 1) is False
        await broker.withdraw("a", new)
        assert await broker.verdict("a", 2) is True
        await broker.finished("crew-1", "a", LAST)
        assert await broker.message("a", new, 0) is None

    run(work())


def test_a_failure_of_one_is_the_last_word_of_all() -> None:
    async def work() -> None:
        broker = Broker()
        failed = {**LAST, "status": "failed", "error": "the cause"}
        after = {**LAST, "status": "failed", "error": "Connection closed by peer"}
        second = asyncio.create_task(broker.settle("m", 1, 3, failed))
        await asyncio.sleep(0)
        words = await asyncio.gather(broker.settle("m", 0, 3, after), broker.settle("m", 2, 3, None), second)
        assert [word and word["error"] for word in words] == ["the cause"] * 3

    run(work())


def test_a_worker_that_does_not_come_back_ends_the_group() -> None:
    async def work() -> None:
        broker = Broker(grace_seconds=0.05)
        failed = {**LAST, "status": "failed", "error": "the cause"}
        assert await asyncio.gather(broker.settle("m", 0, 3, failed), broker.settle("m", 2, 3, None)) == [None, None]
        # Where none has failed, one may take its time.
        slow = asyncio.gather(broker.settle("n", 0, 2, LAST), later(broker, LAST))
        assert await slow == [LAST, LAST]

    async def later(broker: Broker, last: dict[str, Any]) -> Any:
        await asyncio.sleep(0.2)
        return await broker.settle("n", 1, 2, last)

    run(work())


def test_the_word_on_a_gang_s_last_message_is_told_from_none_and_a_new_broker_from_the_old(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def work() -> None:
        broker = Broker()
        assert await broker.identity() == await broker.identity()
        assert await broker.identity() != await Broker().identity()
        await broker.judged("a", 0, True)
        monkeypatch.setattr("sweeps.engine.lanes.broker.VERDICT_SECONDS", 0.01)
        assert await broker.verdict("a", -1) is False  # a worker has died since
        assert await broker.verdict("a", 0) is True
        assert await broker.verdict("a", 0) is False

    run(work())
