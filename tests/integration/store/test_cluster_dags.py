"""DAGs of a whole cluster: recorded by any agent, run by one, executed where they say."""

from __future__ import annotations

import asyncio
import time

import pymysql
import pytest
from sqlalchemy import event

from pyobshell import errors
from pyobshell.cluster.model import Identity
from pyobshell.errors import OBShellError
from pyobshell.security.keyring import Keyring
from pyobshell.tasks.ids import GenericId
from pyobshell.tasks.model import Maintenance, MaintenanceType, NodePlan, Operator, State
from support.scripted import KEYS, ONCE, S1, S2, S3, S4, S5, SCRIPT, Seen
from support.sharing import maintainer_of, others
from support.staging import GLOBAL_LOCK, only, plan
from support.waiting import Gate, soon

pytestmark = pytest.mark.anyio


async def test_a_dag_of_five_stages_is_run_by_the_maintainer_whoever_recorded_it(agents):
    seen = Seen()
    SCRIPT.update(dict.fromkeys(KEYS, seen))
    maintainer = await maintainer_of(agents)
    for agent in agents:
        begun = time.perf_counter()
        dag = await agent.submit(plan(S1, S2, S3, S4, S5, lock=GLOBAL_LOCK))
        assert (dag.state, dag.stage) == (State.READY, 1)
        dag = await agent.ended(dag.id)
        print(f"five stages: {time.perf_counter() - begun:.3f} s")
        assert dag.state is State.SUCCEED
        assert only(dag, 5).agent == maintainer.address
        assert dag.data == {"where": {str(maintainer.address): str(GenericId(dag.id))}}
    assert {where for where, _ in seen.runs} == {str(maintainer.address)}


async def test_a_stage_that_names_agents_is_executed_on_each_of_them(agents):
    seen = Seen()
    SCRIPT["s1"] = seen
    addresses = [agent.address for agent in agents]
    dag = await agents[0].submit(plan(NodePlan(S1, addresses)))
    dag = await agents[0].ended(dag.id)
    assert dag.state is State.SUCCEED
    assert sorted(seen.runs) == sorted((str(one), False) for one in addresses)
    assert dag.data == {"where": {str(one): str(GenericId(dag.id)) for one in addresses}}
    for task in dag.nodes[0].sub_tasks:
        assert task.logs == (f"begun on {task.agent}", f"ended on {task.agent}")


# --- locks ---------------------------------------------------------------------------------------


async def codes(*submitting):
    """How each of these ended that were begun at once: a DAG, or the code of an error."""
    results = await asyncio.gather(*submitting, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, OBShellError):
            raise result
    return [one.code if isinstance(one, OBShellError) else State.READY for one in results]


async def test_of_those_that_want_the_cluster_at_once_one_gets_it(agents):
    gate = Gate()
    SCRIPT["s1"] = lambda run: gate.pass_through()
    a_tenant = Maintenance(MaintenanceType.TENANT, "t1")
    locks = [GLOBAL_LOCK, a_tenant, GLOBAL_LOCK, a_tenant]
    got = await codes(*(agents[n % 3].submit(plan(S1, lock=lock)) for n, lock in enumerate(locks)))
    (winner,) = [n for n, one in enumerate(got) if one is State.READY]
    for n, one in enumerate(got):
        if n == winner:
            continue
        same_tenant = locks[n] == locks[winner] == a_tenant
        assert one is (
            errors.TENANT_UNDER_MAINTENANCE if same_tenant else errors.CLUSTER_UNDER_MAINTENANCE_DAG
        )
    (dag,) = await agents[0].ocs.tasks.dags(unfinished=True)
    gate.open()
    await agents[0].ended(dag.id)
    again = await agents[0].submit(plan(S1, lock=GLOBAL_LOCK))
    await agents[0].ended(again.id)


async def test_tenants_are_busy_beside_each_other(agents):
    gate = Gate()
    SCRIPT["s1"] = lambda run: gate.pass_through()
    locks = [Maintenance(MaintenanceType.TENANT, name) for name in ("t1", "T1", "t2")]
    dags = await asyncio.gather(*(agents[0].submit(plan(S1, lock=lock)) for lock in locks))
    gate.open()
    for dag in dags:
        assert (await agents[0].ended(dag.id)).state is State.SUCCEED


# --- operators -----------------------------------------------------------------------------------


