from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import threading

import pytest

from pyobshell import errors
from pyobshell.security.turns import CryptoTurns, Sender, Standing
from support.staging import turns as loop_turns
from support.waiting import soon

pytestmark = pytest.mark.anyio
HOST = "10.0.0.1"


@pytest.fixture
def turns():
    made = CryptoTurns()
    yield made
    made.close()


@contextlib.asynccontextmanager
async def occupied(turns, ends):
    """The threads have work until these are set."""
    working = [asyncio.create_task(turns.run(Sender(HOST), 1, end.wait)) for end in ends]
    await loop_turns(3)
    yield
    for end in ends:
        end.set()
    await asyncio.gather(*working)


@pytest.fixture
async def blocked(turns):
    """Both threads have work until this is set."""
    end = threading.Event()
    async with occupied(turns, [end, end]):
        yield end


@pytest.fixture
async def one_by_one(turns):
    """Both threads have work; one of them until this is set, and does all that is done then."""
    end = threading.Event()
    async with occupied(turns, [end, threading.Event()]):
        yield end


async def test_what_it_does_is_the_callers(turns):
    assert await soon(turns.run(Sender(HOST), 1, divmod, 7, 2)) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await soon(turns.run(Sender(HOST), 1, divmod, 7, 0))


async def test_what_costs_little_goes_first_and_then_who_came_first(turns, one_by_one):
    done = []
    waiting = []
    for name, cost in (("huge", 48), ("large", 20), ("one", 3), ("two", 8), ("three", 1)):
        waiting.append(asyncio.create_task(turns.run(Sender(HOST), cost, done.append, name)))
        await loop_turns(3)
    assert done == []
    one_by_one.set()
    await soon(asyncio.wait(waiting))
    assert done == ["one", "two", "three", "huge", "large"]


async def test_who_asks_for_much_does_not_keep_others_waiting(turns, one_by_one):
    done = []
    waiting = []
    senders = ["flood"] * 4 + ["other", "flood", "other", "third"]
    for number, sender in enumerate(senders):
        name = f"{sender} {number}"
        unproven = Sender(sender, standing=Standing.UNPROVEN)
        waiting.append(asyncio.create_task(turns.run(unproven, 3, done.append, name)))
        await loop_turns(3)
    one_by_one.set()
    await soon(asyncio.wait(waiting))
    firsts = ["flood 0", "other 4", "third 7"]
    assert done == [*firsts, "flood 1", "other 6", "flood 2", "flood 3", "flood 5"]


async def test_who_comes_anew_or_was_let_in_does_not_wait_for_all_others_of_his_network(
    turns, one_by_one
):
    done = []
    waiting = []
    unproven, new, let_in = Standing.UNPROVEN, Standing.NEW, Standing.LET_IN
    standings = [unproven] * 3 + [new] * 4 + [let_in] * 2
    senders = [Sender(HOST, standing=standing) for standing in standings]
    for number, sender in enumerate(senders):
        name = f"{sender.standing.name} {number}"
        waiting.append(asyncio.create_task(turns.run(sender, 3, done.append, name)))
        await loop_turns(3)
    one_by_one.set()
    await soon(asyncio.wait(waiting))
    assert done == [
        *("LET_IN 7", "LET_IN 8"),
        *("NEW 3", "UNPROVEN 0", "NEW 4", "NEW 6"),
        *("NEW 5", "UNPROVEN 1", "UNPROVEN 2"),
    ]
    assert {sender.standing for sender in senders} == {unproven}


async def test_who_was_let_in_waits_for_no_stranger_wherever_he_is_and_whatever_he_asks(
    turns, one_by_one
):
    done = []
    senders = [Sender(f"network {number}") for number in range(5)]
    senders.append(Sender(HOST, standing=Standing.LET_IN))
    waiting = []
    for sender, cost in zip(senders, [1] * 5 + [20], strict=True):
        waiting.append(asyncio.create_task(turns.run(sender, cost, done.append, sender.network)))
        await loop_turns(3)
    one_by_one.set()
    await soon(asyncio.wait(waiting))
    assert done == [HOST, *(f"network {number}" for number in range(5))]


async def test_who_has_been_served_is_again_while_others_keep_coming_from_everywhere(turns):
    numbers = itertools.count()

    async def keep_coming():
        while True:
            await turns.run(Sender(f"network {next(numbers)}"), 3, abs, -1)

    strangers = [asyncio.create_task(keep_coming()) for _ in range(5)]
    try:
        for _ in range(5):
            await soon(turns.run(Sender(HOST), 3, abs, -1))
        assert len(turns._small._shares) < 50
    finally:
        for stranger in strangers:
            stranger.cancel()
        await soon(asyncio.wait(strangers))


