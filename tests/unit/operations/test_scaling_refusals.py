"""What is refused before a cluster grows or shrinks, in which order, and that nothing is recorded.

The agents here have no database of the cluster: a request that is refused for nothing else is
refused for that.
"""

from __future__ import annotations

import pytest

from pyobshell import errors
from pyobshell.address import Address
from pyobshell.cluster.model import Identity
from pyobshell.engines.ob_cluster import UnitRow
from pyobshell.operations import delete_zone, scale_in, scale_out
from pyobshell.operations.departure import Departure
from pyobshell.operations.keeper import ServerSettings
from pyobshell.security.verify import Passwords
from pyobshell.tasks.model import Ability
from support.agents import ROOT_PASSWORD, a_member, free_address
from support.fake_cluster import FakeCluster, form_cluster

pytestmark = pytest.mark.anyio

PASSED = ("Agent.Maintainer.NotActive", 500)
ILLEGAL = ("Common.IllegalArgument", 400)
IDENTITY = ("Agent.Identify.NotSupportOperation", 400)
OPTIONS = {"mysql_port": "3881", "rpc_port": "3882"}


@pytest.fixture(scope="module")
async def pair(anyio_backend, hosts):
    """A member of a cluster of its own, and an agent that belongs to nothing."""
    passwords = Passwords(root=ROOT_PASSWORD, agent="the agent's")
    async with hosts.serving(
        2, [Identity.CLUSTER_AGENT, Identity.SINGLE], passwords=passwords
    ) as made:
        yield made


@pytest.fixture
def ob(pair):
    yield form_cluster(pair[:1], ["zone1"])
    del pair[0].engine.cluster


async def ask(pair, **more):
    body = {
        "agentInfo": pair[1].address.wire,
        "zone": "zone1",
        "obConfigs": OPTIONS,
        "targetAgentPassword": "the agent's",
        **more,
    }
    return await pair[0].local.post("/ob/scale_out", body)


# --- scale out -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "refusal"),
    [
        ({"agentInfo": {"ip": "host", "port": 2886}}, ("Common.InvalidIp", 400)),
        ({"zone": " "}, ("OB.Zone.Name.Empty", 400)),
        ({"obConfigs": {"zone": "zone2"}}, ILLEGAL),
        ({"obConfigs": {"rpc_port": "80"}}, ("Common.InvalidPort", 400)),
        ({"obConfigs": {"mysql_port": "3882", "rpc_port": "3882"}}, ILLEGAL),
        ({"agentInfo": free_address().wire}, ("Agent.RPC.RequestFailed", 500)),
        ({"targetAgentPassword": "another"}, ILLEGAL),
        ({"targetAgentPassword": "long" * 100}, ILLEGAL),
        ({}, PASSED),
        ({"zone": "zone9"}, PASSED),
    ],
)
async def test_a_scale_out(pair, ob, more, refusal):
    answer = await ask(pair, **more)
    assert answer.refusal == refusal
    assert "the agent's" not in answer.message
    assert (await pair[1].local.get("/task/dags/agent")).contents == []


async def test_a_scale_out_of_a_server_that_is_there(pair, ob):
    ip = pair[1].address.ip
    ob.places.append((Address(ip, 3882), "zone1"))
    answer = await ask(pair)
    assert answer.refusal == ("Agent.AlreadyExists", 500)
    ob.places[-1] = (Address(ip, 3881), "zone1")
    answer = await ask(pair)
    assert answer.refusal == ILLEGAL
    assert "has port 3881" in answer.message


async def test_a_scale_out_on_the_port_of_the_agent(pair, ob):
    port = str(pair[1].address.port)
    answer = await ask(pair, obConfigs={"mysql_port": port, "rpc_port": "3882"})
    assert answer.refusal == ILLEGAL
    assert f"has port {port}" in answer.message


async def test_a_scale_out_into_a_zone_that_is_stopped(pair, ob):
    ob.stopped_zones.add("zone1")
    answer = await ask(pair)
    assert answer.refusal == ILLEGAL
    assert "start it first" in answer.message


@pytest.mark.parametrize(
    ("mine", "code"),
    [
        ("4.4.0.0-0", "OB.Cluster.ScaleOutHigherVersion"),
        ("4.10.0.0-0", "OB.Cluster.ScaleOutLowerVersion"),
    ],
)
async def test_a_scale_out_of_another_version(pair, ob, monkeypatch, mine, code):
    monkeypatch.setattr(scale_out, "API_VERSION", mine)
    assert (await ask(pair)).refusal == (code, 400)


async def test_why_an_agent_cannot_say_what_it_is_is_told(pair, ob, monkeypatch):
    async def version():
        raise errors.SERVER_UNAVAILABLE(reason="/opt/observer: permission denied")

    monkeypatch.setattr(pair[1].engine, "version", version)
    answer = await ask(pair)
    assert answer.refusal == ("Agent.RPC.RequestFailed", 500)
    assert "/opt/observer: permission denied" in answer.message


async def test_a_scale_out_of_an_agent_that_is_not_free(pair, ob, monkeypatch):
    answer = await ask(pair, agentInfo=pair[0].address.wire)
    assert answer.refusal == ("Agent.AlreadyExists", 500)
    monkeypatch.setattr(pair[1].engine, "initialized", True)
    answer = await ask(pair)
    assert answer.refusal == ILLEGAL
    assert "remove them first" in answer.message


