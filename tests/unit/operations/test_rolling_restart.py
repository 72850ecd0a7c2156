"""A rolling restart: zone by zone, never at a doubt, and gone on with from where it stopped."""

from __future__ import annotations

import pytest

from pyobshell import errors
from pyobshell.address import Address
from pyobshell.cluster.model import Identity
from pyobshell.engines.base import ObState
from pyobshell.operations.rolling import Turn, turns_of
from pyobshell.operations.scope import resolve
from pyobshell.requests import Scope
from pyobshell.security.verify import Passwords
from support.agents import ROOT_PASSWORD, a_member, a_view, free_address
from support.rolling_cluster import RollingCluster
from support.undertakings import locked, logs_of, outline, servers, states, wait_end

pytestmark = pytest.mark.anyio
GLOBAL = {"type": "GLOBAL"}
FIRST, LAST = 3, 21  # the first stage of the first turn, and the last of all


@pytest.fixture(scope="module")
async def three(anyio_backend, hosts):
    """Three members with fake servers that form one cluster, one in each zone."""
    passwords = Passwords(root=ROOT_PASSWORD)
    async with hosts.serving(3, passwords=passwords, sync_timeout_s=0.3) as made:
        for host in made:
            host.api.password = ROOT_PASSWORD
        places = {host.address: f"zone{n}" for n, host in enumerate(made, 1)}
        fake = RollingCluster(places, {host.address: host.engine for host in made})
        yield made, fake


@pytest.fixture
async def cluster(three):
    hosts, fake = three
    yield hosts
    assert await locked(hosts) == [False] * 3
    fake.forget()
    for host in hosts:
        host.engine.start_afresh()


@pytest.fixture
def fake(three, cluster):
    return three[1]


async def begin(host, scope=GLOBAL, **more):
    """Begin a rolling restart; returns its id."""
    asked = await host.api.post("/ob/restart", {"scope": scope, "rolling": True, **more})
    return asked.data["id"]


def server_of(host):
    """What the server of an agent is called in the cluster."""
    return Address(host.address.ip, 2882)


async def operate(host, task_id, operator):
    """Operate a task, and return it as it is when it has ended."""
    assert (await host.local.post(f"/task/dag/{task_id}", {"operator": operator})).status == 200
    return await wait_end(host, task_id)


async def give_up(host, task_id, scope=GLOBAL):
    """Start everything and release the agents, as a failed restart advises."""
    asked = await host.api.post("/ob/start", {"scope": scope, "forcePassDag": [task_id]})
    assert (await wait_end(host, asked.data["id"]))["state"] == "SUCCEED"


# --- how it goes ---------------------------------------------------------------------------------


async def test_each_zone_is_restarted_when_the_one_before_is_back_the_coordinators_last(
    cluster, fake
):
    dag = await wait_end(cluster[1], await begin(cluster[1]))
    assert (dag["name"], dag["state"], dag["max_stage"]) == ("Rolling restart", "SUCCEED", LAST)
    order = ["zone1", "zone3", "zone2"]
    assert fake.deeds == [f"{deed} {zone}" for zone in order for deed in ("stop", "start")]
    assert [host.engine.deeds for host in cluster] == [["minor_freeze", "kill", "start"]] * 3
    assert outline(dag)[2:8] == [
        ("Check before restart of zone1", "SUCCEED"),
        ("Stop zone1", "SUCCEED"),
        ("Minor freeze of zone1", "SUCCEED"),
        ("Restart observers of zone1", "SUCCEED"),
        ("Start zone1", "SUCCEED"),
        ("Wait until all is in sync after zone1", "SUCCEED"),
    ]
    (task,) = dag["nodes"][5]["sub_tasks"]
    assert task["execute_agent"] == cluster[0].address.wire
    assert f"{cluster[0].address} [Stop observer] the fake server does kill" in task["task_logs"]
    assert await states(cluster) == [3, 3, 3]


async def test_of_some_servers_only_those_are_restarted_and_all_agents_are_locked(cluster, fake):
    gate = cluster[2].engine.hold("kill")
    task_id = await begin(cluster[0], {"type": "ZONE", "target": ["zone3"]}, terminate=False)
    await gate.reached()
    assert await locked(cluster) == [True] * 3
    assert fake.stopped == {"zone3"}
    gate.open()
    dag = await wait_end(cluster[0], task_id)
    assert (dag["state"], dag["max_stage"]) == ("SUCCEED", 8)
    assert [host.engine.deeds for host in cluster] == [[], [], ["kill", "start"]]
    sub_dags = dag["additional_data"]["sub_dags"]
    for host in cluster:
        sub_dag = (await host.api.get(f"/task/dag/{sub_dags[str(host.address)]}")).data
        assert (sub_dag["name"], sub_dag["operator"]) == ("Restart observer", "RUN")


