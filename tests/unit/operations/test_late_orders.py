"""An order to stop that a target hears late, or of an earlier life of its agent."""

from __future__ import annotations

import time

import pytest

from pyobshell import errors
from pyobshell.cluster.model import Identity
from pyobshell.cluster.procedures import Caller
from pyobshell.deadline import Deadline
from pyobshell.operations import sub_dag
from pyobshell.operations.majority import Leaving
from pyobshell.operations.release import MainDag, needs
from pyobshell.operations.stop import stop_observer
from pyobshell.security.keyring import life_of
from pyobshell.security.verify import Passwords
from support.agents import ROOT_PASSWORD, a_member, free_address
from support.fake_cluster import FakeCluster
from support.staging import until
from support.undertakings import (
    a_part,
    a_waiting_sub_dag,
    id_of,
    servers,
    wait_end,
)
from support.waiting import PATIENCE_S

pytestmark = pytest.mark.anyio
ZONES = ("zone1", "zone2", "zone3")


def three_members(keys):
    """Three agents, each with a server of one cluster, and what the first is made with."""
    own, *others = (free_address() for _ in ZONES)
    members = [a_member(one, keys[0], z) for one, z in zip((own, *others), ZONES, strict=True)]
    ob = FakeCluster([(member.server, member.zone) for member in members])
    life = {"address": own, "passwords": Passwords(root=ROOT_PASSWORD), "cluster": ob}
    return members, ob, life


@pytest.fixture
async def last_host(hosts, keys):
    """The one of three agents, each with a server of one cluster, that can be reached."""
    members, _, life = three_members(keys)
    async with hosts.in_process(Identity.CLUSTER_AGENT, members, **life) as host:
        yield host


async def test_who_could_not_be_released_by_a_task_that_gave_up_is_told_so_when_it_asks(last_host):
    ob = last_host.engine.cluster
    looks = iter([lambda: None])  # lost from the second look on
    behind = ob.places[2][0]
    ob.before["views"] = lambda: next(looks, lambda: ob.behind.add(behind))()
    asked = {"scope": servers(last_host), "terminate": True}
    began = await last_host.local.post("/ob/stop", asked)
    dag = await wait_end(last_host, began.data["id"])
    assert (dag["state"], dag["stage"]) == ("FAILED", 4)
    key = last_host.site.key.public_text
    caller = Caller(last_host.address, key, True, Deadline.after(PATIENCE_S), print)
    main = MainDag(number=dag["dag_id"], life=life_of(key))
    assert not (await needs.handler(last_host.site, caller, main)).needed


async def test_who_hears_of_the_look_too_late_does_nothing(last_host):
    tasks = last_host.site.tasks
    dag = await a_waiting_sub_dag(last_host, id_of(last_host, 99))

    async def tell(age_s):
        go = sub_dag.GoAhead(id=id_of(last_host, dag.id), looked_at=time.time() - age_s)
        patience = Deadline.after(PATIENCE_S)
        await last_host.site.peers.call(last_host.address, sub_dag.advance, go, patience)

    with pytest.raises(errors.OBShellError, match=r"60\.\d s after .* has done nothing") as late:
        await tell(60)
    assert late.value.code is errors.SUB_DAG_NOT_ALL_ADVANCED
    assert (await tasks.dag(dag.id)).stage == 1
    await tell(0)
    await until(tasks, dag.id, lambda dag: dag.stage == 3)
    assert last_host.engine.deeds == ["kill"]
    await tell(60)  # it has begun: asked once more, the answer is the same


@pytest.mark.parametrize("died_in", ["wait", "kill"])
@pytest.mark.parametrize("spared", [True, False], ids=["spared", "not spared"])
async def test_an_order_of_an_earlier_life_is_carried_out_only_if_the_cluster_still_spares_it(
    hosts, keys, died_in, spared
):
    members, ob, life = three_members(keys)
    part = a_part().model_copy(update={"leaving": Leaving(servers=[members[0].server])})
    async with hosts.in_process(Identity.CLUSTER_AGENT, members, **life) as host:
        asking = life_of(host.site.key.public_text)
        plan = sub_dag.sub_dag_plan("Stop observer", part, (stop_observer,), asking)
        dag = await host.site.tasks.submit(plan)
        if died_in == "kill":
            gate = host.engine.hold("kill")
            await host.site.tasks.signal(dag.id, sub_dag.ADVANCE)
            await gate.reached()
        else:
            await until(host.site.tasks, dag.id, lambda dag: dag.stage == 1)
    if not spared:
        ob.behind.add(members[2].server)
    async with hosts.in_process(Identity.CLUSTER_AGENT, members, **life) as host:
        await host.site.tasks.signal(dag.id, sub_dag.ADVANCE)
        dag = await until(host.site.tasks, dag.id, lambda dag: dag.state.ended or dag.stage == 3)
        assert host.engine.deeds == (["kill"] if spared else [])
        log = dag.nodes[1].sub_tasks[0].logs
        assert any("Look whether every log stream keeps its majority" in line for line in log)
        assert ("OB.Cluster.Tenant.Replica.Invalid" in log[-1]) != spared
