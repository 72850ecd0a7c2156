"""Emergency mode: an agent that can ask nobody starts and stops its own server all the same."""

from __future__ import annotations

import contextlib
import json
import socket
import time

import pytest

from pyobshell.address import Address
from pyobshell.cluster.model import Identity
from pyobshell.operations import emergency
from pyobshell.security.verify import Passwords
from pyobshell.wire import StopPreview
from support.agents import ROOT_PASSWORD, a_member, a_view
from support.emergencies import (
    DOWN,
    RESTRICTED,
    RUNNING,
    START,
    START_STAGES,
    STOP,
    UP,
    no_majority,
    seen_through,
    start,
    stop,
)
from support.fake_cluster import form_cluster
from support.undertakings import (
    locked,
    logs_of,
    outline,
    states,
    wait_end,
)
from support.waiting import PATIENCE_S

pytestmark = pytest.mark.anyio

NO_MEMBER = [one for one in Identity if one is not Identity.CLUSTER_AGENT]
IDENTITY = ("Agent.Identify.NotSupportOperation", 400)
NOT_INITIALIZED = ("OB.Cluster.NotInitialized", 400)
HUNG_S = 1.5  # an agent that hangs would be waited for longer


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """Whoever answers is waited for, however busy the machine is."""
    monkeypatch.setattr(emergency, "_LOOK_S", PATIENCE_S)


@contextlib.contextmanager
def hanging(address):
    """An agent that is paused: the kernel takes its connections, and nobody answers."""
    with socket.socket() as paused:
        paused.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        paused.bind(address)
        paused.listen()
        yield


# --- an agent that is no member of a running cluster ---------------------------------------------


@pytest.mark.parametrize("identity", NO_MEMBER)
async def test_who_is_no_member_stops_and_starts_the_own_server(start_outsider, identity):
    host = await start_outsider(identity)
    answer = await stop(host)
    assert (answer.data["name"], answer.data["max_stage"]) == (STOP, 1)
    dag = await seen_through(host, answer)
    assert outline(dag) == [("Stop observer", "SUCCEED")]
    assert dag["additional_data"] == {"emergency": f"this agent is {identity}"}
    assert await host.engine.state() is DOWN
    assert host.site.cluster.server_wanted is False

    answer = await start(host)
    begun = answer.data
    assert (begun["name"], begun["max_stage"], begun["maintenance_type"]) == (START, 3, 1)
    assert (begun["state"], begun["stage"], begun["nodes"]) == ("READY", 1, None)
    dag = await seen_through(host, answer)
    assert outline(dag) == [(name, "SUCCEED") for name in START_STAGES]
    assert dag["additional_data"]["notes"] == ["the server runs and serves SQL"]
    assert host.engine.deeds == ["kill", "check_start", "start"]
    assert host.site.cluster.server_wanted is True


@pytest.mark.parametrize("identity", NO_MEMBER)
async def test_whatever_is_no_order_for_an_emergency_is_refused(start_outsider, identity):
    host = await start_outsider(identity)
    for mode in ({"force": False}, {"terminate": True}, {"force": True, "terminate": True}):
        assert (await stop(host, **mode)).refusal == IDENTITY
    for order in (start, stop):
        assert (await order(host, door=host.api)).status >= 400  # from elsewhere
    host.engine.initialized = False  # there is no server
    assert (await start(host)).refusal == NOT_INITIALIZED
    assert (await stop(host)).refusal == IDENTITY
    assert await host.site.tasks.dags() == []
    assert host.engine.deeds == []


async def test_a_server_that_the_agent_cannot_know_is_left_alone(start_outsider):
    host = await start_outsider(Identity.SINGLE)
    host.engine.record = None  # as of a kind that keeps none, whose agent has lost its files
    assert (await start(host)).refusal == NOT_INITIALIZED
    assert (await stop(host)).refusal == IDENTITY


async def test_only_the_own_server_alone_is_meant(start_outsider):
    host = await start_outsider(Identity.MASTER)
    own, other, *_ = map(str, host.site.cluster.view.addresses)
    for order in (start, stop):
        for target in ([other], [own, other], [own, own]):
            answer = await order(host, scope={"type": "SERVER", "target": target})
            assert answer.refusal == IDENTITY
        assert (await order(host, scope={"type": "GLOBAL"})).refusal == IDENTITY
        odd = await order(host, scope={"type": "SERVER", "target": ["no address"]})
        assert odd.refusal == ("Common.InvalidIp", 400)
        assert (await order(host, scope={"type": "server", "target": [own]})).status == 200


# --- a member of a running cluster ---------------------------------------------------------------


async def test_a_member_that_reaches_nobody_acts_alone(start_member):
    host = await start_member()
    dag = await seen_through(host, await stop(host))
    assert (dag["name"], dag["state"]) == (STOP, "SUCCEED")
    assert dag["additional_data"] == {"emergency": "no other agent of the cluster answers"}
    dag = await seen_through(host, await start(host))
    assert (dag["name"], dag["state"]) == (START, "SUCCEED")


@pytest.mark.parametrize("order", [start, stop])
async def test_an_order_to_a_member_from_elsewhere_goes_the_ordinary_way(start_member, order):
    host = await start_member()
    assert (await order(host, door=host.api)).data["name"] in ("Start OB", "Stop OB")


@pytest.mark.parametrize("mode", [{"terminate": True}, {"force": False}])
async def test_a_member_goes_the_ordinary_way_unless_by_force(start_member, mode):
    host = await start_member(zones=("zone1", "zone1"))
    assert (await stop(host, **mode)).data["name"] == "Stop OB"


async def test_who_is_alone_in_its_cluster_has_no_one_to_miss(start_member):
    host = await start_member(zones=("zone1",))
    no_majority(host)
    host.engine.set_state(DOWN)
    assert (await start(host)).data["name"] == "Start OB"
    assert (await stop(host)).data["name"] == "Stop OB"


