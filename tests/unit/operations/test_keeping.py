"""What an agent forgets of its own accord, and what it must not."""

from __future__ import annotations

import asyncio
import time

import pytest
from sqlalchemy import text

from pyobshell.cluster.model import Identity
from pyobshell.operations import keeping
from pyobshell.security.verify import Passwords
from pyobshell.store.audit import Entry
from pyobshell.store.database import Database
from support.agents import a_member, a_view, free_address
from support.undertakings import FORCE_ALL, a_waiting_sub_dag, id_of, wait_end
from support.waiting import Gate, soon

pytestmark = pytest.mark.anyio

DAY = 86400 * 10**9
ADD = text(
    "INSERT INTO dag (name, stage, max_stage, state, operator, maintenance_type, maintenance_key,"
    " params, data, signals, start_time, end_time)"
    " VALUES (:name, 1, 1, :state, 'RUN', :locking, '', '{}', '{}', '[]', 1, :end)"
)


@pytest.fixture
async def alone(start_member):
    return await start_member(zones=["zone1"], dag_keep=3)


@pytest.fixture
def store(alone):
    """The agent's own store, as its timer has it."""
    database = Database.sqlite(alone.site.settings.paths.database)
    yield database
    database.close()


async def add(store, days, *, name="Stop OB", state="SUCCEED", locking=1):
    """A task that ended so many days ago; returns its number."""
    values = {"name": name, "state": state, "locking": locking}
    end = time.time_ns() - int(days * DAY)
    return await store.write(lambda c: c.execute(ADD, {**values, "end": end}).lastrowid)


async def numbers(host):
    return [dag.id for dag in await host.site.tasks.dags()]


def entry(days):
    return Entry(
        moment=time.time_ns() - int(days * DAY),
        trace_id="t",
        who="root@sys",
        uid=None,
        pid=None,
        client="local",
        method="POST",
        path="/",
        body="{}",
        dag_id=None,
    )


async def test_tasks_go_by_age_and_by_number(alone, store):
    old = [await add(store, 31, state=state) for state in ("SUCCEED", "FAILED")]
    young = [await add(store, 29) for _ in range(5)]
    failed = await add(store, 29, state="FAILED")
    just_ended = [await add(store, 0) for _ in range(4)]
    await keeping.tidy_own_store(alone.site, store)
    assert old[0] not in await numbers(alone)
    assert await numbers(alone) == [failed, *just_ended]
    assert young[-1] < failed  # five newer ones have taken the three places


async def test_what_is_unfinished_or_shown_or_looked_up_later_stays_however_old(alone, store):
    kept = [await add(store, 999, state=state) for state in ("READY", "RUNNING", "PENDING")]
    kept.append(await add(store, 999, state="FAILED", locking=2))
    kept.append(await add(store, 999, name="Local scale out"))
    await add(store, 999, locking=2)
    kept.append(await add(store, 999, locking=2))  # the newest maintenance
    await add(store, 999)
    before = (await alone.api.get("/task/dag/maintain/agent")).data
    await keeping.tidy_own_store(alone.site, store)
    assert sorted(await numbers(alone)) == sorted(kept)
    assert (await alone.api.get("/task/dag/maintain/agent")).data == before


async def test_a_task_that_failed_stays_as_long_as_an_agent_is_held_for_it(alone, store):
    held, other = [await add(store, 99, state="FAILED") for _ in range(2)]
    part = await a_waiting_sub_dag(alone, id_of(alone, held))
    await keeping.tidy_own_store(alone.site, store)
    assert await numbers(alone) == [held, part.id]
    assert other not in await numbers(alone)


async def test_while_an_agent_cannot_be_asked_nothing_that_failed_goes(start_host, keys):
    own, gone = free_address(), free_address()
    members = [a_member(own, keys[0], "zone1"), a_member(gone, keys[1], "zone2")]
    host = await start_host(Identity.CLUSTER_AGENT, members, address=own)
    database = Database.sqlite(host.site.settings.paths.database)
    failed = await add(database, 99, state="FAILED")
    await add(database, 99)
    await keeping.tidy_own_store(host.site, database)
    database.close()
    assert await numbers(host) == [failed]


async def test_records_outlive_their_tasks_and_go_by_age(alone, store):
    answer = await alone.api.post("/ob/stop", FORCE_ALL)
    await wait_end(alone, answer.data["id"])
    for days in (181, 179, 182):
        await alone.site.audit.enter(entry(days))
    aged = text("UPDATE dag SET end_time = 1, maintenance_type = 1")
    await store.write(lambda c: c.execute(aged) and None)
    await keeping.tidy_own_store(alone.site, store)
    assert await numbers(alone) == []
    shown = (await alone.api.get("/audit")).data["contents"]
    assert [(one["number"], one["dag"], one["dag_state"]) for one in shown] == [
        (1, answer.data["id"], None),
        (3, None, None),
    ]


async def test_many_records_go_in_small_transactions(alone, monkeypatch):
    monkeypatch.setattr("pyobshell.store.audit._BATCH", 4)
    for _ in range(9):
        await alone.site.audit.enter(entry(200))
    await alone.site.audit.enter(entry(1))
    assert await alone.site.audit.prune(time.time_ns() - 180 * DAY) == 9
    assert len((await alone.api.get("/audit")).data["contents"]) == 1


async def test_what_goes_wrong_is_left_to_the_next_time(monkeypatch):
    monkeypatch.setattr(keeping, "_PERIOD_S", 0)
    gate, tries = Gate(), 0

    async def work():
        nonlocal tries
        tries += 1
        if tries == 1:
            raise ValueError("the disk is away")
        await gate.pass_through()

    tidying = asyncio.create_task(keeping.every_hour(work))
    await gate.reached()
    tidying.cancel()
    await asyncio.gather(tidying, return_exceptions=True)
    assert tries == 2


async def test_when_the_clock_was_set_ahead_nothing_is_forgotten_for_a_while(monkeypatch):
    monkeypatch.setattr(keeping, "_PERIOD_S", 0)
    days = iter([0, 0, 400, 400, 400, 400])
    began, real = asyncio.Event(), time.time

    class Clock:
        monotonic = staticmethod(time.monotonic)

        @staticmethod
        def time():
            return real() + next(days) * 86400

    worked = []

    async def work():
        worked.append(next(days))
        if len(worked) == 2:
            began.set()
            await asyncio.Event().wait()

    monkeypatch.setattr(keeping, "time", Clock)
    tidying = asyncio.create_task(keeping.every_hour(work))
    await soon(began.wait())
    tidying.cancel()
    await asyncio.gather(tidying, return_exceptions=True)
    # At first; not when the jump was seen, but when it has lasted.
    assert worked == [0, 400]
    assert list(days) == []


async def test_an_agent_tidies_up_when_it_starts(hosts, keys, monkeypatch):
    tidied = asyncio.Event()

    async def tidy(site, database, real=keeping.tidy_own_store):
        await real(site, database)
        tidied.set()

    monkeypatch.setattr(keeping, "tidy_own_store", tidy)
    address = free_address()
    settings = hosts.settings(address)
    hosts.prepare(settings, keys[0])
    store = Database.sqlite(settings.paths.database)
    await add(store, 99)
    kept = await add(store, 0)
    store.close()
    view = a_view(address, Identity.SINGLE, [])
    async with hosts.serve(view, keys[0], Passwords()) as host:
        await soon(tidied.wait())
        left = (await host.local.get("/task/dags/agent")).contents
        assert [one["dag_id"] for one in left] == [kept]
