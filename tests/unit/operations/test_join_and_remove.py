"""Agents come together and part: what each of them is before and after."""

from __future__ import annotations

import asyncio

import pytest

from pyobshell import errors
from pyobshell.cluster.model import Identity
from pyobshell.operations.join import admit
from pyobshell.security.verify import Passwords
from support.agents import a_member, a_view, free_address
from support.asking import AGENT_HEADER
from support.listening import listen
from support.undertakings import a_waiting_sub_dag, locked, logs_of, outline, wait_end
from support.waiting import PATIENCE_S, soon

__all__ = ["listen"]

pytestmark = pytest.mark.anyio

SINGLE, MASTER, FOLLOWER = Identity.SINGLE, Identity.MASTER, Identity.FOLLOWER
IDENTITY = ("Agent.Identify.NotSupportOperation", 400)


async def identity_of(host):
    return (await host.api.plain("GET", "/api/v1/info")).data["identity"]


async def agents_known_to(host):
    data = (await host.local.get("/ob/info")).data
    return [(one["ip"], one["port"], one["identity"], one["zone"]) for one in data["agent_info"]]


async def join(host, master, zone, **more):
    """A join, as the joining agent shows it in the end."""
    body = {"agentInfo": master.wire, "zoneName": zone, **more}
    answer = await host.local.post("/agent/join", body)
    return await wait_end(host, answer.data["id"])


# --- join ----------------------------------------------------------------------------------------


async def test_an_agent_that_joins_itself_leads(start_host):
    host = await start_host()
    dag = await join(host, host.address, "zone1")
    assert outline(dag) == [("Join self", "SUCCEED")]
    assert dag["name"] == "Join self"
    info = (await host.api.plain("GET", "/api/v1/info")).data
    assert (info["identity"], info["zone"]) == (MASTER, "zone1")
    assert await agents_known_to(host) == [(*host.address, MASTER, "zone1")]
    assert await locked([host]) == [False]


async def test_an_agent_that_joins_another_follows_it(hosts):
    async with hosts.serving(3, [MASTER, SINGLE, SINGLE]) as (master, second, third):
        for host, zone in ((second, "zone2"), (third, "zone3")):
            dag = await join(host, master.address, zone)
            assert dag["name"] == "Join to master"
            assert outline(dag) == [("Join to master", "SUCCEED"), ("Be follower", "SUCCEED")]
            assert await identity_of(host) == FOLLOWER
        expected = [
            (*master.address, MASTER, "zone1"),
            (*second.address, FOLLOWER, "zone2"),
            (*third.address, FOLLOWER, "zone3"),
        ]
        assert await agents_known_to(master) == expected
        assert await agents_known_to(third) == expected
        assert await locked([master, second, third]) == [False] * 3


async def test_a_master_may_ask_for_the_task_of_an_agent_that_has_not_joined_it_yet(
    listen, keys, monkeypatch
):
    own, host = free_address(), await listen(0)
    master = await listen(1, MASTER, [a_member(own, keys[1], "zone1", MASTER)], address=own)
    call, ask, refused = host.site.peers.call, master.site.peers._call, asyncio.Event()

    async def call_when_refused(peer, procedure, *arguments, **more):
        if procedure is admit:
            await soon(refused.wait())
        return await call(peer, procedure, *arguments, **more)

    async def ask_and_tell(*arguments):
        try:
            return await ask(*arguments)
        except errors.OBShellError:
            refused.set()
            raise

    monkeypatch.setattr(master.site.peers, "_retry_s", PATIENCE_S)
    monkeypatch.setattr(host.site.peers, "call", call_when_refused)
    monkeypatch.setattr(master.site.peers, "_call", ask_and_tell)
    body = {"agentInfo": master.address.wire, "zoneName": "zone2"}
    begun = (await host.local.post("/agent/join", body)).data["id"]
    assert (await master.local.get(f"/task/dag/{begun}")).data["name"] == "Join to master"
    assert refused.is_set()
    assert (await wait_end(host, begun))["state"] == "SUCCEED"


async def test_a_join_is_taken_at_the_other_path_as_well(start_host):
    host = await start_host()
    body = {"AGENTINFO": host.address.wire, "zonename": "zone1", "masterPassword": None}
    answer = await host.api.post("/agent", body)
    assert (await wait_end(host, answer.data["id"]))["state"] == "SUCCEED"