def test_of_a_part_of_a_zone_the_rest_is_left_alone(keys):
    addresses = [free_address() for _ in range(4)]
    zones = ("zone1", "zone2", "zone1", "zone2")
    members = [a_member(one, keys[0], z) for one, z in zip(addresses, zones, strict=True)]
    view = a_view(addresses[0], Identity.CLUSTER_AGENT, members)
    scope = Scope(type="SERVER", target=[str(addresses[n]) for n in (0, 3, 2)])
    first, second = turns_of(view, resolve(scope, view), 6)
    assert (str(first), str(second)) == ("part of zone2", "zone1")
    server = Address(addresses[3].ip, 2882)
    assert first == Turn(
        zone="zone2", whole=False, agents=[addresses[3]], servers=[server], first_stage=3
    )
    assert second.first_stage == 9
    assert second.agents == [addresses[0], addresses[2]]


async def test_a_part_of_a_zone_is_stopped_by_its_servers(keys, start_member):
    """A zone of two, of which one has no replica and an agent that answers."""
    host = await start_member(zones=("zone1", "zone2", "zone3", "zone1"))
    view = host.site.cluster.view
    places = {member.address: member.zone for member in view.members}
    fake = RollingCluster(places, {host.address: host.engine})
    dag = await wait_end(host, await begin(host, servers(host)))
    assert dag["state"] == "SUCCEED"
    assert dag["nodes"][3]["name"] == "Stop part of zone1"
    server = f"{host.address.ip}:2882"
    assert fake.deeds == [f"stop {server}", f"start {server}"]


# --- doubts --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"scope": GLOBAL}, "Common.IllegalArgument"),
        ({"scope": GLOBAL, "rolling": False}, "Common.IllegalArgument"),
        ({"scope": {"type": "ZONE", "target": ["zone9"]}, "rolling": True}, "OB.Zone.NotExist"),
        ({"scope": {}, "rolling": True}, "OB.Cluster.Scope.Invalid"),
    ],
    ids=str,
)
async def test_a_request_that_makes_no_sense_is_refused(cluster, body, code):
    assert (await cluster[0].api.post("/ob/restart", body)).refusal == (code, 400)


async def test_a_cluster_that_is_not_well_is_left_alone(cluster, fake):
    def stop_a_zone():
        fake.stopped.add("zone3")
        return "zone zone3 is stopped"

    def stop_a_server():
        fake.stopped.add(server_of(cluster[2]))
        return f"{server_of(cluster[2])} is stopped"

    def lose_a_server():
        fake.lost.add(server_of(cluster[2]))
        return f"{cluster[2].address.ip}:2882 is INACTIVE"

    def fall_behind():
        fake.behind.add(server_of(cluster[2]))
        lost = "no majority would be left of: tenant shop (LS 1001); tenant sys (LS 1)"
        return f"in sync: sys LS 1, shop LS 1001; {lost}"

    def say_nothing():
        fake.failures["log_streams"] = errors.SERVER_UNAVAILABLE(reason="no answer")
        return "the cluster cannot be looked at"

    def hang():
        fake.hung.add(server_of(cluster[2]))
        return f"{server_of(cluster[2])} gives no sign of life"

    for harm in (stop_a_zone, stop_a_server, lose_a_server, fall_behind, hang, say_nothing):
        fake.forget()
        doubt = harm()
        answer = await cluster[0].api.post("/ob/restart", {"rolling": True})
        assert answer.refusal == ("OB.Cluster.RollingRestart.Refused", 400)
        assert answer.message.startswith("The restart of zone2 would not be safe now")
        assert doubt in answer.message
        assert fake.deeds == []
    assert (await cluster[0].api.get("/task/dag/unfinish")).contents == []


async def test_a_doubt_between_two_zones_ends_it_there(cluster, fake):
    gate = cluster[1].engine.hold("start")
    task_id = await begin(cluster[0])
    await gate.reached()
    fake.lost.add(server_of(cluster[2]))
    gate.open()
    dag = await wait_end(cluster[0], task_id)
    assert (dag["state"], dag["nodes"][dag["stage"] - 1]["name"]) == (
        "FAILED",
        "Wait until all is in sync after zone2",
    )
    *_, where, advice, last = logs_of(dag["nodes"][dag["stage"] - 1])
    assert where == f"Out of service: {cluster[2].address.ip}:2882 is INACTIVE"
    assert f"StartCluster of the same scope with forcePassDag {task_id}" in advice
    assert "OB.Cluster.AsyncOperationTimeout" in last
    assert fake.deeds == ["stop zone2", "start zone2"]
    fake.lost.clear()
    dag = await operate(cluster[0], task_id, "RETRY")
    assert dag["state"] == "SUCCEED"
    assert [host.engine.deeds.count("kill") for host in cluster] == [1, 1, 1]


