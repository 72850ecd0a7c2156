"""Of an order to all agents and one to an agent alone, in an emergency, the later counts."""

from __future__ import annotations

import asyncio
import signal
import time

import pytest
import structlog

from pyobshell import errors
from pyobshell.cluster.procedures import Caller
from pyobshell.deadline import Deadline
from pyobshell.operations import ordered, sub_dag
from pyobshell.operations.release import release
from pyobshell.operations.sub_dag import prepare
from pyobshell.tasks.engine import TaskEngine
from pyobshell.tasks.ids import GenericId
from support.agents import free_address
from support.crashing import mortals
from support.emergencies import DOWN, seen_through, start, stop
from support.undertakings import a_part, a_waiting_sub_dag, locked, logs_of, servers, wait_end
from support.waiting import PATIENCE_S, soon

pytestmark = pytest.mark.anyio
HOUR_S, LONG_S = 3600, 5.0
SECOND_NS = 10**9


@pytest.fixture
async def host(start_member):
    """The one member of a cluster, whose server runs."""
    return await start_member(zones=("zone1",))


@pytest.fixture
def begin(monkeypatch):
    """Tasks are recorded, and taken into work when this is called."""
    real, waiting = TaskEngine.begin, []
    monkeypatch.setattr(TaskEngine, "begin", lambda *task: waiting.append(task))

    def begin_all():
        monkeypatch.setattr(TaskEngine, "begin", real)
        for task in waiting:
            real(*task)

    return begin_all


async def stop_together(host):
    """A stop of the one server, which all agents do together."""
    return await host.local.post("/ob/stop", {"scope": servers(host), "terminate": True})


async def act_alone(host, ahead_s=0):
    """Take an order alone, in an emergency, by a clock that is so much ahead."""
    await host.site.cluster.note_acted_alone(time.time_ns() + ahead_s * SECOND_NS)


def prepared(host, age_s=0.0, main=None):
    """What is made of a part of another agent's task, which was ordered so long ago."""
    key = host.site.key.public_text
    caller = Caller(host.address, key, True, Deadline.after(PATIENCE_S), print)
    part = a_part(str(main or GenericId(99, free_address())))
    return prepare.handler(host.site, caller, part.model_copy(update={"age_s": age_s}))


def reasons(dag):
    """All that the stages of a task have logged."""
    return "\n".join(line for node in dag["nodes"] for line in logs_of(node))


async def is_refused(host, answer):
    """That the task has failed for the newer order, and has done nothing."""
    dag = await seen_through(host, answer)
    assert dag["state"] == "FAILED"
    assert "Agent.Order.Superseded" in reasons(dag)
    assert host.engine.deeds == []
    return True


# --- the order to all is the older one -----------------------------------------------------------


async def test_an_order_recorded_before_and_begun_afterwards_is_refused_until_it_is_asked_anew(
    host, begin
):
    older = await stop_together(host)
    await act_alone(host)
    begin()
    assert await is_refused(host, older)
    again = await host.local.post(f"/task/dag/{older.data['id']}", {"operator": "RETRY"})
    assert again.status == 200
    assert (await seen_through(host, older))["state"] == "SUCCEED"
    assert await host.engine.state() is DOWN


async def test_a_retry_that_is_begun_after_a_newer_order_is_refused(host, request):
    await act_alone(host)
    older = await stop_together(host)
    host.engine.failures["minor_freeze"] = errors.MINOR_FREEZE_TIMEOUT(server="it", seconds=1)
    assert (await seen_through(host, older))["state"] == "FAILED"
    host.engine.failures.clear()
    host.engine.deeds.clear()
    begin = request.getfixturevalue("begin")
    await host.local.post(f"/task/dag/{older.data['id']}", {"operator": "RETRY"})
    await act_alone(host)
    begin()
    assert await is_refused(host, older)