# --- scale in ------------------------------------------------------------------------------------


@pytest.fixture
def ob_of_three(member):
    """Servers of the member's cluster: one in zone1, two in zone2."""
    members = member.site.cluster.view.members
    cluster = FakeCluster([(one.server, one.zone) for one in members])
    member.engine.cluster = cluster
    return cluster


async def scale_in_of(host, agent, **more):
    return await host.local.post("/ob/scale_in", {"agent_info": agent.wire, **more})


async def test_a_scale_in(member, ob_of_three, start_host):
    second = member.site.cluster.view.members[1]
    assert (await scale_in_of(member, member.address)).refusal == ("OB.Server.DeleteSelf", 400)
    assert (await scale_in_of(member, free_address())).status == 204
    assert (await scale_in_of(member, second.address)).refusal == PASSED
    alone = await start_host()
    assert (await scale_in_of(alone, alone.address)).status == 204
    assert (await scale_in_of(alone, second.address)).refusal == IDENTITY


async def test_a_scale_in_needs_somebody_who_takes_the_units(member, ob_of_three):
    _, second, third = member.site.cluster.view.members
    unit = UnitRow(1001, 1, "zone2", second.server)
    ob_of_three.unit_rows = [unit]
    assert (await scale_in_of(member, second.address)).refusal == PASSED
    ob_of_three.unit_rows = [unit, UnitRow(1002, 1, "zone2", third.server)]
    answer = await scale_in_of(member, second.address)
    assert answer.refusal == ILLEGAL
    assert "unit 1001" in answer.message
    ob_of_three.unit_rows = [unit]
    ob_of_three.down.add(third.server)
    assert (await scale_in_of(member, second.address)).refusal == ILLEGAL


async def test_a_kill_needs_all_majorities(member, ob_of_three):
    _, second, third = member.site.cluster.view.members
    assert (await scale_in_of(member, second.address, force_kill=True)).refusal == PASSED
    ob_of_three.behind.add(third.server)
    answer = await scale_in_of(member, second.address, force_kill=True)
    assert answer.refusal == ("OB.Cluster.MultiPaxosNotAlive", 400)
    assert "tenant shop (LS 1, LS 1001)" in answer.message


# --- delete zone ---------------------------------------------------------------------------------


async def delete(host, zone):
    return await host.local.ask("DELETE", f"/zone/{zone}", None)


async def test_a_zone_that_is_deleted(member, ob_of_three):
    first, second, _ = member.site.cluster.view.members
    assert (await delete(member, "zone9")).status == 204
    assert (await delete(member, "zone1")).refusal == ("OB.Zone.DeleteSelf", 400)
    ob_of_three.stopped.add(first.server)
    answer = await delete(member, "zone2")
    assert answer.refusal == ("OB.Server.StoppedInMultiZone", 400)
    ob_of_three.unit_rows = [UnitRow(1, 1, "zone2", second.server)]
    assert (await delete(member, "zone2")).refusal == ("OB.Zone.NotEmpty", 400)


async def test_servers_that_form_no_cluster_are_refused(member):
    other = member.site.cluster.view.others[0]
    answers = [
        await member.local.post(
            "/ob/scale_out", {"agentInfo": other.wire, "zone": "z", "obConfigs": {}}
        ),
        await scale_in_of(member, other),
        await delete(member, "zone2"),
    ]
    assert [answer.refusal for answer in answers] == [ILLEGAL] * 3


# --- the ways back -------------------------------------------------------------------------------


def a_growth(keys):
    return scale_out.Growth(
        member=a_member(free_address(), keys[0], "zone1"),
        server=ServerSettings(mysql_port=2881, rpc_port=2882),
        ticket="",
    )


def test_a_scale_out_can_be_undone_at_every_stage(keys):
    for is_new in (False, True):
        nodes = scale_out.plan(a_growth(keys), is_new=is_new).nodes
        assert len(nodes) == (11 if is_new else 9)
        assert all(Ability.ROLLBACK in node.stage.abilities for node in nodes)
        undone = [node.name for node in nodes if node.stage.undo]
        new = ["Add new zone for scale_out", "Start new zone for scale_out"] if is_new else []
        assert undone == [
            "Create local scale out dag",
            *new,
            "Add server for scale_out",
            "Add agent for scale_out",
        ]


@pytest.mark.parametrize("force", [False, True])
def test_there_is_no_way_back_once_a_server_is_gone(keys, force):
    leaving = [a_member(free_address(), keys[0], "zone1")]
    plans = [
        scale_in.plan(Departure(leaving=leaving, force=force)),
        delete_zone.plan(Departure(leaving=leaving, zone="zone1")),
    ]
    for plan in plans:
        names = [node.name for node in plan.nodes]
        for node in plan.nodes[names.index("Delete agent") :]:
            assert not {Ability.ROLLBACK, Ability.CANCEL} & set(node.stage.abilities)
        for node in plan.nodes[: names.index("Delete agent")]:
            assert {Ability.ROLLBACK, Ability.CANCEL} <= set(node.stage.abilities)