async def test_a_server_that_does_not_come_back_ends_it_and_a_retry_goes_on(cluster, fake):
    cluster[1].engine.failures["start"] = errors.SERVER_UNAVAILABLE(reason="no memory")
    task_id = await begin(cluster[0])
    dag = await wait_end(cluster[0], task_id)
    assert (dag["state"], dag["stage"]) == ("FAILED", FIRST + 3)
    lines = logs_of(dag["nodes"][FIRST + 2])
    out = f"Out of service: zone zone2 is stopped; {cluster[1].address.ip}:2882 is INACTIVE"
    assert lines[-3] == out
    assert "It stopped at zone2. RETRY of this task goes on from here" in lines[-2]
    assert "no memory" in lines[-1]
    assert await states(cluster) == [3, 0, 3]
    assert await locked(cluster) == [True] * 3
    assert cluster[0].engine.deeds == cluster[2].engine.deeds == []
    again = await operate(cluster[0], task_id, "RETRY")
    assert (again["state"], again["stage"]) == ("FAILED", FIRST + 3)
    cluster[1].engine.failures.clear()
    dag = await operate(cluster[0], task_id, "RETRY")
    assert dag["state"] == "SUCCEED"
    assert cluster[1].engine.deeds == ["minor_freeze", "kill", "start", "start", "start"]
    assert await states(cluster) == [3, 3, 3]


async def test_replicas_that_never_come_in_sync_end_it_before_the_next_zone(cluster, fake):
    gate = cluster[1].engine.hold("start")
    task_id = await begin(cluster[0])
    await gate.reached()
    fake.behind.add(server_of(cluster[1]))
    gate.open()
    dag = await wait_end(cluster[0], task_id)
    assert (dag["state"], dag["stage"]) == ("FAILED", FIRST + 5)
    assert "not in sync: sys LS 1, shop LS 1001" in logs_of(dag["nodes"][FIRST + 4])[-1]
    assert cluster[2].engine.deeds == []
    fake.behind.clear()
    assert (await operate(cluster[0], task_id, "RETRY"))["state"] == "SUCCEED"


async def test_a_zone_that_was_put_into_service_meanwhile_is_not_killed(cluster, fake):
    gate = cluster[1].engine.hold("minor_freeze")
    task_id = await begin(cluster[0])
    await gate.reached()
    fake.stopped.clear()
    gate.open()
    dag = await wait_end(cluster[0], task_id)
    assert (dag["state"], dag["stage"]) == ("FAILED", FIRST + 3)
    assert f"{cluster[1].address.ip}:2882 is in service" in logs_of(dag["nodes"][FIRST + 2])[-1]
    assert "kill" not in cluster[1].engine.deeds
    await give_up(cluster[0], task_id)


async def test_a_zone_is_not_killed_once_another_is_lost(cluster, fake):
    gate = cluster[1].engine.hold("minor_freeze")
    task_id = await begin(cluster[0])
    await gate.reached()
    fake.lost.add(server_of(cluster[2]))
    gate.open()
    dag = await wait_end(cluster[0], task_id)
    assert (dag["state"], dag["stage"]) == ("FAILED", FIRST + 3)
    assert "no majority would be left" in logs_of(dag["nodes"][FIRST + 2])[-1]
    assert "kill" not in cluster[1].engine.deeds
    fake.lost.clear()
    await give_up(cluster[0], task_id)


async def test_a_target_that_cannot_be_reached_keeps_it_from_beginning(start_member):
    host = await start_member(zones=("zone1", "zone2", "zone3"))
    places = {member.address: member.zone for member in host.site.cluster.view.members}
    fake = RollingCluster(places, {host.address: host.engine})
    dag = await wait_end(host, await begin(host, {"type": "ZONE", "target": ["zone1", "zone2"]}))
    assert (dag["state"], dag["stage"]) == ("FAILED", 2)
    assert fake.deeds == host.engine.deeds == []
    assert await locked([host]) == [False]


# --- others, and the end -------------------------------------------------------------------------


async def test_who_takes_its_locks_away_stops_it(cluster, fake):
    gate = cluster[1].engine.hold("minor_freeze")
    task_id = await begin(cluster[0])
    await gate.reached()
    refused = await cluster[2].api.post("/ob/stop", {"scope": servers(cluster[2]), "force": True})
    assert (await wait_end(cluster[2], refused.data["id"]))["stage"] == 2
    await give_up(cluster[2], task_id, servers(cluster[1]))
    gate.open()
    dag = await wait_end(cluster[0], task_id)
    assert (dag["state"], dag["stage"]) == ("FAILED", FIRST + 3)
    assert "released by forcePassDag" in logs_of(dag["nodes"][FIRST + 2])[-1]
    assert "kill" not in cluster[1].engine.deeds