async def test_an_agent_with_a_password_takes_in_who_knows_it(hosts):
    passwords = Passwords(agent="the master's")
    async with hosts.serving(3, [MASTER, SINGLE, SINGLE], passwords) as (master, second, third):
        dag = await join(second, master.address, "zone2", masterPassword="wrong")
        assert (dag["state"], dag["stage"]) == ("FAILED", 1)
        last = logs_of(dag["nodes"][0])[-1]
        assert last.startswith("ERROR: [Security.Authentication.IncorrectAgentPassword]")
        assert await identity_of(second) == SINGLE
        await second.local.post(f"/task/dag/{dag['id']}", {"operator": "ROLLBACK"})
        rolled_back = await wait_end(second, dag["id"])
        assert (rolled_back["state"], rolled_back["operator"]) == ("SUCCEED", "ROLLBACK")
        dag = await join(second, master.address, "zone2", masterPassword="wrong")
        assert dag["state"] == "FAILED"  # no lock of the first attempt is in its way
        dag = await join(third, master.address, "zone3", masterPassword="the master's")
        assert dag["state"] == "SUCCEED"
        assert "the master's" not in str(dag)
        known = [one[:2] for one in await agents_known_to(master)]
        assert known == [tuple(master.address), tuple(third.address)]


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        ({"zoneName": "zone1"}, "Common.BindJsonFailed"),
        ({"agentInfo": {"ip": "10.0.0.1", "port": 2886}}, "Common.BindJsonFailed"),
        ({"agentInfo": {"ip": "10.0.0.1"}, "zoneName": "z"}, "Common.BindJsonFailed"),
        ({"agentInfo": {"ip": "::1", "port": "2886"}, "zoneName": "z"}, "Common.BindJsonFailed"),
        ({"agentInfo": {"ip": "10.0.0.1", "port": 2886}, "zoneName": " "}, "OB.Zone.Name.Empty"),
        ({"agentInfo": {"ip": "host", "port": 2886}, "zoneName": "z"}, "Common.InvalidIp"),
        ({"agentInfo": {"ip": "10.0.0.1", "port": 80}, "zoneName": "z"}, "Common.InvalidPort"),
    ],
)  # fmt: skip
async def test_a_join_that_does_not_fit_is_refused(unchanged_single, body, refusal):
    answer = await unchanged_single.api.post("/agent/join", body)
    assert answer.refusal == (refusal, 400)


@pytest.mark.parametrize("identity", [MASTER, FOLLOWER, Identity.CLUSTER_AGENT])
async def test_only_an_agent_of_no_cluster_can_join(start_member, identity):
    host = await start_member(identity)
    body = {"agentInfo": host.address.wire, "zoneName": ""}
    assert (await host.local.post("/agent/join", body)).refusal == IDENTITY
    assert await identity_of(host) == identity


async def test_an_agent_that_cannot_be_reached_cannot_be_joined(start_host):
    host = await start_host()
    body = {"agentInfo": free_address().wire, "zoneName": "zone1"}
    assert (await host.api.post("/agent/join", body)).refusal == ("Common.Unexpected", 500)
    assert await host.site.tasks.dags() == []


async def test_an_agent_beside_the_files_of_another_server_cannot_join(start_host):
    host = await start_host()
    host.engine.initialized = True
    body = {"agentInfo": host.address.wire, "zoneName": "zone1"}
    answer = await host.api.post("/agent/join", body)
    assert answer.refusal == ("Common.IllegalArgument", 400)
    assert "remove them first" in answer.message
    assert await host.site.tasks.dags() == []


async def test_only_a_master_of_the_same_versions_can_be_joined(hosts, start_host, monkeypatch):
    async with hosts.serving(2, [SINGLE, MASTER]) as (single, master):
        host = await start_host()
        for other, refusal in [
            (single, IDENTITY),
            (master, ("Agent.OB.Version.Inconsistent", 400)),
        ]:
            other.engine.version = _version("another")
            body = {"agentInfo": other.address.wire, "zoneName": "zone9"}
            answer = await host.api.post("/agent/join", body)
            assert answer.refusal == refusal
            assert str(other.address) in answer.message
        master.engine.version = host.engine.version
        monkeypatch.setattr("pyobshell.operations.join.API_VERSION", "4.5.0.0-99")
        answer = await host.api.post("/agent/join", body)
        assert answer.refusal == ("Agent.Version.Inconsistent", 400)
        assert await host.site.tasks.dags() == []


def _version(text):
    async def version():
        return text

    return version


# --- remove --------------------------------------------------------------------------------------


async def remove(host, agent):
    """A removal through the agent's own socket; None when there was nothing to do."""
    answer = await host.local.post("/agent/remove", agent.wire)
    if answer.status == 204:
        return None
    return await wait_end(host, answer.data["id"])


