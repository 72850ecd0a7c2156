"""A stop or start that failed or was cancelled holds nobody, and can be tried again or passed."""

from __future__ import annotations

import asyncio

import pytest

from pyobshell import errors
from pyobshell.cluster.model import Identity
from pyobshell.deadline import Deadline
from pyobshell.security.verify import Passwords
from pyobshell.tasks.model import State
from support.agents import ROOT_PASSWORD, a_member, a_view, free_address
from support.fake_cluster import form_cluster
from support.undertakings import (
    FORCE_ALL,
    at_stage,
    locked,
    logs_of,
    servers,
    states,
    stop,
    wait_end,
)
from support.waiting import PATIENCE_S, soon

pytestmark = pytest.mark.anyio
BROKEN = errors.SERVER_PROCESS_CHECK_FAILED(reason="as it should")


async def operate(host, task_id, operator):
    return await host.api.post(f"/task/dag/{task_id}", {"operator": operator})


async def tried_again(host, task_id):
    """The task as it ends after RETRY."""
    answer = await operate(host, task_id, "RETRY")
    assert answer.status == 200, answer.envelope
    return await wait_end(host, task_id)


@pytest.fixture
async def two(hosts, keys, monkeypatch):
    """Two agents, and what has the second one not answer the first when it is asked something."""
    own, other = free_address(), free_address()
    members = [a_member(own, keys[0], "zone1"), a_member(other, keys[1], "zone2")]
    member, passwords = Identity.CLUSTER_AGENT, Passwords(root=ROOT_PASSWORD)
    async with (
        hosts.serve(a_view(other, member, members), keys[1], passwords) as fellow,
        hosts.in_process(member, members, address=own, passwords=passwords) as host,
    ):
        host.api.password = fellow.api.password = ROOT_PASSWORD
        call = host.site.peers.call

        def lose(asked, *, hanging=False):
            reached = asyncio.Event()

            async def call_unless_lost(peer, procedure, *arguments, **more):
                if (peer, procedure.name) != (other, asked):
                    return await call(peer, procedure, *arguments, **more)
                reached.set()
                if hanging:
                    await asyncio.Event().wait()
                raise errors.RPC_REQUEST_FAILED(agent=peer, method=asked, cause="it was paused")

            monkeypatch.setattr(host.site.peers, "call", call_unless_lost)
            return reached

        yield host, fellow, lose


# --- CANCEL --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "deed", "stage"),
    [
        ({"force": True}, "kill", 4),
        ({"terminate": True}, "minor_freeze", 3),
        ({"terminate": True}, "kill", 5),
        ({}, "drain", 4),
        ({}, "terminate", 4),
    ],
)
async def test_a_stop_that_is_cancelled_frees_every_lock_and_can_be_tried_again(
    cluster, mode, deed, stage
):
    gate = cluster[1].engine.hold(deed)
    answer = await cluster[0].api.post("/ob/stop", {"scope": servers(cluster[1]), **mode})
    await gate.reached()
    task_id = answer.data["id"]
    await at_stage(cluster[0], task_id, stage)
    assert (await operate(cluster[2], task_id, "CANCEL")).status == 200
    dag = await wait_end(cluster[0], task_id)
    assert await locked(cluster) == [False] * 3
    assert (dag["state"], dag["operator"], dag["stage"]) == ("FAILED", "CANCEL", stage)
    assert await states(cluster) == [3, 3, 3]
    gate.open()
    dag = await tried_again(cluster[2], task_id)
    assert (dag["state"], dag["stage"]) == ("SUCCEED", dag["max_stage"])
    assert await states(cluster) == [3, 0, 3]
    assert await locked(cluster) == [False] * 3


@pytest.mark.parametrize("deed", ["start", "check_start"])
async def test_a_start_that_is_cancelled_frees_every_lock_and_can_be_tried_again(cluster, deed):
    await stop(cluster[0], servers(cluster[1]), force=True)
    gate = cluster[1].engine.hold(deed)
    scope = {"type": "ZONE", "target": ["zone2"]}
    answer = await cluster[0].api.post("/ob/start", {"scope": scope})
    await gate.reached()
    assert (await operate(cluster[0], answer.data["id"], "CANCEL")).status == 200
    dag = await wait_end(cluster[0], answer.data["id"])
    assert await locked(cluster) == [False] * 3
    assert (dag["state"], dag["operator"]) == ("FAILED", "CANCEL")
    gate.open()
    assert (await tried_again(cluster[0], answer.data["id"]))["state"] == "SUCCEED"
    assert await states(cluster) == [3, 3, 3]


