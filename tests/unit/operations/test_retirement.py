"""A departing agent and its lock: it is asked for beforehand, and is free in the end."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from pyobshell import errors
from pyobshell.cluster.model import Identity
from pyobshell.cluster.procedures import Caller
from pyobshell.deadline import Deadline
from pyobshell.errors import OBShellError
from pyobshell.operations import retirement
from pyobshell.operations.invited import Undoing, fate
from pyobshell.operations.join import LOCKED
from pyobshell.operations.retirement import Question, Retiring, retire
from pyobshell.operations.site import Site
from pyobshell.operations.sub_dag import ADVANCE, start_preparations
from pyobshell.tasks.model import DagPlan, NodePlan, Operator, State
from support.agents import a_member
from support.fake_cluster import form_cluster
from support.undertakings import (
    a_failed_sub_dag,
    a_part,
    a_stop_that_hangs,
    a_waiting_sub_dag,
    locked,
)
from support.waiting import PATIENCE_S, Gate, soon

pytestmark = pytest.mark.anyio


# --- beforehand ----------------------------------------------------------------------------------


@pytest.fixture
async def hosts_of_three(cluster_of_three):
    """Three agents whose servers form a cluster, one in each zone."""
    form_cluster(cluster_of_three, ("zone1", "zone2", "zone3"))
    yield cluster_of_three
    for host in cluster_of_three:
        host.engine.start_afresh()
        del host.engine.cluster


async def test_nobody_leaves_under_maintenance(hosts_of_three):
    first, second, third = hosts_of_three
    async with a_stop_that_hangs(first, third) as hanging:
        for answer in (
            await first.local.post("/ob/scale_in", {"agent_info": second.address.wire}),
            await first.local.ask("DELETE", "/zone/zone2", None),
        ):
            assert answer.refusal == ("Agent.UnderMaintenanceDag", 500)
            assert f"DAG {hanging}" in answer.message
    answer = await first.local.post("/ob/scale_in", {"agent_info": second.address.wire})
    assert answer.refusal == ("Agent.Maintainer.NotActive", 500)  # passed: only that is missing


# --- in the end ----------------------------------------------------------------------------------


@pytest.fixture
async def departing(start_member):
    """An agent that is to leave its cluster."""
    return await start_member(identity=Identity.SCALING_IN)


def asked(host, seconds=PATIENCE_S):
    caller = Caller(host.address, "", True, Deadline.after(seconds), lambda line: None)
    return retire.handler(host.site, caller, Retiring(cluster_dag_id="1"))


async def is_single(host):
    assert host.site.cluster.view.identity is Identity.SINGLE
    assert await locked([host]) == [False]


async def test_a_part_that_has_failed_does_not_keep_it(departing):
    dag = await a_failed_sub_dag(departing)
    await asked(departing)
    await is_single(departing)
    assert (await departing.site.tasks.dag(dag.id)).operator is Operator.PASS


async def test_a_part_that_nobody_ends_is_ended(departing, monkeypatch):
    monkeypatch.setattr(retirement, "_UNDER_WAY_S", 0.1)
    dag = await a_waiting_sub_dag(departing)
    await asked(departing)
    await is_single(departing)
    assert (await departing.site.tasks.dag(dag.id)).state is State.SUCCEED


async def test_something_else_is_not_ended(departing):
    plan = DagPlan("Something else", [NodePlan(start_preparations)], a_part(), LOCKED)
    dag = await departing.site.tasks.submit(plan)
    with pytest.raises(OBShellError) as refused:
        await asked(departing)
    assert refused.value.code is errors.AGENT_UNDER_MAINTENANCE
    assert departing.site.cluster.view.identity is Identity.SCALING_IN
    await departing.site.tasks.signal(dag.id, ADVANCE)
    await departing.site.tasks.wait_end(dag.id, Deadline.after(PATIENCE_S))
    await asyncio.gather(asked(departing), asked(departing))
    await is_single(departing)


# --- what anybody may ask ------------------------------------------------------------------------


async def test_of_those_who_ask_what_anybody_may_two_at_once_have_the_database_asked(
    departing, monkeypatch
):
    gate, asking, most = Gate(), [], []

    async def members():
        asking.append(1)
        most.append(len(asking))
        await gate.pass_through()
        asking.pop()
        raise errors.STORE_UNAVAILABLE(file="ocs", cause="it is enough")

    monkeypatch.setattr(Site, "require_ocs", lambda _: SimpleNamespace(members=members))
    view = departing.site.cluster.view.model_copy(update={"identity": Identity.CLUSTER_AGENT})
    monkeypatch.setattr(departing.site.cluster, "view", view)
    guest = Caller(departing.address, "a key", False, Deadline.after(PATIENCE_S), print)
    questions = [
        *(retirement.standing.handler(departing.site, guest, Question(rpc_port=1)) for _ in "abc"),
        *(fate.handler(departing.site, guest, Undoing(cluster_dag_id="17")) for _ in "abc"),
    ]
    answers = asyncio.gather(*questions, return_exceptions=True)
    await gate.reached()
    gate.open()
    assert len(await soon(answers)) == len(most) == 6
    assert max(most) == 2


# --- the files of a server that is none of the cluster -------------------------------------------


def task(name, member, **more):
    """A task of the cluster that concerned an agent: how it ended, and what was asked for."""
    of_growth = name == "Cluster scale out"
    parts = {"member": member} if of_growth else {"leaving": [member]}
    wanted = {"remove_data": more.pop("remove_data", False), **parts}
    params = retirement._Concerned(**wanted).model_dump_json()
    how = {"state": State.SUCCEED, "operator": Operator.RUN, **more}
    return SimpleNamespace(name=name, params=params, **how)


@pytest.mark.parametrize(
    ("names", "more", "go"),
    [
        (["Cluster scale in"], {"remove_data": True}, True),
        (["Cluster scale in"], {"remove_data": False}, False),
        (["Cluster scale in"], {"remove_data": True, "operator": Operator.ROLLBACK}, False),
        (["Cluster scale in"], {"remove_data": True, "state": State.FAILED}, False),
        (["Cluster scale out"], {"operator": Operator.ROLLBACK}, True),
        (["Cluster scale out"], {}, False),
        (["Delete zone", "Cluster scale in"], {"remove_data": False}, False),
        (["Something else"], {"remove_data": True}, False),
        ([], {}, False),
    ],
)
async def test_files_go_only_if_the_last_task_that_concerned_the_agent_wants_it(
    departing, keys, names, more, go
):
    me = a_member(departing.address, keys[0], "zone1")
    listed = [task(name, me, **more) for name in names]
    rebuilt = me.model_copy(update={"public_key": "of another life"})
    listed.insert(0, task("Cluster scale in", rebuilt, remove_data=True))

    async def newest(wanted):
        return next((one for one in listed if wanted(one)), None)

    site = SimpleNamespace(
        require_ocs=lambda: SimpleNamespace(tasks=SimpleNamespace(newest=newest))
    )
    key = departing.site.key.public_text
    asking = Caller(departing.address, key, True, Deadline.after(PATIENCE_S), print)
    assert await retirement._files_go(site, asking) is go