async def test_agents_that_hang_do_not_delay_it(start_member, monkeypatch):
    monkeypatch.setattr(emergency, "_LOOK_S", 0.5)
    host = await start_member()
    with contextlib.ExitStack() as stack:
        for other in host.site.cluster.view.others:
            stack.enter_context(hanging(other))
        began = time.monotonic()
        answers = [await stop(host), await start(host)]
        assert time.monotonic() - began < 2 * HUNG_S
        assert [one.data["name"] for one in answers] == [STOP, START]
        for answer in answers:
            await seen_through(host, answer)


async def test_one_fellow_that_answers_is_enough(hosts, keys, cluster_of_two):
    asked, fellow = cluster_of_two
    own = asked.address
    lost = Address("127.0.0.1", 1025)  # nobody listens there
    members = [a_member(one, keys[n], "zone1") for n, one in enumerate((own, fellow.address, lost))]
    assert fellow.key is keys[1]
    passwords = Passwords(root=ROOT_PASSWORD)
    view = a_view(own, Identity.CLUSTER_AGENT, members)
    async with hosts.in_process(view.identity, members, address=own, passwords=passwords) as host:
        answer = await stop(host)
        assert answer.data["name"] == "Stop OB"
        await wait_end(host, answer.data["id"])
    for host in cluster_of_two:
        host.engine.start_afresh()


# --- servers that form a cluster -----------------------------------------------------------------


@pytest.fixture
async def ob(cluster_of_two):
    """Two members that reach each other, whose servers form a cluster."""
    yield form_cluster(cluster_of_two, ("zone1", "zone2"))
    assert await locked(cluster_of_two) == [False] * 2
    for host in cluster_of_two:
        host.engine.start_afresh()
        del host.engine.cluster


@pytest.mark.parametrize("other", [DOWN, RUNNING, RESTRICTED])
async def test_a_start_waits_for_no_majority_where_no_server_serves(ob, cluster_of_two, other):
    first, second = cluster_of_two
    no_majority(first, ob)
    first.engine.set_state(DOWN)
    second.engine.set_state(other)
    dag = await seen_through(first, await start(first))
    assert (dag["name"], dag["state"]) == (START, "SUCCEED")
    assert dag["additional_data"]["emergency"] == "no server of the cluster serves SQL"
    (note,) = dag["additional_data"]["notes"]
    assert "its cluster has no majority of servers yet" in note
    assert await states([first]) == [RESTRICTED]
    assert ob.deeds == []


async def test_a_start_of_a_server_that_runs_without_a_majority_says_so(ob, cluster_of_two):
    for host in cluster_of_two:
        no_majority(host, ob)
        host.engine.set_state(RESTRICTED)
    dag = await seen_through(cluster_of_two[0], await start(cluster_of_two[0]))
    assert (dag["name"], dag["state"]) == (START, "SUCCEED")
    assert logs_of(dag["nodes"][0])[0].startswith("The server runs already, pid ")


@pytest.mark.parametrize("states_before", [(DOWN, UP), (UP, DOWN)])
async def test_a_start_goes_the_ordinary_way_where_a_server_serves(
    ob, cluster_of_two, states_before
):
    for host, state in zip(cluster_of_two, states_before, strict=True):
        host.engine.set_state(state)
    dag = await seen_through(cluster_of_two[0], await start(cluster_of_two[0]))
    assert (dag["name"], dag["state"]) == ("Start OB", "SUCCEED")
    assert len([one for one in ob.deeds if one.startswith("start server")]) == 1


async def test_a_stop_by_force_goes_the_ordinary_way_without_a_majority(ob, cluster_of_two):
    for host in cluster_of_two:
        host.engine.set_state(RESTRICTED)
    dag = await seen_through(cluster_of_two[0], await stop(cluster_of_two[0]))
    assert (dag["name"], dag["state"]) == ("Stop OB", "SUCCEED")


async def test_servers_that_form_no_cluster_need_no_majority(cluster_of_two):
    for host in cluster_of_two:
        host.engine.set_state(DOWN)
    first = cluster_of_two[0]
    dag = await seen_through(first, await start(first))
    assert (dag["name"], dag["state"]) == ("Start OB", "SUCCEED")
    for host in cluster_of_two:
        host.engine.start_afresh()


# --- preview -------------------------------------------------------------------------------------


async def test_the_preview_tells_that_it_would_be_done_alone(alone):
    answer = await stop(alone, force=True, dryRun=True)
    seen = StopPreview.model_validate(answer.data)
    assert (seen.name, seen.mode, seen.scope) == (STOP, "force", "SERVER")
    assert seen.emergency == "this agent is UNIDENTIFIED"
    (target,) = seen.targets
    assert (target.agent, target.svr_ip) == (str(alone.address), alone.address.ip)
    assert (target.svr_port, target.zone, target.status) == (2882, "zone7", "ACTIVE")
    assert [(one.stage, one.name) for one in seen.stages] == [(1, "Stop observer")]
    assert (seen.majority, seen.refusals, seen.obstacles) == (None, [], [])
    assert seen.last_duration_ms is None
    assert (await alone.site.tasks.dags(), alone.engine.deeds) == ([], [])
    await seen_through(alone, await stop(alone))
    again = StopPreview.model_validate((await stop(alone, force=True, dryRun=True)).data)
    assert again.last_duration_ms is not None
    assert again.targets[0].status == "INACTIVE"


async def test_the_preview_of_an_ordinary_stop_tells_of_no_emergency(member):
    answer = await stop(member, door=member.api, force=True, dryRun=True)
    assert json.loads(answer.text)["data"]["emergency"] is None
