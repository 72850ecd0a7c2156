"""A lock whose main DAG has ended without it is let go, and of rivals for locks one gets all."""

from __future__ import annotations

import asyncio
import dataclasses
import time

import pytest

from pyobshell import errors
from pyobshell.address import Address
from pyobshell.cluster.procedures import Caller
from pyobshell.deadline import Deadline
from pyobshell.operations import release
from pyobshell.operations.release import MainDag
from pyobshell.operations.sub_dag import advance, end, holds, prepare, resume, watch
from pyobshell.security.keyring import life_of
from pyobshell.tasks.ids import GenericId
from pyobshell.tasks.model import Operator, State
from pyobshell.wire import NANOSECONDS
from support.agents import free_address
from support.undertakings import (
    FORCE_ALL,
    a_failed_sub_dag,
    a_part,
    a_waiting_sub_dag,
    id_of,
    locked,
    states,
    stop,
    wait_end,
)
from support.waiting import PATIENCE_S, soon

pytestmark = pytest.mark.anyio


@pytest.fixture
async def host(start_member):
    """The only member of its cluster."""
    return await start_member(zones=("zone1",))


def caller(host, address=None, key=None):
    key = key or host.site.key.public_text
    return Caller(address or host.address, key, True, Deadline.after(PATIENCE_S), lambda line: None)


def main_dag(host, number):
    return MainDag(number=number, life=life_of(host.site.key.public_text))


async def prepared(host, main_dag_id, key=None, attempt=1):
    """The number of the sub DAG that an agent makes for a main DAG."""
    part = a_part(main_dag_id).model_copy(update={"attempt": attempt})
    made = await prepare.handler(host.site, caller(host, key=key), part)
    return GenericId.parse(made.id).number


async def is_let_go(host, number):
    """Return once a sub DAG has ended and its lock is free."""

    def passed(dag):
        return True if dag.state is State.SUCCEED else None

    await host.site.tasks.wait(number, passed, Deadline.after(PATIENCE_S))
    assert await locked([host]) == [False]


# --- what nobody ends ----------------------------------------------------------------------------


async def test_an_agent_that_is_told_to_prepare_too_late_lets_itself_go(host):
    dag = await stop(host, {"type": "GLOBAL"}, force=True)
    assert dag["state"] == "SUCCEED"
    host.engine.start_afresh()
    number = await prepared(host, dag["id"])
    assert await locked([host]) == [True]
    await is_let_go(host, number)
    assert host.engine.deeds == []


async def test_a_lock_is_looked_after_also_when_the_database_could_not_be_read(host, monkeypatch):
    monkeypatch.setattr(release, "_FIRST_LOOK_S", 0.01)
    real, failed = host.site.tasks.wait, asyncio.Event()

    async def fail_once(*question):
        if failed.is_set():
            return await real(*question)
        failed.set()
        raise errors.STORE_UNAVAILABLE(file="meta.db", cause="reading it fails", base_dir="/home")

    monkeypatch.setattr(host.site.tasks, "wait", fail_once)
    number = await prepared(host, id_of(host, 99))
    await soon(failed.wait())
    await is_let_go(host, number)


async def test_an_agent_whose_asker_hangs_up_lets_itself_go(host, monkeypatch):
    """The lock has been taken, and nobody knows of it any more."""
    submitted, real = asyncio.Event(), host.site.tasks.submit

    async def submit(plan):
        made = await real(plan)
        submitted.set()
        await asyncio.sleep(0)
        return made

    monkeypatch.setattr(host.site.tasks, "submit", submit)
    asking = asyncio.create_task(prepared(host, id_of(host, 99)))
    await soon(submitted.wait())
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    (dag,) = await host.site.tasks.dags()
    await is_let_go(host, dag.id)


async def test_a_lock_that_is_still_needed_is_kept(host):
    gate = host.engine.hold("kill")
    asked = await host.api.post("/ob/stop", FORCE_ALL)
    await gate.reached()
    main = main_dag(host, asked.data["dag_id"])
    assert (await release.needs.handler(host.site, caller(host), main)).needed
    stranger = caller(host, free_address())
    assert not (await release.needs.handler(host.site, stranger, main)).needed
    gate.open()
    await wait_end(host, asked.data["id"])
    assert not (await release.needs.handler(host.site, caller(host), main)).needed