async def test_who_is_paused_after_it_has_read_the_age_asks_again(host, monkeypatch):
    call, now, paused_s = host.site.peers.call, time.monotonic, [0.0]

    async def paused_before_the_first(peer, procedure, *request, **how):
        if procedure is prepare and not paused_s[0]:
            await act_alone(host)
            paused_s[0] = LONG_S
        return await call(peer, procedure, *request, **how)

    real_age, read_before = ordered.age_s, [0.0]
    age_s = lambda run: read_before.pop() if read_before else real_age(run)  # noqa: E731
    monkeypatch.setattr(ordered, "age_s", age_s)
    monkeypatch.setattr(time, "monotonic", lambda: now() + paused_s[0])
    monkeypatch.setattr(host.site.peers, "call", paused_before_the_first)
    assert await is_refused(host, await stop_together(host))


async def test_a_clock_that_was_set_back_makes_no_order_newer(host, begin, monkeypatch):
    older = await stop_together(host)
    await act_alone(host, -2 * HOUR_S)
    now, now_ns = time.time, time.time_ns
    with monkeypatch.context() as patched:
        patched.setattr(time, "time", lambda: now() - HOUR_S)
        patched.setattr(time, "time_ns", lambda: now_ns() - HOUR_S * SECOND_NS)
        begin()
        assert await is_refused(host, older)


async def test_an_order_that_comes_while_one_waits_for_the_lock_is_the_newer_one(host, monkeypatch):
    other = free_address()
    holder = await a_waiting_sub_dag(host, str(GenericId(99, other)))

    async def gives_way(site, rival, *_):
        assert rival.id == holder.id
        await act_alone(host)
        await release(site, rival.id, Deadline.after(PATIENCE_S))
        return True

    monkeypatch.setattr(sub_dag, "_gives_way", gives_way)
    with pytest.raises(errors.OBShellError) as refused:
        await prepared(host, main=GenericId(50, other))
    assert refused.value.code is errors.ORDER_SUPERSEDED
    assert await locked([host]) == [False]


async def test_an_order_that_comes_while_the_lock_is_being_taken_is_the_newer_one(
    host, monkeypatch
):
    begin = sub_dag.begin

    async def begin_and_lose(site, plan):
        made = await begin(site, plan)
        await act_alone(host)
        return made

    monkeypatch.setattr(sub_dag, "begin", begin_and_lose)
    with pytest.raises(errors.OBShellError) as refused:
        await prepared(host)
    assert refused.value.code is errors.ORDER_SUPERSEDED
    assert await locked([host]) == [False]


# --- the order to all is the newer one -----------------------------------------------------------


@pytest.mark.parametrize("alone", [start, stop])
async def test_an_order_counts_from_when_it_was_given_alone_not_from_when_it_is_begun(
    start_member, request, alone
):
    host = await start_member()  # whose fellows do not answer
    begin = request.getfixturevalue("begin")
    older = await alone(host)
    given = time.time()
    begin()
    assert (await seen_through(host, older))["state"] == "SUCCEED"
    await prepared(host, time.time() - given)
    assert await locked([host]) == [True]


async def test_a_retry_of_an_order_given_alone_counts_from_when_it_was_asked_for(start_member):
    host = await start_member()  # whose fellows do not answer
    host.engine.set_state(DOWN)
    host.engine.failures["start"] = errors.SERVER_UNAVAILABLE(reason="no memory")
    dag = await seen_through(host, await start(host))
    between = time.time()
    host.engine.failures.clear()
    await host.local.post(f"/task/dag/{dag['id']}", {"operator": "RETRY"})
    assert (await wait_end(host, dag["id"]))["state"] == "SUCCEED"
    with pytest.raises(errors.OBShellError) as refused:
        await prepared(host, time.time() - between)
    assert refused.value.code is errors.ORDER_SUPERSEDED
    assert await locked([host]) == [False]