async def test_what_costs_much_has_its_turn_and_one_thread_at_the_most(turns, blocked):
    done, end = [], threading.Event()
    waiting = [asyncio.create_task(turns.run(Sender(HOST), 20, end.wait)) for _ in range(2)]
    await loop_turns(3)
    for number in range(50):
        waiting.append(asyncio.create_task(turns.run(Sender(HOST), 1, done.append, number)))
    await loop_turns(3)
    blocked.set()
    try:
        await soon(asyncio.wait(waiting[2:]))
        assert turns._has_large
        assert turns._free == 1
    finally:
        end.set()
    assert await soon(asyncio.gather(*waiting[:2])) == [True] * 2
    assert not turns._has_large


async def test_a_large_one_has_its_turn_while_small_ones_keep_coming(turns):
    async def keep_coming():
        while True:
            await turns.run(Sender(HOST), 3, abs, -1)

    strangers = [asyncio.create_task(keep_coming()) for _ in range(5)]
    await loop_turns(3)
    try:
        assert await soon(turns.run(Sender(HOST), 20, abs, -1)) == 1
    finally:
        for stranger in strangers:
            stranger.cancel()
        await soon(asyncio.wait(strangers))


async def test_while_some_wait_the_event_loop_comes_first(turns, blocked):
    def niceness():
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    own = niceness()
    waiting = asyncio.create_task(turns.run(Sender(HOST), 1, niceness))
    await loop_turns(3)
    blocked.set()
    assert await soon(waiting) > own
    assert await soon(turns.run(Sender(HOST), 1, niceness)) == own


async def test_who_has_given_up_takes_nobodys_turn(turns, one_by_one):
    done = []
    given_up = asyncio.create_task(turns.run(Sender(HOST), 1, done.append, "given up"))
    await loop_turns(3)
    last = asyncio.create_task(turns.run(Sender(HOST), 1, done.append, "last"))
    await loop_turns(3)
    given_up.cancel()
    one_by_one.set()
    await soon(last)
    assert done == ["last"]
    assert (
        await soon(asyncio.gather(*(turns.run(Sender(HOST), 1, abs, -1) for _ in range(10))))
        == [1] * 10
    )


async def test_for_who_has_hung_up_before_his_turn_nothing_is_done(turns, one_by_one):
    done, gone = [], asyncio.get_running_loop().create_future()
    waiting = asyncio.create_task(turns.run(Sender(HOST, gone), 1, done.append, "gone"))
    await loop_turns(3)
    gone.set_result(None)
    with pytest.raises(errors.OBShellError, match="hung up"):
        await soon(waiting)
    one_by_one.set()
    await soon(turns.run(Sender(HOST), 1, done.append, "last"))
    assert done == ["last"]
    assert turns._small._shares == {}
    assert turns._small._order == []


async def test_those_who_have_hung_up_do_not_add_up_while_others_go_first(turns, blocked):
    for number in range(900):
        gone = asyncio.get_running_loop().create_future()
        sender = Sender(f"network {number % 300}", gone)
        waiting = asyncio.create_task(turns.run(sender, 20, abs, -1))
        await loop_turns(1)
        gone.set_result(None)
        with pytest.raises(errors.OBShellError, match="hung up"):
            await soon(waiting)
    kept = turns._large._shares.values()
    assert sum(len(share.new) + len(share.others) for share in kept) <= 300
    assert len(turns._large._order) == len(kept)


async def test_when_the_agent_goes_down_nobody_waits_any_more(turns, blocked):
    waiting = [asyncio.create_task(turns.run(Sender(HOST), cost, abs, -1)) for cost in (1, 20)]
    await loop_turns(3)
    turns.go_down()
    waiting.append(asyncio.create_task(turns.run(Sender(HOST), 1, abs, -1)))
    for one in waiting:
        with pytest.raises(errors.OBShellError, match="goes down"):
            await soon(one)
    blocked.set()


async def test_a_turn_that_has_just_come_to_who_gives_up_goes_to_the_next(turns, blocked):
    first, second = (asyncio.create_task(turns.run(Sender(HOST), 1, abs, n)) for n in (-1, -2))
    await loop_turns(3)
    turns._pass_on(was_large=False)
    first.cancel()
    blocked.set()
    assert await soon(second) == 2