async def test_any_agent_takes_orders_for_a_dag(agents):
    failing, gate = True, Gate()

    async def act(run):
        await gate.pass_through()
        if failing:
            raise errors.ZONE_NOT_EXIST(zone="z9")

    SCRIPT["s1"] = act
    maintainer = await maintainer_of(agents)
    other = others(agents, maintainer)[0]
    dag = await other.submit(plan(S1, lock=GLOBAL_LOCK))
    await gate.reached()
    with pytest.raises(OBShellError) as refused:
        await other.ocs.tasks.operate(dag.id, Operator.RETRY)
    assert refused.value.code is errors.DAG_RETRY_NOT_FAILED
    gate.open()
    dag = await other.ended(dag.id)
    assert (dag.state, only(dag, 1).logs) == (
        State.FAILED,
        ("ERROR: [OB.Zone.NotExist]: Zone 'z9' does not exist",),
    )
    failing = False
    await other.ocs.tasks.operate(dag.id, Operator.RETRY)
    assert (await other.ended(dag.id)).state is State.SUCCEED


async def test_a_cancelled_dag_ends_on_the_agent_that_executes_it(agents):
    seen = Seen()
    SCRIPT["s1"] = seen
    maintainer = await maintainer_of(agents)
    one, other = others(agents, maintainer)
    gate = seen.gates[str(one.address)] = Gate()
    dag = await other.submit(plan(NodePlan(S1, [one.address])))
    await gate.reached()
    await other.ocs.tasks.operate(dag.id, Operator.CANCEL)
    await gate.given_up()
    dag = await other.ended(dag.id)
    assert (dag.state, dag.operator) == (State.FAILED, Operator.CANCEL)
    assert only(dag, 1).logs[-1] == "Cancelled by an operator"


async def test_a_stage_waits_on_another_agent_for_a_signal(agents):
    async def act(run):
        await run.signal("go")

    SCRIPT["s1"] = act
    dag = await agents[0].submit(plan(NodePlan(S1, [one.address for one in agents])))
    await agents[1].ocs.tasks.signal(dag.id, "go")
    assert (await agents[1].ended(dag.id)).state is State.SUCCEED


# --- losses --------------------------------------------------------------------------------------


async def test_lost_connections_are_made_again(agents):
    maintainer = await maintainer_of(agents)
    for _ in range(3):
        dag = await agents[0].submit(plan(S1))
        assert (await agents[1].ended(dag.id)).state is State.SUCCEED
        for agent in agents:
            agent.line.drop()
    assert maintainer.maintains


@pytest.mark.parametrize("was_made", [True, False])
async def test_a_dag_whose_commit_is_not_answered_is_recorded_once(agents, was_made):
    tasks, lost = agents[0].ocs.tasks, []
    before = [one.id for one in await tasks.dags()]
    writer = tasks._database._writer

    @event.listens_for(writer, "commit")
    def lose(connection):
        if not lost:
            lost.append(connection.connection.commit() if was_made else None)
            raise pymysql.err.OperationalError(2013, "Lost connection during query")

    dag = await agents[0].submit(plan(S1, lock=GLOBAL_LOCK))
    event.remove(writer, "commit", lose)
    assert (await agents[1].ended(dag.id)).state is State.SUCCEED
    assert [one.id for one in await tasks.dags()] == [*before, dag.id]


async def test_a_dag_that_nobody_was_told_of_is_begun_before_long(agents):
    tasks = agents[0].ocs.tasks

    async def nothing(dag_id):
        pass

    tasks._wake = nothing
    dag = await tasks.submit(plan(S1))
    assert (await agents[0].ended(dag.id)).state is State.SUCCEED


async def test_an_agent_that_is_lost_while_it_executes_is_asked_again(agents):
    runs, gate = [], Gate()

    async def act(run):
        runs.append(run.continuing)
        if len(runs) == 1:
            await gate.pass_through()

    SCRIPT["s1"] = act
    maintainer = await maintainer_of(agents)
    one = others(agents, maintainer)[0]
    dag = await maintainer.submit(plan(NodePlan(S1, [one.address])))
    await gate.reached()
    for task in one.ocs.executor._under_way.values():
        task.cancel()  # its connection breaks, as when the agent is restarted
    dag = await maintainer.ended(dag.id)
    assert (dag.state, runs) == (State.SUCCEED, [False, True])
    assert only(dag, 1).logs[0].startswith(f"{one.address} is out of reach, asking again")


async def test_a_stage_that_cannot_be_continued_fails_with_its_agent(agents):
    gate = Gate()
    SCRIPT["once"] = lambda run: gate.pass_through()
    maintainer = await maintainer_of(agents)
    one = others(agents, maintainer)[0]
    dag = await maintainer.submit(plan(NodePlan(ONCE, [one.address])))
    await gate.reached()
    for task in one.ocs.executor._under_way.values():
        task.cancel()
    dag = await maintainer.ended(dag.id)
    assert dag.state is State.FAILED
    assert "Agent.RPC.RequestFailed" in only(dag, 1).logs[-1]


# --- the API -------------------------------------------------------------------------------------


