"""What belongs together is done to its end, whoever gives up meanwhile."""

from __future__ import annotations

import asyncio
import gc

import pytest

from pyobshell.undivided import OnceForAll, Shared, Undivided
from support.staging import turns
from support.waiting import Gate, soon

pytestmark = pytest.mark.anyio


@pytest.fixture
def noise(monkeypatch):
    """What the event loop complains of."""
    complaints = []

    async def listen():
        asyncio.get_running_loop().set_exception_handler(lambda _, what: complaints.append(what))

    return listen, complaints


async def test_the_result_or_the_error_is_the_callers():
    async def fails():
        raise ValueError("no")

    undivided = Undivided()
    assert await undivided.do(asyncio.sleep(0, "yes")) == "yes"
    with pytest.raises(ValueError, match="no"):
        await undivided.do(fails())


@pytest.mark.parametrize("fails", [False, True])
async def test_work_goes_on_when_its_caller_gives_up_and_nobody_complains(noise, fails):
    listen, complaints = noise
    await listen()
    gate, done = Gate(), []

    async def work():
        await gate.pass_through()
        done.append("done")
        if fails:
            raise ValueError("nobody wants to know")

    undivided = Undivided()
    caller = asyncio.create_task(undivided.do(work()))
    await gate.reached()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert done == []
    gate.open()
    await soon(undivided.settled())
    assert done == ["done"]
    assert complaints == []


async def test_what_is_abandoned_has_ended():
    gate = Gate()
    undivided = Undivided()
    undivided.begin(gate.pass_through())
    await gate.reached()
    await soon(undivided.abandon())
    await gate.given_up()


async def test_once_all_is_abandoned_nothing_begins():
    begun = []

    async def work():
        begun.append("begun")

    undivided = Undivided()
    await undivided.abandon()
    undivided.begin(work())
    await soon(undivided.settled())
    assert begun == []


async def test_what_several_want_is_done_once_and_its_error_is_told_to_those_who_wait(noise):
    listen, complaints = noise
    await listen()
    gate, begun, once = Gate(), [], OnceForAll()

    async def work():
        begun.append("begun")
        await gate.pass_through()
        raise ValueError("no")

    impatient, patient = (asyncio.create_task(once.do("this", work)) for _ in range(2))
    await gate.reached()
    impatient.cancel()
    gate.open()
    with pytest.raises(ValueError, match="no"):
        await soon(patient)
    assert impatient.cancelled()
    assert begun == ["begun"]
    assert complaints == []


async def test_of_an_error_of_what_nobody_waits_for_any_more_nobody_complains(noise):
    listen, complaints = noise
    await listen()
    gate, once = Gate(), OnceForAll()

    async def work():
        await gate.pass_through()
        raise ValueError("nobody wants to know")

    asking = asyncio.create_task(once.do("this", work))
    await gate.reached()
    asking.cancel()
    await asyncio.wait({asking})
    gate.open()
    await turns(10)
    del asking
    gc.collect()
    assert complaints == []


async def test_who_asks_at_once_shares_a_look_and_who_asks_later_gets_another():
    gate, looks = Gate(), 0

    async def look():
        nonlocal looks
        looks += 1
        mine = looks
        await gate.pass_through()
        return mine

    shared = Shared(look)
    first = [asyncio.create_task(shared.see()) for _ in range(3)]
    await gate.reached()
    later = [asyncio.create_task(shared.see()) for _ in range(3)]
    await turns(3)
    later[0].cancel()
    gate.open()
    assert await soon(asyncio.gather(*first)) == [1, 1, 1]
    assert await soon(asyncio.gather(*later[1:])) == [2, 2]


async def test_a_look_that_fails_is_not_the_last():
    outcomes = iter([ValueError("no"), "yes"])

    async def look():
        outcome = next(outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    shared = Shared(look)
    with pytest.raises(ValueError, match="no"):
        await shared.see()
    assert await shared.see() == "yes"
