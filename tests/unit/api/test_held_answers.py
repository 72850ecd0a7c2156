"""An answer about a task that runs is held, until something has happened or the time is over."""

from __future__ import annotations

import asyncio

import pytest

from pyobshell.operations import sub_dag
from support.asking import check_envelope
from support.undertakings import a_failed_sub_dag, a_waiting_sub_dag, id_of
from support.waiting import soon

pytestmark = pytest.mark.anyio


@pytest.fixture
async def host(start_member):
    """A member that is the only one of its cluster."""
    return await start_member(zones=("zone1",))


async def held(host, path):
    """A request whose answer is held, long after others have had theirs."""
    asking = asyncio.create_task(host.api.get(path))
    for _ in range(20):
        await host.api.get("/ob/agents")
    assert not asking.done()
    return asking


async def test_a_held_answer_comes_when_the_task_ends(host):
    dag = await a_waiting_sub_dag(host)
    asking = await held(host, f"/task/dag/{id_of(host, dag.id)}?hold_ms=30000")
    await host.local.post(f"/task/dag/{id_of(host, dag.id)}", {"operator": "CANCEL"})
    answer = await soon(asking)
    check_envelope(answer)
    assert answer.data["state"] == "FAILED"


async def test_an_answer_is_held_by_default_as_long_as_the_settings_say(start_member):
    host = await start_member(zones=("zone1",), dag_hold_ms=30_000)
    dag = await a_waiting_sub_dag(host)
    asking = await held(host, f"/task/dag/{id_of(host, dag.id)}")
    await host.site.tasks.signal(dag.id, sub_dag.ADVANCE)
    await host.site.tasks.signal(dag.id, sub_dag.END)
    assert (await soon(asking)).data["state"] == "SUCCEED"


async def test_a_held_answer_comes_when_the_task_leaves_the_stage_that_was_seen(host):
    dag = await a_waiting_sub_dag(host)
    asking = await held(host, f"/task/dag/{id_of(host, dag.id)}?hold_ms=30000&seen_stage=1")
    await host.site.tasks.signal(dag.id, sub_dag.ADVANCE)
    answer = await soon(asking)
    assert (answer.data["state"], answer.data["stage"] > 1) == ("RUNNING", True)


async def test_a_held_answer_comes_at_last_when_nothing_happens(host):
    dag = await a_waiting_sub_dag(host)
    answer = await soon(host.api.get(f"/task/dag/{id_of(host, dag.id)}?hold_ms=50"))
    assert answer.data["state"] == "RUNNING"
    assert answer.envelope["duration"] >= 50


@pytest.mark.parametrize("query", ["hold_ms=0", "hold_ms=30000&seen_stage=7"])
async def test_an_answer_need_not_be_held(host, query):
    dag = await a_waiting_sub_dag(host)
    answer = await soon(host.api.get(f"/task/dag/{id_of(host, dag.id)}?{query}"))
    assert answer.data["state"] in ("READY", "RUNNING")


async def test_nothing_is_held_for_a_task_that_has_ended_or_is_none(host):
    failed = await a_failed_sub_dag(host)
    answer = await soon(host.local.get(f"/task/dag/{id_of(host, failed.id)}?hold_ms=30000"))
    assert answer.data["state"] == "FAILED"
    answer = await soon(host.local.get(f"/task/dag/{id_of(host, 7)}?hold_ms=30000"))
    assert answer.refusal == ("Task.NotFound", 404)
