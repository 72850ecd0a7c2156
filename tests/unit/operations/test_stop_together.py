"""A stop is done by all agents together: who is locked, who is stopped, who may be missing."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace

import pytest

from pyobshell import errors
from pyobshell.cluster.model import Identity
from pyobshell.cluster.state import ClusterState
from pyobshell.deadline import Deadline
from pyobshell.engines.base import ObState
from pyobshell.log import current_trace
from pyobshell.operations import held, together
from pyobshell.operations.sub_dag import Progress, SubDag
from pyobshell.security.verify import Passwords
from support.agents import ROOT_PASSWORD, a_member, a_view, free_address
from support.undertakings import (
    FORCE_ALL,
    a_stop_that_hangs,
    locked,
    logs_of,
    main_dag_of,
    outline,
    servers,
    states,
    stop,
    wait_end,
)
from support.waiting import PATIENCE_S, soon

pytestmark = pytest.mark.anyio


async def test_a_stop_by_force_kills_every_server_and_lets_every_agent_go(cluster):
    dag = await stop(cluster[1], {"type": "GLOBAL"}, force=True)
    assert (dag["state"], dag["operator"], dag["stage"]) == ("SUCCEED", "RUN", 5)
    assert outline(dag) == [
        ("Inform all agents to prepare to stop observer", "SUCCEED"),
        ("Make sure all agents are ready", "SUCCEED"),
        ("Advance agents to execute the task", "SUCCEED"),
        ("Wait for all agents to execute tasks successfully", "SUCCEED"),
        ("Inform all agents to end the task", "SUCCEED"),
    ]
    assert [host.engine.deeds for host in cluster] == [["kill"]] * 3
    assert await states(cluster) == [0, 0, 0]
    assert await locked(cluster) == [False] * 3
    agents = [str(host.address) for host in cluster]
    for number in (0, 3):
        executed = [task["execute_agent"] for task in dag["nodes"][number]["sub_tasks"]]
        assert executed == [host.address.wire for host in cluster]
    assert sorted(dag["additional_data"]["sub_dags"]) == sorted(agents)
    log = logs_of(dag["nodes"][3])
    for agent in agents:
        assert f"{agent} [Stop observer] the fake server does kill" in log
        assert f"{agent} succeeded" in log
    assert logs_of(dag["nodes"][4])[-1] == "All agents succeeded"


async def test_what_a_target_says_is_told_while_it_is_at_work(cluster):
    gate = cluster[2].engine.hold("kill")
    asked = (await cluster[0].api.post("/ob/stop", FORCE_ALL)).data
    wanted = f"{cluster[2].address} [Stop observer] the fake server does kill"
    where = f"/task/dag/{asked['id']}?hold_ms=0"
    while wanted not in logs_of((await soon(cluster[0].api.get(where))).data["nodes"][3]):
        await soon(asyncio.sleep(0))
    assert (await cluster[0].api.get(where)).data["state"] == "RUNNING"
    gate.open()
    assert (await wait_end(cluster[0], asked["id"]))["state"] == "SUCCEED"


async def test_a_task_that_holds_agents_is_listed_by_all_of_them(cluster):
    async def listed():
        dags = (await cluster[2].api.get("/task/dag/agent/main_dags")).contents
        return [(dag["id"], dag["state"]) for dag in dags]

    async with a_stop_that_hangs(cluster[0], cluster[1]) as hanging:
        assert await listed() == [(hanging, "RUNNING")]
    assert await listed() == []


async def test_each_member_has_a_task_of_its_own_that_names_the_main_one(cluster):
    dag = await stop(cluster[0], servers(cluster[1]), force=True)
    for host in cluster:
        sub_dag_id = dag["additional_data"]["sub_dags"][str(host.address)]
        sub_dag = (await cluster[2].api.get(f"/task/dag/{sub_dag_id}")).data
        assert (sub_dag["name"], sub_dag["maintenance_type"]) == ("Stop observer", 2)
        assert main_dag_of(sub_dag) == dag["id"]
        assert sub_dag["state"] == "SUCCEED"
        works = ["Stop observer"] if host is cluster[1] else []
        names = [node["name"] for node in sub_dag["nodes"]]
        assert names == ["Start preparations", *works, "Wait for task to end"]


async def test_only_targets_are_stopped(cluster):
    dag = await stop(cluster[0], servers(cluster[2]), force=True)
    assert dag["state"] == "SUCCEED"
    assert [host.engine.deeds for host in cluster] == [[], [], ["kill"]]
    dag = await stop(cluster[0], {"type": "ZONE", "target": ["zone1"]}, force=True)
    assert dag["state"] == "SUCCEED"
    assert await states(cluster) == [0, 3, 0]


async def test_every_agent_is_locked_while_any_server_is_stopped(cluster):
    gate = cluster[1].engine.hold("kill")
    asked = await cluster[0].api.post("/ob/stop", {"scope": servers(cluster[1]), "force": True})
    await gate.reached()
    assert await locked(cluster) == [True] * 3
    unfinished = (await cluster[2].api.get("/task/dag/unfinish")).contents
    assert sorted(dag["name"] for dag in unfinished) == ["Stop OB", *["Stop observer"] * 3]
    gate.open()
    assert (await wait_end(cluster[0], asked.data["id"]))["state"] == "SUCCEED"
    assert await locked(cluster) == [False] * 3


async def test_terminate_flushes_every_target_before_any_is_killed(cluster):
    gate = cluster[2].engine.hold("minor_freeze")
    body = {"scope": servers(cluster[1], cluster[2]), "terminate": True}
    asked = await cluster[0].api.post("/ob/stop", body)
    await gate.reached()
    assert "kill" not in cluster[1].engine.deeds
    gate.open()
    dag = await wait_end(cluster[0], asked.data["id"])
    assert (dag["state"], dag["max_stage"]) == ("SUCCEED", 6)
    assert outline(dag)[2] == ("Minor freeze before stop server", "SUCCEED")
    deeds = [host.engine.deeds for host in cluster]
    assert deeds == [[], *[["minor_freeze", "end_transactions", "kill"]] * 2]


async def test_a_server_that_cannot_be_flushed_keeps_all_of_them_from_being_killed(cluster):
    cluster[2].engine.failures["minor_freeze"] = errors.MINOR_FREEZE_TIMEOUT(server="x", seconds=9)
    dag = await stop(cluster[0], {"type": "GLOBAL"}, terminate=True)
    assert (dag["state"], dag["stage"]) == ("FAILED", 3)
    assert await states(cluster) == [3, 3, 3]
    (last,) = dag["nodes"][2]["sub_tasks"]
    assert last["task_logs"][-1].startswith("ERROR: [OB.Server.Unavailable]: ")
    first, second, third = (str(host.address) for host in cluster)
    which = f"No server was killed; not flushed: {third}; flushed: {first},{second}"
    assert last["task_logs"][-1].endswith(which)
    assert await locked(cluster) == [False] * 3
    cluster[2].engine.failures.clear()
    retried = await cluster[0].api.post(f"/task/dag/{dag['id']}", {"operator": "RETRY"})
    assert retried.status == 200
    assert (await wait_end(cluster[0], dag["id"]))["state"] == "SUCCEED"
    assert await states(cluster) == [0, 0, 0]
    assert await locked(cluster) == [False] * 3


@pytest.mark.parametrize("state", [ObState.PROCESS_NOT_RUNNING, ObState.PROCESS_RUNNING])
async def test_terminate_skips_a_server_that_is_down_but_not_one_that_cannot_be_asked(
    cluster, state
):
    cluster[2].engine.set_state(state)
    dag = await stop(cluster[0], {"type": "GLOBAL"}, terminate=True)
    if state is ObState.PROCESS_NOT_RUNNING:
        assert dag["state"] == "SUCCEED"
        assert any("nothing to freeze" in line for line in logs_of(dag["nodes"][2]))
    else:
        assert (dag["state"], dag["stage"]) == ("FAILED", 3)
        assert await states(cluster) == [3, 3, 1]
        assert await locked(cluster) == [False] * 3
        cluster[2].engine.set_state(ObState.CONNECTION_AVAILABLE)
        await cluster[0].api.post(f"/task/dag/{dag['id']}", {"operator": "RETRY"})
        assert (await wait_end(cluster[0], dag["id"]))["state"] == "SUCCEED"


async def test_terminate_kills_a_server_that_gives_no_answer_any_more_and_says_so(
    cluster,
):
    cluster[2].engine.failures["end_transactions"] = errors.SERVER_UNAVAILABLE(reason="silent")
    dag = await stop(cluster[0], servers(cluster[2]), terminate=True)
    assert (dag["state"], cluster[2].engine.is_up) == ("SUCCEED", False)
    newest = await cluster[2].api.get("/task/dag/maintain/agent")
    (warning,) = [line for line in logs_of(newest.data["nodes"][1]) if "WARNING" in line]
    assert "transactions may be open" in warning
    assert "silent" in warning


async def test_a_target_that_was_given_a_newer_order_in_an_emergency_fails_alone(
    cluster, monkeypatch
):
    def later(state):
        return time.time_ns() if state.view.own == cluster[2].address else 0

    moment = property(later, lambda *_: None)
    monkeypatch.setattr(ClusterState, "acted_alone_at", moment, raising=False)
    dag = await stop(cluster[0], {"type": "GLOBAL"}, force=True)
    assert dag["state"] == "FAILED"
    assert await states(cluster) == [0, 0, 3]
    assert f"{cluster[2].address}: Agent {cluster[2].address} was given an order alone" in str(dag)
    assert await locked(cluster) == [False] * 3
    monkeypatch.undo()
    await cluster[0].api.post(f"/task/dag/{dag['id']}", {"operator": "RETRY"})
    assert (await wait_end(cluster[0], dag["id"]))["state"] == "SUCCEED"


async def test_a_gentle_stop_never_kills(cluster):
    dag = await stop(cluster[1], servers(cluster[0]))
    assert (dag["state"], dag["max_stage"]) == ("SUCCEED", 6)
    assert cluster[0].engine.deeds == [
        "drain",
        "minor_freeze",
        "drain",
        "end_transactions",
        "terminate",
    ]
    assert await states(cluster) == [0, 3, 3]
    assert f"{cluster[0].address} is out of service" in logs_of(dag["nodes"][4])


@pytest.mark.parametrize("deed", ["drain", "minor_freeze", "end_transactions", "terminate"])
async def test_a_gentle_stop_that_does_not_come_about_leaves_the_server_as_it_was(cluster, deed):
    cluster[0].engine.failures[deed] = errors.CLUSTER_ASYNC_TIMEOUT(operation=deed, seconds=1)
    dag = await stop(cluster[1], servers(cluster[0]))
    assert (dag["state"], dag["stage"]) == ("FAILED", 6)
    assert await states(cluster) == [3, 3, 3]
    assert "kill" not in cluster[0].engine.deeds
    assert await locked(cluster) == [False] * 3
    last = logs_of(dag["nodes"][5])[-1]
    assert last.startswith("ERROR: [Task.SubDag.NotAllSucceed]: ")
    assert f"{deed} did not end within 1 s" in last


async def test_a_gentle_stop_is_refused_while_a_server_of_another_zone_is_down(cluster):
    cluster[2].engine.set_state(ObState.PROCESS_NOT_RUNNING)
    answer = await cluster[1].api.post("/ob/stop", {"scope": servers(cluster[0])})
    assert answer.refusal == ("OB.Server.StoppedInMultiZone", 400)
    assert str(cluster[2].address) in answer.message


async def test_one_server_that_cannot_be_killed_fails_alone_and_is_named(cluster):
    cluster[1].engine.failures["kill"] = errors.SERVER_PROCESS_CHECK_FAILED(reason="foreign")
    dag = await stop(cluster[0], {"type": "GLOBAL"}, force=True)
    assert (dag["state"], dag["stage"]) == ("FAILED", 5)
    assert await states(cluster) == [0, 3, 0]
    assert await locked(cluster) == [False] * 3
    last = logs_of(dag["nodes"][4])[-1]
    assert last.startswith("ERROR: [Task.SubDag.NotAllSucceed]: ")
    assert str(cluster[1].address) in last
    assert "foreign" in last
    assert str(cluster[0].address) not in last


# --- members that cannot be reached --------------------------------------------------------------


async def test_a_member_that_is_no_target_never_blocks(start_member):
    host = await start_member()
    dag = await stop(host, servers(host), force=True)
    assert dag["state"] == "SUCCEED"
    assert host.engine.deeds == ["kill"]
    warnings = [line for line in logs_of(dag["nodes"][1]) if line.startswith("WARNING")]
    assert len(warnings) == 2


OUT_OF_REACH = errors.RPC_REQUEST_FAILED(agent="it", method="it", cause="it was killed")
NO_SPACE = errors.STORE_UNAVAILABLE(
    base_dir="/b", file="meta.db", cause="no space is left on its file system"
)


@pytest.mark.parametrize("error", [OUT_OF_REACH, NO_SPACE], ids=["out of reach", "no space"])
@pytest.mark.parametrize(
    "lost_at", ["sub_dag/prepare", "sub_dag/advance", "sub_dag/watch", "sub_dag/end"]
)
async def test_a_member_that_is_no_target_may_be_lost_at_any_time(
    hosts, keys, monkeypatch, lost_at, error
):
    own, other = free_address(), free_address()
    members = [a_member(own, keys[0], "zone1"), a_member(other, keys[1], "zone2")]
    member, passwords = Identity.CLUSTER_AGENT, Passwords(root=ROOT_PASSWORD)
    async with (
        hosts.serve(a_view(other, member, members), keys[1], passwords) as bystander,
        hosts.in_process(member, members, address=own, passwords=passwords) as host,
    ):
        call = host.site.peers.call

        async def call_unless_lost(peer, procedure, *arguments, **more):
            if (peer, procedure.name) == (other, lost_at):
                raise error
            return await call(peer, procedure, *arguments, **more)

        monkeypatch.setattr(host.site.peers, "call", call_unless_lost)
        asked = await host.local.post("/ob/stop", {"scope": servers(host), "force": True})
        dag = await wait_end(host, asked.data["id"])
        assert (dag["state"], host.engine.deeds) == ("SUCCEED", ["kill"])
        log = [line for node in dag["nodes"] for line in logs_of(node)]
        assert any(line.startswith(f"WARNING: {other}") for line in log)
        if lost_at in ("sub_dag/advance", "sub_dag/watch"):  # at the end it lets itself go
            sub_dag_id = dag["additional_data"]["sub_dags"][str(other)]
            await soon(wait_end(bystander, sub_dag_id))


async def test_a_target_that_cannot_be_reached_fails_alone(start_member):
    host = await start_member()
    dag = await stop(host, {"type": "GLOBAL"}, force=True)
    assert (dag["state"], dag["stage"]) == ("FAILED", 5)
    assert host.engine.deeds == ["kill"]
    last = logs_of(dag["nodes"][4])[-1]
    own, *others = map(str, host.site.cluster.view.addresses)
    assert all(f"{other}: Agent {other} cannot be reached" in last for other in others)
    assert f"{own}:" not in last
    assert await locked([host]) == [False]


async def test_a_stop_of_which_no_target_can_be_reached_fails_before_anything_is_done(
    start_member,
):
    host = await start_member()
    dag = await stop(host, {"type": "ZONE", "target": ["zone2"]}, force=True)
    assert (dag["state"], dag["stage"]) == ("FAILED", 2)
    assert host.engine.deeds == []
    (task,) = dag["nodes"][1]["sub_tasks"]
    assert task["task_logs"][-1].startswith("ERROR: [Task.SubDag.NotAllCreated]: ")
    assert await locked([host]) == [False]


async def test_an_agent_that_forgot_it_is_a_member_refuses_and_is_named(hosts, keys):
    """Its fellow still has it in its list; what is asked of it is not accepted."""
    addresses = [free_address(), free_address()]
    members = [a_member(one, keys[n], f"zone{n + 1}") for n, one in enumerate(addresses)]
    passwords = Passwords(root=ROOT_PASSWORD)
    known = a_view(addresses[0], Identity.CLUSTER_AGENT, members)
    alone = a_view(addresses[1], Identity.SINGLE, [])
    async with (
        hosts.serve(known, keys[0], passwords) as host,
        hosts.serve(alone, keys[1], Passwords()) as other,
    ):
        host.api.password = ROOT_PASSWORD
        dag = await stop(host, FORCE_ALL["scope"], force=True)
        assert (dag["state"], dag["stage"]) == ("FAILED", 2)
        assert str(addresses[1]) in logs_of(dag["nodes"][1])[-1]
        assert other.engine.deeds == []
        assert await locked([host]) == [False]


async def test_a_coordinator_that_went_away_while_it_gathered_its_agents_goes_on(hosts, keys):
    own, other = free_address(), free_address()
    members = [a_member(own, keys[0], "zone1"), a_member(other, keys[1], "zone2")]
    coordinator = {"address": own, "passwords": Passwords(root=ROOT_PASSWORD)}
    member = Identity.CLUSTER_AGENT
    async with hosts.in_process(member, members, retry_s=60.0, **coordinator) as first:
        asked = await first.local.post("/ob/stop", {"scope": {"type": "GLOBAL"}, "force": True})
    served = hosts.serve(a_view(other, member, members), keys[1], Passwords(root=ROOT_PASSWORD))
    async with served as fellow, hosts.in_process(member, members, **coordinator) as second:
        dag = await wait_end(second, asked.data["id"])
        assert (dag["state"], dag["stage"]) == ("SUCCEED", 5)
        assert [host.engine.deeds for host in (second, fellow)] == [["kill"]] * 2
        assert await locked([second]) == [False]


async def test_the_trace_of_a_request_goes_along_to_every_agent(cluster, monkeypatch):
    seen = []

    def traced(kill):
        async def deed(*arguments):
            seen.append(current_trace())
            await kill(*arguments)

        return deed

    for host in cluster:
        monkeypatch.setattr(host.engine, "kill", traced(host.engine.kill))
    asked = await cluster[0].api.post(
        "/ob/stop",
        {"scope": {"type": "GLOBAL"}, "force": True},
        headers={"X-OBSHELL-Trace-ID": "a trace"},
    )
    assert (await wait_end(cluster[0], asked.data["id"]))["state"] == "SUCCEED"
    assert seen == ["a trace"] * 3


async def test_an_agent_whose_answer_was_held_for_long_is_given_its_full_time_again(monkeypatch):
    monkeypatch.setattr(held, "LONGEST_SILENCE_S", 0.0)
    lost = errors.RPC_REQUEST_FAILED(agent="x", method="watch", cause="no answer")

    async def fails_at_once(*_):
        raise lost

    async def fails_after_a_while(*_):
        await asyncio.sleep(0.3)  # longer than an agent may be lost: the clock is meant
        raise lost

    async def answers(*_):
        return Progress()

    calls = iter([fails_at_once, fails_after_a_while, answers])

    async def call(*arguments):
        return await next(calls)(*arguments)

    settings, peers = SimpleNamespace(lost_agent_s=0.2), SimpleNamespace(call=call)
    run = SimpleNamespace(
        site=SimpleNamespace(settings=settings, peers=peers),
        agent=free_address(),
        deadline=Deadline.after(PATIENCE_S),
        log=lambda line: None,
    )
    assert (await together.watch_agent(run, SubDag(id="11"))).failure is None