async def test_locks_that_are_gone_are_noticed_before_the_next_zone(cluster, fake):
    gate = fake.hold("start_zone")
    task_id = await begin(cluster[0])
    await gate.reached()
    await give_up(cluster[2], task_id, servers(cluster[2]))
    gate.open()
    dag = await wait_end(cluster[0], task_id)
    assert (dag["state"], dag["stage"]) == ("FAILED", FIRST + 6)
    assert "released by forcePassDag" in logs_of(dag["nodes"][FIRST + 5])[-1]
    assert "stop zone3" not in fake.deeds


async def test_a_cancelled_restart_says_how_to_go_on_and_its_servers_come_back(cluster, fake):
    gate = cluster[1].engine.hold("kill")
    task_id = await begin(cluster[0])
    await gate.reached()
    dag = await operate(cluster[0], task_id, "CANCEL")
    assert (dag["state"], dag["stage"]) == ("FAILED", FIRST + 3)
    assert "RETRY of this task goes on from here" in logs_of(dag["nodes"][FIRST + 2])[-2]
    started = cluster[1].engine.hold("start")
    gate.open()
    await started.reached()
    started.open()
    assert fake.stopped == {"zone2"}
    assert (await operate(cluster[0], task_id, "RETRY"))["state"] == "SUCCEED"
    assert cluster[1].engine.deeds == ["minor_freeze", "kill", "start"]


@pytest.mark.parametrize(
    ("at", "deed", "down", "done"),
    [
        ("cluster", "stop_zone", False, ["minor_freeze", "kill", "start"]),
        ("server", "minor_freeze", False, ["minor_freeze", "kill", "start"]),
        ("server", "kill", False, ["kill", "start"]),
        ("server", "start", True, ["start"]),
        ("cluster", "start_zone", False, []),
    ],
)
async def test_an_agent_that_went_away_in_any_stage_goes_on(hosts, keys, at, deed, down, done):
    """It is the coordinator and has the only server that is restarted; the others are up."""
    own = free_address()
    others = [free_address(), free_address()]
    members = [a_member(one, keys[0], f"zone{n}") for n, one in enumerate([own, *others], 1)]
    fake = RollingCluster({one.address: one.zone for one in members}, {})
    life = {"address": own, "passwords": Passwords(root=ROOT_PASSWORD)}
    member = Identity.CLUSTER_AGENT
    async with hosts.in_process(member, members, **life) as host:
        host.api.password = ROOT_PASSWORD
        fake.join(own, host.engine)
        gate = fake.hold(deed) if at == "cluster" else host.engine.hold(deed)
        task_id = await begin(host, servers(host))
        await gate.reached()
    fake._gates.clear()
    async with hosts.in_process(member, members, running=not down, **life) as host:
        fake.join(own, host.engine)
        dag = await wait_end(host, task_id)
        assert (dag["state"], dag["stage"]) == ("SUCCEED", 9)
        assert host.engine.deeds == done
        assert fake.deeds == ["stop zone1", "start zone1"]
        assert await locked([host]) == [False]


# --- servers each whole by itself ----------------------------------------------------------------


async def test_servers_of_no_cluster_are_restarted_gently_one_after_the_other(cluster_of_three):
    hosts = cluster_of_three
    gate = hosts[2].engine.hold("drain")
    task_id = await begin(hosts[1])
    await gate.reached()
    gently = ["drain", "minor_freeze", "drain", "end_transactions", "terminate", "start"]
    assert [host.engine.deeds for host in hosts] == [gently, [], ["drain"]]
    gate.open()
    dag = await wait_end(hosts[1], task_id)
    assert (dag["state"], dag["max_stage"]) == ("SUCCEED", 12)
    assert [host.engine.deeds for host in hosts] == [gently] * 3
    assert outline(dag)[2:5] == [
        ("Check before restart of zone1", "SUCCEED"),
        ("Restart observers of zone1", "SUCCEED"),
        ("Check after restart of zone1", "SUCCEED"),
    ]
    assert await locked(hosts) == [False] * 3
    hosts[0].engine.set_state(ObState.PROCESS_RUNNING)
    answer = await hosts[1].api.post("/ob/restart", {"rolling": True})
    assert answer.refusal == ("OB.Cluster.RollingRestart.Refused", 400)
    assert f"the server of {hosts[0].address} does not serve (obState 1)" in answer.message
    for host in hosts:
        host.engine.start_afresh()