async def test_a_master_that_is_removed_takes_its_followers_along(hosts):
    async with hosts.serving(3, [MASTER, FOLLOWER, FOLLOWER]) as made:
        dag = await remove(made[0], made[0].address)
        assert dag["name"] == "Remove all agents"
        assert outline(dag) == [("Remove follower", "SUCCEED"), ("Remove master", "SUCCEED")]
        executed = [task["execute_agent"] for task in dag["nodes"][0]["sub_tasks"]]
        assert executed == [host.address.wire for host in made[1:]]
        assert [await identity_of(host) for host in made] == [SINGLE] * 3
        for host in made:
            assert [one[:2] for one in await agents_known_to(host)] == [tuple(host.address)]
            assert (await host.local.get("/task/dag/unfinish")).contents == []


async def test_a_master_removes_a_follower(hosts):
    async with hosts.serving(3, [MASTER, FOLLOWER, FOLLOWER]) as (master, gone, stays):
        dag = await remove(master, gone.address)
        assert dag["name"] == f"Remove follower agent {gone.address}"
        assert outline(dag) == [("Remove follower", "SUCCEED")]
        assert await identity_of(gone) == SINGLE
        assert [one[:2] for one in await agents_known_to(master)] == [
            tuple(master.address),
            tuple(stays.address),
        ]
        assert await join_again(gone, master) == "SUCCEED"


async def join_again(host, master):
    return (await join(host, master.address, "zone9"))["state"]


async def test_a_follower_removes_itself(hosts):
    async with hosts.serving(2, [MASTER, FOLLOWER]) as (master, follower):
        dag = await remove(follower, follower.address)
        assert dag["name"] == "Follower remove self"
        assert dag["state"] == "SUCCEED"
        assert await identity_of(follower) == SINGLE
        assert [one[:2] for one in await agents_known_to(master)] == [tuple(master.address)]


async def test_a_follower_has_its_master_remove_another(hosts):
    async with hosts.serving(3, [MASTER, FOLLOWER, FOLLOWER]) as (master, asked, gone):
        answer = await asked.local.post("/agent/remove", gone.address.wire)
        assert answer.data["name"] == f"Remove follower agent {gone.address}"
        await wait_end(master, answer.data["id"])
        assert await identity_of(gone) == SINGLE
        assert await identity_of(asked) == FOLLOWER


async def test_a_follower_that_cannot_be_reached_is_struck_off(start_member, keys):
    host = await start_member(MASTER)
    lost = host.site.cluster.view.others[0]
    dag = await remove(host, lost)
    assert dag["state"] == "SUCCEED"
    assert any(line.startswith("WARNING") for line in logs_of(dag["nodes"][0]))
    assert lost not in host.site.cluster.view.addresses
    assert len(host.site.cluster.view.addresses) == 2


async def test_there_is_nothing_to_remove_where_nobody_is(start_host, start_member):
    alone = await start_host()
    assert await remove(alone, alone.address) is None
    master = await start_member(MASTER, zones=("zone1",))
    assert await remove(master, free_address()) is None
    for host in (alone, master):
        assert await host.site.tasks.dags() == []


async def test_what_was_set_for_a_cluster_is_forgotten_with_it(start_member):
    host = await start_member(MASTER, zones=("zone1",), passwords=Passwords("r", "a"))
    await host.site.cluster.add_server_options("GLOBAL", [], {"mysql_port": "3881"})
    (me,) = host.site.cluster.view.members
    assert await host.site.cluster.server_options(me) == {"mysql_port": "3881"}
    answer = await host.api.ask(
        "DELETE", "/agent", host.address.wire, sealed_with=AGENT_HEADER, password="a"
    )
    assert (await wait_end(host, answer.data["id"]))["state"] == "SUCCEED"
    assert host.site.cluster.passwords == Passwords(None, "a")
    assert host.site.cluster.view == a_view_of_nothing(host.address)
    assert await host.site.cluster.server_options(me) == {}


def a_view_of_nothing(own):
    return a_view(own, SINGLE, []).model_copy(update={"cluster_id": 0, "cluster_name": ""})


@pytest.mark.parametrize("identity", [Identity.CLUSTER_AGENT, Identity.SCALING_IN])
async def test_no_other_agent_can_be_removed(start_member, identity):
    host = await start_member(identity)
    for agent in host.site.cluster.view.addresses:
        assert (await host.local.post("/agent/remove", agent.wire)).refusal == IDENTITY
    assert await identity_of(host) == identity


async def test_an_agent_of_no_cluster_removes_nobody_else(start_host):
    host = await start_host()
    assert (await host.local.post("/agent/remove", free_address().wire)).refusal == IDENTITY


async def test_nothing_is_removed_under_maintenance(start_member):
    host = await start_member(MASTER)
    blocking = await a_waiting_sub_dag(host)
    answer = await host.local.post("/agent/remove", host.address.wire)
    assert answer.refusal == ("Agent.UnderMaintenanceDag", 500)
    assert [dag.id for dag in await host.site.tasks.dags()] == [blocking.id]
    assert await identity_of(host) == MASTER
