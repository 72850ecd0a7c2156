"""Why the server could not be started is on record for as long as it cannot."""

from __future__ import annotations

import asyncio
from contextlib import closing
from sqlite3 import connect

import pytest

from pyobshell import errors
from pyobshell.cluster.peers import ignore
from pyobshell.engines.base import ObState
from support.waiting import in_time, soon

pytestmark = pytest.mark.anyio
DOWN = ObState.PROCESS_NOT_RUNNING
NO_MEMORY = errors.SERVER_UNAVAILABLE(reason="no memory")


class Starts:
    """The server's starts: they fail with what ``why`` says of each, by its number."""

    def __init__(self, engine):
        self.why = lambda number: None
        self._engine, self._start = engine, engine.start
        self._number = 0
        self._tried = asyncio.Condition()
        engine.start = self.start

    async def start(self, config, log, deadline):
        async with self._tried:
            self._number += 1
            self._tried.notify_all()
        why = self.why(self._number)
        if why is not None:
            raise errors.SERVER_UNAVAILABLE(reason=why)
        await self._start(config, log, deadline)

    async def tried(self, more):
        """Return once the server was started so many times more, and that is on record."""
        async with self._tried:
            last = self._number + more + 1  # begun, so that the one before has ended
            await soon(self._tried.wait_for(lambda: self._number >= last))


@pytest.fixture
async def host(start_member, monkeypatch):
    """A member whose server was deployed and is down; it is started again without a pause."""
    for pause in ("_FIRST_PAUSE_S", "_LONGEST_PAUSE_S"):
        monkeypatch.setattr(f"pyobshell.operations.keeper.{pause}", 0)
    return await start_member(zones=("zone1",), running=False)


@pytest.fixture
def starts(host):
    return Starts(host.engine)


def recorded(host, name):
    """A setting as it is on disk."""
    with closing(connect(host.agent.paths.database)) as database:
        query = "SELECT value FROM setting WHERE name = ?"
        found = database.execute(query, (name,)).fetchone()
    return found and found[0]


async def test_an_order_that_fails_does_not_hide_why_restarts_fail(host, starts):
    starts.why = lambda _: "no memory"
    await host.site.cluster.want_server(True)
    await host.site.keeper.resume()
    await starts.tried(2)
    assert "no memory" in recorded(host, "failed_start")
    with pytest.raises(errors.OBShellError):
        await host.site.keeper.start(ignore, in_time())
    assert "no memory" in recorded(host, "failed_start")
    await starts.tried(2)
    assert "no memory" in recorded(host, "failed_start")
    assert recorded(host, "server_wanted") == "yes"


async def test_a_server_that_dies_of_the_same_again_says_so_again(host, starts):
    starts.why = lambda _: "no memory"
    await host.site.cluster.want_server(True)
    await host.site.keeper.resume()
    await starts.tried(1)
    starts.why = lambda _: None
    await host.site.keeper.start(ignore, in_time())
    assert recorded(host, "failed_start") is None
    starts.why = lambda _: "no memory"
    host.engine.set_state(DOWN)
    await starts.tried(1)
    assert "no memory" in recorded(host, "failed_start")


async def test_a_cause_is_written_once_though_its_time_and_process_are_others_each_time(
    host, starts
):
    cause = "seekdb ended while starting: [{0}:30:12] ERROR load (m.cpp:7) [{0}][T{0}] [lt=3] {1}"
    what = "bad block"
    starts.why = lambda number: cause.format(number, what)
    await host.site.cluster.want_server(True)
    await host.site.keeper.resume()
    await starts.tried(1)
    first, changes = recorded(host, "failed_start"), recorded(host, "essential_changes")
    await starts.tried(4)
    assert recorded(host, "failed_start") == first
    assert recorded(host, "essential_changes") == changes
    what = "no memory"
    await starts.tried(2)
    assert "no memory" in recorded(host, "failed_start")


async def test_what_an_earlier_life_has_noted_is_off_the_record_when_the_server_is_up(host, starts):
    await host.site.cluster.want_server(True, "no memory")
    await host.site.cluster.load()
    assert host.site.cluster.failed_start == "no memory"
    await host.site.keeper.resume()
    await host.engine.serves()
    host.engine.set_state(DOWN)
    await host.engine.serves()
    assert recorded(host, "failed_start") is None


@pytest.mark.parametrize(("wanted", "why"), [(False, "it was cancelled"), (True, None)])
async def test_a_start_that_is_cancelled_is_no_cause_where_it_is_tried_again(host, wanted, why):
    await host.site.cluster.want_server(wanted)
    gate = host.engine.hold("start")
    starting = asyncio.create_task(host.site.keeper.start(ignore, in_time()))
    await gate.reached()
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(starting)
    assert recorded(host, "failed_start") == why
    assert host.site.cluster.server_wanted is wanted
