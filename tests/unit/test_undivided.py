"""What belongs together is done to its end, whoever gives up meanwhile."""

from __future__ import annotations

import asyncio

import pytest

from pyobshell.undivided import Undivided
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