async def test_a_main_dag_that_failed_needs_nobody_until_it_is_tried_again(host):
    host.engine.failures["minor_freeze"] = errors.MINOR_FREEZE_TIMEOUT(server="x", seconds=9)
    dag = await stop(host, {"type": "GLOBAL"}, terminate=True)
    assert (dag["state"], dag["stage"]) == ("FAILED", 3)
    main = main_dag(host, dag["dag_id"])
    assert not (await release.needs.handler(host.site, caller(host), main)).needed


async def test_a_main_dag_that_failed_where_it_can_go_on_needs_its_agents(host):
    failed = await a_failed_sub_dag(host)  # one whose RETRY goes on where it failed
    assert not release.is_over(failed)
    assert release.is_over(dataclasses.replace(failed, stage=failed.max_stage))


@pytest.mark.parametrize("make", [a_waiting_sub_dag, a_failed_sub_dag])
async def test_what_an_earlier_life_left_locked_is_let_go_if_nobody_knows_of_it(host, make):
    sub_dag = await (make(host) if make is a_failed_sub_dag else make(host, id_of(host, 99)))
    assert await locked([host]) == [True]
    await release.look_after_all(host.site)
    await is_let_go(host, sub_dag.id)


async def test_a_coordinator_that_does_not_answer_changes_nothing(host):
    coordinator = free_address()
    sub_dag = await a_waiting_sub_dag(host, str(GenericId(7, coordinator)))
    looking = asyncio.create_task(release._look_after(host.site, sub_dag))
    done, _ = await asyncio.wait([looking], timeout=1.5)  # it has looked once
    assert not done
    assert await locked([host]) == [True]
    await host.site.tasks.operate(sub_dag.id, Operator.CANCEL)
    await host.site.tasks.wait_end(sub_dag.id, Deadline.after(PATIENCE_S))
    await host.site.tasks.operate(sub_dag.id, Operator.PASS)
    await soon(looking)


# --- agents that were rebuilt, and number their tasks anew ---------------------------------------


async def test_a_task_of_a_rebuilt_coordinator_does_not_get_what_was_locked_for_its_old_one(host):
    main_dag_id = id_of(host, 99)
    old = await prepared(host, main_dag_id, "the old key")
    assert await prepared(host, main_dag_id, "the old key") == old
    new = await prepared(host, main_dag_id, "the new key")
    assert new != old
    assert (await host.site.tasks.dag(old)).state is State.SUCCEED
    assert await locked([host]) == [True]
    await release.release(host.site, new, Deadline.after(PATIENCE_S))
    assert host.engine.deeds == []


@pytest.mark.parametrize("asked", [advance, resume, holds, watch, end])
async def test_a_rebuilt_member_takes_no_other_task_for_the_one_that_is_meant(host, asked):
    number = await prepared(host, id_of(host, 99))
    request = asked.request(id=id_of(host, number))
    with pytest.raises(errors.OBShellError) as unknown:
        await asked.handler(host.site, caller(host, key="another key"), request)
    assert unknown.value.code is errors.TASK_NOT_FOUND
    assert not (await host.site.tasks.dag(number)).state.ended
    await end.handler(host.site, caller(host), request)
    assert await locked([host]) == [False]


async def test_a_rebuilt_coordinator_needs_nothing_of_its_old_life(host):
    gate = host.engine.hold("kill")
    asked = await host.api.post("/ob/stop", FORCE_ALL)
    await gate.reached()
    main = MainDag(number=asked.data["dag_id"], life=life_of("the old key"))
    assert not (await release.needs.handler(host.site, caller(host), main)).needed
    gate.open()
    await wait_end(host, asked.data["id"])