async def test_a_stop_that_is_cancelled_while_it_gathers_its_agents_frees_them(two, monkeypatch):
    """One of the members that are asked to prepare does not get round to it."""
    host, fellow, lose = two
    reached = lose("sub_dag/prepare", hanging=True)
    answer = await host.api.post("/ob/stop", FORCE_ALL)
    await soon(reached.wait())
    assert (await operate(host, answer.data["id"], "CANCEL")).status == 200
    dag = await wait_end(host, answer.data["id"])
    assert (dag["state"], dag["stage"]) == ("FAILED", 1)
    newest = (await host.api.get("/task/dag/maintain/agent")).data["dag_id"]

    def is_passed(dag):
        return True if dag.state is State.SUCCEED else None

    await host.site.tasks.wait(newest, is_passed, Deadline.after(PATIENCE_S))
    assert await locked([host, fellow]) == [False] * 2
    monkeypatch.undo()
    assert (await tried_again(host, answer.data["id"]))["state"] == "SUCCEED"


# --- RETRY ---------------------------------------------------------------------------------------


async def test_a_target_that_failed_alone_is_stopped_when_it_is_tried_again(cluster):
    cluster[2].engine.failures["kill"] = BROKEN
    dag = await stop(cluster[0], {"type": "GLOBAL"}, force=True)
    assert (dag["state"], dag["stage"]) == ("FAILED", 5)
    assert await states(cluster) == [0, 0, 3]
    assert await locked(cluster) == [False] * 3
    cluster[2].engine.failures.clear()
    dag = await tried_again(cluster[1], dag["id"])
    assert (dag["state"], dag["stage"], dag["operator"]) == ("SUCCEED", 5, "RUN")
    assert await states(cluster) == [0, 0, 0]
    assert dag["additional_data"].get("failures", {}) == {}
    assert {task["execute_times"] for node in dag["nodes"] for task in node["sub_tasks"]} == {2}


async def test_a_server_that_did_not_start_is_started_when_it_is_tried_again(cluster):
    await stop(cluster[0], {"type": "GLOBAL"}, force=True)
    cluster[1].engine.failures["start"] = errors.SERVER_UNAVAILABLE(reason="no memory")
    answer = await cluster[0].api.post("/ob/start", {"scope": {"type": "GLOBAL"}})
    dag = await wait_end(cluster[0], answer.data["id"])
    assert dag["state"] == "FAILED"
    assert await locked(cluster) == [False] * 3
    cluster[1].engine.failures.clear()
    assert (await tried_again(cluster[0], dag["id"]))["state"] == "SUCCEED"
    assert await states(cluster) == [3, 3, 3]


async def test_agents_that_were_out_of_reach_are_stopped_when_it_is_tried_again(hosts, keys):
    own, other = free_address(), free_address()
    members = [a_member(own, keys[0], "zone1"), a_member(other, keys[1], "zone2")]
    member, passwords = Identity.CLUSTER_AGENT, Passwords(root=ROOT_PASSWORD)
    async with hosts.in_process(member, members, address=own, passwords=passwords) as host:
        host.api.password = ROOT_PASSWORD
        dag = await stop(host, {"type": "GLOBAL"}, force=True)
        assert (dag["state"], dag["stage"]) == ("FAILED", 5)
        assert await locked([host]) == [False]
        async with hosts.serve(a_view(other, member, members), keys[1], passwords) as fellow:
            assert (await tried_again(host, dag["id"]))["state"] == "SUCCEED"
            assert not fellow.engine.is_up


async def test_what_is_tried_again_is_looked_at_again(cluster):
    ob = form_cluster(cluster, ("zone1", "zone2", "zone3"))
    cluster[1].engine.failures["kill"] = BROKEN
    dag = await stop(cluster[0], servers(cluster[1]), terminate=True)
    assert dag["state"] == "FAILED"
    cluster[1].engine.failures.clear()
    ob.down.add(ob.places[2][0])
    dag = await tried_again(cluster[0], dag["id"])
    for host in cluster:
        del host.engine.cluster
    assert (dag["state"], dag["stage"]) == ("FAILED", 4)
    assert "OB.Cluster.Tenant.Replica.Invalid" in logs_of(dag["nodes"][3])[-1]
    assert cluster[1].engine.is_up


