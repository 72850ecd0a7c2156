"""Locks of earlier tasks stand in the way of a stop until they are named in forcePassDag."""

from __future__ import annotations

import pytest

from support.undertakings import (
    FORCE_ALL,
    a_stop_that_hangs,
    locked,
    logs_of,
    main_dag_of,
    wait_end,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
async def cluster(cluster_of_two):
    """Two members of a running cluster; what a test leaves locked is let go after it."""
    yield cluster_of_two
    for host, is_locked in zip(cluster_of_two, await locked(cluster_of_two), strict=True):
        if is_locked:
            await operate(host, (await newest_sub_dag(host))["id"], "CANCEL", "PASS")
        host.engine.start_afresh()
    assert await locked(cluster_of_two) == [False, False]


async def newest_sub_dag(host):
    return (await host.local.get("/task/dag/maintain/agent")).data


async def operate(host, task_id, *operators):
    for operator in operators:
        answer = await host.api.post(f"/task/dag/{task_id}", {"operator": operator})
        assert answer.status == 200, answer.envelope
        await wait_end(host, task_id)


@pytest.fixture
async def blocking(cluster):
    """The id of a stop that hangs; only the second agent is still locked by it."""
    async with a_stop_that_hangs(cluster[0], cluster[1]) as stop:
        await operate(cluster[0], (await newest_sub_dag(cluster[0]))["id"], "CANCEL", "PASS")
        assert await locked(cluster) == [False, True]
        yield stop


async def begin_naming(host, ids):
    answer = await host.api.post("/ob/stop", {**FORCE_ALL, "forcePassDag": ids})
    assert answer.status == 200  # a lock is met by the task, not by the request
    return answer.data["id"]


async def stop_naming(host, ids):
    return await wait_end(host, await begin_naming(host, ids))


@pytest.mark.parametrize("ids", [None, ["12345"], {"id": ["no id", "11"]}], ids=str)
async def test_a_stop_that_meets_a_lock_fails_names_it_and_leaves_none_of_its_own(
    cluster, blocking, ids
):
    dag = await stop_naming(cluster[0], ids)
    assert (dag["state"], dag["stage"]) == ("FAILED", 2)
    assert [node["state"] for node in dag["nodes"]] == ["SUCCEED", "FAILED", *["PENDING"] * 3]
    informed = logs_of(dag["nodes"][0])
    (refusal,) = [line for line in informed if "ERROR: [Agent.UnderMaintenanceDag]" in line]
    assert str(cluster[1].address) in refusal
    assert f"'Stop observer' of DAG {blocking}" in refusal
    last = logs_of(dag["nodes"][1])[-1]
    assert last.startswith("ERROR: [Task.SubDag.NotAllCreated]: ")
    assert f"name {blocking} in forcePassDag" in last
    assert str(cluster[0].address) not in last
    assert await locked(cluster) == [False, True]
    assert main_dag_of(await newest_sub_dag(cluster[1])) == blocking
    own = await newest_sub_dag(cluster[0])
    assert main_dag_of(own) == dag["id"]
    assert own["state"] == "SUCCEED"


@pytest.mark.parametrize("shape", ["a list", "an object", "beside others"])
async def test_a_stop_that_names_the_lock_goes_on(cluster, blocking, shape):
    ids = {
        "a list": [blocking],
        "an object": {"id": [blocking]},
        "beside others": {"id": ["12345", "no id", blocking]},
    }[shape]
    old = (await newest_sub_dag(cluster[1]))["id"]
    begun = await begin_naming(cluster[0], ids)
    assert (await wait_end(cluster[0], blocking))["state"] == "FAILED"
    cluster[1].engine.hold("kill").open()
    assert (await wait_end(cluster[0], begun))["state"] == "SUCCEED"
    assert await locked(cluster) == [False, False]
    assert cluster[1].engine.deeds == ["kill", "kill"]
    passed = (await cluster[0].api.get(f"/task/dag/{old}")).data
    assert (passed["state"], passed["operator"]) == ("SUCCEED", "PASS")


async def test_what_was_blocked_by_a_running_stop_ends_it_by_naming_it(cluster):
    gate = cluster[1].engine.hold("kill")
    first = (await cluster[0].api.post("/ob/stop", FORCE_ALL)).data["id"]
    await gate.reached()
    refused = await stop_naming(cluster[1], [])
    assert (refused["state"], refused["stage"]) == ("FAILED", 2)
    assert await locked(cluster) == [True, True]  # both by the first
    asked = await cluster[1].api.post("/ob/stop", {**FORCE_ALL, "forcePassDag": [first]})
    ended = await wait_end(cluster[0], first)
    assert ended["state"] == "FAILED"
    last = logs_of(ended["nodes"][4])[-1]
    assert last.startswith("ERROR: [Task.SubDag.NotAllSucceed]: ")
    assert f"{cluster[1].address}: " in last
    gate.open()
    assert (await wait_end(cluster[1], asked.data["id"]))["state"] == "SUCCEED"
    assert await locked(cluster) == [False, False]


async def test_names_of_locks_that_nobody_holds_are_ignored(cluster):
    dag = await stop_naming(cluster[0], {"id": ["12345", "no id at all"]})
    assert dag["state"] == "SUCCEED"


async def test_a_start_names_locks_as_well(cluster, blocking):
    body = {"scope": {"type": "GLOBAL"}, "forcePassDag": []}
    asked = await cluster[0].api.post("/ob/start", body)
    dag = await wait_end(cluster[0], asked.data["id"])
    assert (dag["state"], dag["stage"]) == ("FAILED", 2)
    assert blocking in logs_of(dag["nodes"][1])[-1]
    asked = await cluster[0].api.post("/ob/start", {**body, "forcePassDag": {"id": [blocking]}})
    assert (await wait_end(cluster[0], asked.data["id"]))["state"] == "SUCCEED"
    assert await locked(cluster) == [False, False]