# --- rivals --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("held_s", "waits"), [(1, True), (3600, False), (-3600, True)])
async def test_only_who_has_just_begun_is_waited_for_as_a_rival(host, monkeypatch, held_s, waits):
    """Who has held the lock for long waits for something else; a clock set back makes no odds."""
    number = await prepared(host, id_of(host, 99))
    await host.site.tasks.wait(
        number, lambda dag: True if dag.state is State.RUNNING else None, Deadline.after(PATIENCE_S)
    )
    waited, waiting, now = [], host.site.line.waiting, time.time_ns()
    monkeypatch.setattr(
        host.site.line, "waiting", lambda claimant: waited.append(claimant) or waiting(claimant)
    )
    with monkeypatch.context() as later:
        later.setattr(time, "time_ns", lambda: now + held_s * NANOSECONDS)
        asking = asyncio.create_task(prepared(host, id_of(host, 5)))
        assert await soon(asking) != number  # which is let go: nobody knows its main DAG any more
    assert bool(waited) == waits


# --- attempts of the same main DAG ----------------------------------------------------------------


async def test_a_later_attempt_replaces_what_an_earlier_one_left(host):
    main_dag_id = id_of(host, 99)
    first = await prepared(host, main_dag_id)
    second = await prepared(host, main_dag_id, attempt=2)
    assert second != first
    assert (await host.site.tasks.dag(first)).state is State.SUCCEED
    assert await prepared(host, main_dag_id, attempt=2) == second
    with pytest.raises(errors.OBShellError) as refused:
        await prepared(host, main_dag_id)  # asked before, and read only now
    assert refused.value.code is errors.AGENT_UNDER_MAINTENANCE_DAG
    assert not (await host.site.tasks.dag(second)).state.ended


async def test_a_lock_that_its_main_dag_forgot_is_in_nobodys_way(host):
    holder = await a_failed_sub_dag(host)
    other = await prepared(host, id_of(host, 99))
    assert other != holder.id
    assert (await host.site.tasks.dag(holder.id)).state is State.SUCCEED


# --- rivals --------------------------------------------------------------------------------------


@pytest.fixture
def all_needed(monkeypatch):
    """Every main DAG is taken for one that needs its agents."""

    async def needed(*_):
        return True

    monkeypatch.setattr("pyobshell.operations.sub_dag.is_needed", needed)


@pytest.mark.usefixtures("all_needed")
async def test_the_lower_id_waits_for_a_lock_whose_work_has_not_begun(host):
    holder = await a_waiting_sub_dag(host, id_of(host, 90))
    waiting = asyncio.create_task(prepared(host, id_of(host, 80)))
    await host.site.tasks.operate(holder.id, Operator.CANCEL)
    await host.site.tasks.wait_end(holder.id, Deadline.after(PATIENCE_S))
    assert not waiting.done()
    await host.site.tasks.operate(holder.id, Operator.PASS)
    assert await soon(waiting) != holder.id


@pytest.mark.usefixtures("all_needed")
async def test_the_higher_id_does_not_wait(host):
    await a_waiting_sub_dag(host, id_of(host, 80))
    with pytest.raises(errors.OBShellError) as refused:
        await prepared(host, id_of(host, 90))
    assert refused.value.code is errors.AGENT_UNDER_MAINTENANCE_DAG


async def test_nobody_waits_for_a_lock_whose_work_has_begun(host):
    gate = host.engine.hold("kill")
    await host.api.post("/ob/stop", FORCE_ALL)
    await gate.reached()
    with pytest.raises(errors.OBShellError) as refused:
        await prepared(host, str(GenericId(1, Address("1.0.0.1", 2886))))
    assert refused.value.code is errors.AGENT_UNDER_MAINTENANCE_DAG
    gate.open()


async def test_of_stops_that_begin_at_once_at_several_agents_one_wins(cluster_of_three):
    for _ in range(5):
        asked = await asyncio.gather(
            *(host.api.post("/ob/stop", FORCE_ALL) for host in cluster_of_three)
        )
        ended = [
            await wait_end(host, answer.data["id"])
            for host, answer in zip(cluster_of_three, asked, strict=True)
        ]
        assert "SUCCEED" in [dag["state"] for dag in ended]
        assert await states(cluster_of_three) == [0, 0, 0]
        assert await locked(cluster_of_three) == [False] * 3
        for host in cluster_of_three:
            host.engine.start_afresh()