# --- lost while it is flushed --------------------------------------------------------------------


async def test_an_agent_that_is_lost_while_it_flushes_fails_alone_and_is_not_killed(
    two, monkeypatch
):
    host, fellow, lose = two
    lose("server/freeze")
    dag = await stop(host, {"type": "GLOBAL"}, terminate=True)
    assert (dag["state"], dag["stage"]) == ("FAILED", 6)
    assert f"{fellow.address}: " in logs_of(dag["nodes"][5])[-1]
    assert await states([host, fellow]) == [0, 3]
    assert fellow.engine.deeds == []
    assert await locked([host, fellow]) == [False] * 2
    monkeypatch.undo()
    assert (await tried_again(host, dag["id"]))["state"] == "SUCCEED"
    assert await states([host, fellow]) == [0, 0]


# --- PASS ----------------------------------------------------------------------------------------


async def test_a_stop_that_failed_may_be_declared_done(cluster):
    cluster[1].engine.failures["kill"] = BROKEN
    dag = await stop(cluster[0], servers(cluster[1]), force=True)
    assert (await operate(cluster[0], dag["id"], "PASS")).status == 200
    dag = await wait_end(cluster[0], dag["id"])
    assert (dag["state"], dag["operator"]) == ("SUCCEED", "PASS")
    assert await states(cluster) == [3, 3, 3]
    for operator in ("RETRY", "PASS", "ROLLBACK"):
        assert (await operate(cluster[0], dag["id"], operator)).status == 400


async def test_a_stage_of_it_cannot_be_passed_alone(cluster):
    cluster[1].engine.failures["minor_freeze"] = errors.SERVER_UNAVAILABLE(reason="no freeze")
    dag = await stop(cluster[0], servers(cluster[1]), terminate=True)
    node = dag["nodes"][2]["id"]
    answer = await cluster[0].api.post(f"/task/node/{node}", {"operator": "PASS"})
    assert answer.refusal == ("Task.Node.Operator.PassNotAllowed", 400)
    assert (await operate(cluster[0], dag["id"], "ROLLBACK")).refusal == (
        "Task.Dag.Operator.RollbackNotAllowed",
        400,
    )


# --- at once -------------------------------------------------------------------------------------


async def test_of_operators_that_come_at_once_one_wins(cluster):
    for _ in range(4):
        cluster[1].engine.failures["kill"] = BROKEN
        dag = await stop(cluster[0], servers(cluster[1]), force=True)
        cluster[1].engine.failures.clear()
        asked = ("RETRY", "PASS", "RETRY", "PASS", "ROLLBACK")
        answers = await asyncio.gather(
            *(operate(host, dag["id"], one) for host in cluster for one in asked)
        )
        won = [answer for answer in answers if answer.status == 200]
        assert len(won) == 1
        assert {answer.status for answer in answers} == {200, 400}
        dag = await wait_end(cluster[0], dag["id"])
        assert dag["state"] == "SUCCEED"
        assert cluster[1].engine.is_up == (dag["operator"] == "PASS")
        assert await locked(cluster) == [False] * 3
        for host in cluster:
            host.engine.start_afresh()


async def test_a_cancel_may_be_repeated(cluster):
    gate = cluster[1].engine.hold("kill")
    answer = await cluster[0].api.post("/ob/stop", FORCE_ALL)
    await gate.reached()
    answers = await asyncio.gather(
        *(operate(host, answer.data["id"], "CANCEL") for host in cluster)
    )
    assert {one.status for one in answers} <= {200, 400}
    assert 200 in {one.status for one in answers}
    dag = await wait_end(cluster[0], answer.data["id"])
    assert (dag["state"], dag["operator"]) == ("FAILED", "CANCEL")
    assert (await operate(cluster[0], dag["id"], "CANCEL")).refusal == (
        "Task.Dag.Operator.CancelFinishedDag",
        400,
    )
    assert await locked(cluster) == [False] * 3