async def test_of_several_orders_in_an_emergency_the_newest_counts(host):
    await act_alone(host)
    await act_alone(host, -HOUR_S)  # it goes on after a restart
    with pytest.raises(errors.OBShellError):
        await prepared(host, HOUR_S / 2)


async def test_an_agent_that_answers_slowly_is_asked_once_if_its_order_alone_is_old(
    host, monkeypatch
):
    await act_alone(host, -HOUR_S)
    call, now, asked = host.site.peers.call, time.monotonic, []

    async def slow(peer, procedure, *request, **how):
        asked.append(procedure)
        return await call(peer, procedure, *request, **how)

    monkeypatch.setattr(time, "monotonic", lambda: now() + LONG_S * asked.count(prepare))
    monkeypatch.setattr(host.site.peers, "call", slow)
    assert (await seen_through(host, await stop_together(host)))["state"] == "SUCCEED"
    assert asked.count(prepare) == 1


async def test_an_order_alone_that_lies_in_the_future_counts_for_nothing_and_that_is_said(host):
    await act_alone(host, HOUR_S)
    with structlog.testing.capture_logs() as lines:
        dag = await seen_through(host, await stop_together(host))
    assert dag["state"] == "SUCCEED"
    assert any("lies in the future and counts for nothing" in line["event"] for line in lines)


async def test_after_one_in_the_future_the_next_order_alone_counts(host, begin):
    older = await stop_together(host)
    await act_alone(host, HOUR_S)
    await act_alone(host)
    begin()
    assert await is_refused(host, older)


# --- in processes that are killed or paused ------------------------------------------------------


LIFE = {"lost_agent_s": 30, "retry_s": 3, "rpc_timeout_s": 10}


async def stop_of(agents, number):
    """Ask the first agent for a stop of another one's server by force."""
    scope = {"type": "SERVER", "target": [str(agents[number].address)]}
    return await agents[0].api.ask("POST", "/ob/stop", {"scope": scope, "force": True})


async def started_alone(agent):
    """Start an agent's server, which has nobody to ask."""
    scope = {"type": "SERVER", "target": [str(agent.address)]}
    answer = await agent.ask("POST", "/ob/start", {"scope": scope})
    dag = await agent.ended(answer.data["id"])
    assert (dag["name"], dag["state"]) == ("Start local observer", "SUCCEED")


async def refused_alone(agents):
    """That the older stop fails for one server, which runs."""
    dags = (await agents[0].ask("GET", "/task/dags/agent?show_details=false")).contents
    (older,) = [dag["id"] for dag in dags if dag["name"] == "Stop OB"]
    dag = await agents[0].ended(older)
    assert dag["state"] == "FAILED"
    assert "Agent.Order.Superseded" in reasons(dag)
    assert agents[1].server_runs


@pytest.mark.long
@pytest.mark.parametrize("commit", [2, 3, 4])
async def test_a_coordinator_that_was_killed_does_not_stop_what_was_started_meanwhile(
    hosts, commit
):
    async with mortals(hosts, 3, **LIFE) as agents:
        agents[0].shall_die("after", commit)
        asking = asyncio.create_task(stop_of(agents, 1))
        await soon(agents[0].dead())
        await asyncio.gather(asking, return_exceptions=True)
        agents[2].signal(signal.SIGSTOP)
        await started_alone(agents[1])
        agents[2].signal(signal.SIGCONT)
        await agents[0].start()
        await refused_alone(agents)


@pytest.mark.long
async def test_a_coordinator_that_was_paused_does_not_stop_what_was_started_meanwhile(hosts):
    async with mortals(hosts, 3, **LIFE) as agents:
        await stop_of(agents, 1)
        for paused in (agents[0], agents[2]):
            paused.signal(signal.SIGSTOP)
        await started_alone(agents[1])
        for paused in (agents[0], agents[2]):
            paused.signal(signal.SIGCONT)
        await refused_alone(agents)