async def test_the_api_shows_a_cluster_dag_at_every_agent_and_takes_orders(agents, seekdb):
    async def act(run):
        run.log("a line")
        raise ValueError("as it should")

    SCRIPT["s1"] = act
    seekdb.rows("DELETE FROM dag")
    maintainer = await maintainer_of(agents)
    before = (await agents[0].host.local.get("/task/dag/maintain/ob")).refusal
    assert before == ("Task.NotFound", 404)
    dag = await agents[0].submit(plan(S1, lock=GLOBAL_LOCK))
    await agents[0].ended(dag.id)
    number = f"1{dag.id}"
    cut_off = others(agents, maintainer)[0]
    cut_off.line.cut()
    for agent in agents:
        ask = agent.host.local
        shown = (await ask.get(f"/task/dag/{number}")).data
        assert (shown["id"], shown["state"]) == (number, "FAILED")
        (node,) = shown["nodes"]
        assert (await ask.get(f"/task/node/{node['id']}")).data["node_id"] == node["node_id"]
        (task,) = node["sub_tasks"]
        assert task["execute_agent"] == maintainer.address.wire
        assert task["task_logs"] == [
            "a line",
            "ERROR: [Common.Unexpected]: Unexpected error: as it should",
        ]
        assert (await ask.get(f"/task/sub_task/{task['id']}")).data == task
        for path in ("/task/dags/ob", "/task/dag/ob/unfinish", "/task/dag/unfinish"):
            assert [one["id"] for one in (await ask.get(path)).contents] == [number]
        assert (await ask.get("/task/dag/maintain/ob")).data["id"] == number
        assert (await ask.get("/task/dag/1999999")).refusal == ("Task.NotFound", 404)
    done = await cut_off.host.local.post(f"/task/dag/{number}", {"operator": "pass"})
    assert done.status == 200
    cut_off.line.mend()
    assert (await cut_off.host.local.get("/task/dag/ob/unfinish")).contents == []
    assert [one["id"] for one in (await cut_off.host.local.get("/task/dags/ob")).contents]


# --- members -------------------------------------------------------------------------------------


@pytest.fixture
async def members(agents):
    """The members as they are listed; the list is put right again after the test."""
    known = agents[0].site.cluster.view.members
    await agents[0].ocs.write_members(known)
    for agent in agents:
        await agent.ocs.synchronize()
    yield known
    await agents[0].ocs.write_members(known)
    for agent in agents:
        await agent.ocs.synchronize()


async def test_members_are_learned_from_the_clusters_own_list(agents, members):
    before = (await agents[0].ocs.members()).version
    moved = members[1].model_copy(update={"zone": "elsewhere"})
    await agents[1].ocs.put_member(moved)
    await agents[2].ocs.remove_member(members[2].address)
    listed = await agents[0].ocs.members()
    assert (listed.version, listed.members) == (before + 2, (members[0], moved))
    for agent in agents[:2]:
        await agent.ocs.synchronize()
        assert agent.site.cluster.view.members == (members[0], moved)
        assert agent.site.cluster.view.members_version == listed.version
    await agents[2].ocs.synchronize()
    assert agents[2].site.cluster.view.member(agents[2].address) == members[2]
    await agents[0].ocs.put_member(members[2])
    assert (await agents[0].ocs.members()).members == (members[0], moved, members[2])


async def test_a_key_that_was_changed_is_shown_to_all_and_kept_by_who_alters_the_member(
    agents, members
):
    changed = agents[1].site
    before = Keyring(changed.keyring.key)
    try:
        changed.keyring.become(changed.keyring.successor(2048))
        await agents[1].ocs.show_own_key()
        # A task that was begun before alters the member as it knew it.
        scaling = members[1].model_copy(update={"identity": Identity.SCALING_IN})
        await agents[0].ocs.enter_member(scaling)
        listed = (await agents[0].ocs.members()).members[1]
        assert listed == scaling.model_copy(update={"public_key": changed.keyring.public_text})
        version = (await agents[0].ocs.members()).version
        await agents[1].ocs.show_own_key()
        assert (await agents[0].ocs.members()).version == version
        await agents[2].ocs.synchronize()
        assert agents[2].site.cluster.view.members[1] == listed
    finally:
        changed.keyring.become(before)


async def test_a_new_list_of_members_reaches_agents_with_the_lease(agents, members, monkeypatch):
    maintainer = await maintainer_of(agents)
    changed = asyncio.Event()
    save = maintainer.site.cluster.change

    async def note(*arguments):
        await save(*arguments)
        changed.set()

    monkeypatch.setattr(maintainer.site.cluster, "change", note)
    moved = [member.model_copy(update={"zone": "elsewhere"}) for member in members]
    await others(agents, maintainer)[0].ocs.write_members(moved)
    await soon(changed.wait())
    assert maintainer.site.cluster.view.members == tuple(moved)
