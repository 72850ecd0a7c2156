"""A stop of servers that form a cluster: in SQL or by a kill, and only what can be spared."""

from __future__ import annotations

import pytest

from pyobshell import errors
from pyobshell.engines.base import ObState
from support.fake_cluster import form_cluster
from support.undertakings import (
    locked,
    logs_of,
    outline,
    servers,
    states,
    stop,
    wait_end,
)

pytestmark = pytest.mark.anyio
ZONES = ("zone1", "zone2", "zone3")
LOST = ("OB.Cluster.Tenant.Replica.Invalid", 400)
MULTI = ("OB.Server.StoppedInMultiZone", 400)
UNSURE = ("OB.Server.Unavailable", 500)


@pytest.fixture
async def hosts_of_three(cluster_of_three):
    """Three agents whose servers form a cluster, one in each zone."""
    yield cluster_of_three
    for host in cluster_of_three:
        host.engine.start_afresh()
        del host.engine.cluster


@pytest.fixture
def ob(hosts_of_three):
    return form_cluster(hosts_of_three, ZONES)


@pytest.fixture
def first(ob, hosts_of_three):
    return hosts_of_three[0]


def zone(name):
    return {"type": "ZONE", "target": [name]}


def named(ob, number):
    return ob.places[number - 1][0]


@pytest.mark.parametrize("scope", ["zone", "server"])
async def test_a_gentle_stop_is_done_in_sql_alone(ob, hosts_of_three, scope):
    asked = zone("zone2") if scope == "zone" else servers(hosts_of_three[1])
    dag = await stop(hosts_of_three[2], asked)
    assert (dag["state"], dag["max_stage"]) == ("SUCCEED", 6)
    assert ob.deeds == [f"stop {scope} {'zone2' if scope == 'zone' else named(ob, 2)}"]
    assert [host.engine.deeds for host in hosts_of_three] == [[]] * 3
    assert await states(hosts_of_three) == [3, 3, 3]
    assert await locked(hosts_of_three) == [False] * 3
    for host in hosts_of_three:
        (newest,) = (await host.api.get("/task/dags/agent")).contents[-1:]
        if newest["name"] == "Stop OB":
            newest = (await host.api.get("/task/dag/maintain/agent")).data
        assert (newest["name"], newest["max_stage"]) == ("Stop observer", 2)
    # What is stopped already is fine.
    assert (await stop(hosts_of_three[2], asked))["state"] == "SUCCEED"


def a_view(ob):
    ob.failures["views"] = errors.SERVER_UNAVAILABLE(reason="no view")


def a_replica(ob):
    ob.behind.add(named(ob, 3))


def a_sign_of_life(ob):
    ob.hung.add(named(ob, 3))


def a_server(ob):
    ob.stopped.add(named(ob, 3))


def a_zone(ob):
    ob.stopped_zones.add("zone3")


def a_leader(ob):
    ob.leaderless.add("shop")


@pytest.mark.parametrize(
    ("ailing", "mode", "refusal", "told"),
    [
        (a_replica, {}, LOST, "tenant sys (LS 1)"),
        (a_replica, {"terminate": True}, LOST, "tenant shop (LS 1, LS 1001)"),
        (a_sign_of_life, {}, LOST, "no sign of life from"),
        (a_sign_of_life, {"terminate": True}, LOST, "tenant shop (LS 1, LS 1001)"),
        (a_leader, {"terminate": True}, LOST, "LS 1001, now without a leader"),
        (a_server, {}, MULTI, "of zone3 is stopped already"),
        (a_zone, {}, MULTI, "zone zone3 is stopped already"),
        (a_view, {}, UNSURE, "only 'force' does not ask"),
        (a_view, {"terminate": True}, UNSURE, "could not be checked"),
    ],
)
@pytest.mark.parametrize("scope", ["zone", "server"])
async def test_what_the_cluster_cannot_spare_is_refused_and_nothing_is_recorded(
    ob, hosts_of_three, ailing, mode, refusal, told, scope
):
    ailing(ob)
    before = len((await hosts_of_three[0].api.get("/task/dags/agent")).contents)
    asked = zone("zone2") if scope == "zone" else servers(hosts_of_three[1])
    answer = await hosts_of_three[0].api.post("/ob/stop", {"scope": asked, **mode})
    assert answer.refusal == refusal
    assert told in answer.message
    assert len((await hosts_of_three[0].api.get("/task/dags/agent")).contents) == before
    assert ob.deeds == []


@pytest.mark.parametrize("ailing", [a_replica, a_leader, a_server, a_zone, a_view])
async def test_force_does_not_ask(ob, first, hosts_of_three, ailing):
    ailing(ob)
    assert (await stop(first, servers(hosts_of_three[1]), force=True))["state"] == "SUCCEED"
    assert await states(hosts_of_three) == [3, 0, 3]
    assert ob.deeds == []


@pytest.mark.parametrize("mode", ["terminate", "force"])
async def test_who_stops_everything_wants_no_majority(ob, first, hosts_of_three, mode):
    a_replica(ob)
    dag = await stop(first, {"type": "GLOBAL"}, **{mode: True})
    assert dag["state"] == "SUCCEED"
    assert await states(hosts_of_three) == [0, 0, 0]


# --- what changes between the request and its effect ---------------------------------------------


def spoil_second_look(ob, ail):
    """From the second time on that the views are read, the cluster is ailing."""
    looks = iter([lambda: None])
    ob.before["views"] = lambda: next(looks, lambda: ail(ob))()


async def test_a_majority_that_is_lost_meanwhile_is_noticed_before_the_stop(
    ob, first, hosts_of_three
):
    spoil_second_look(ob, a_replica)
    dag = await stop(first, zone("zone2"))
    assert (dag["state"], dag["stage"]) == ("FAILED", 5)
    last = logs_of(dag["nodes"][4])[-1]
    assert last.startswith("ERROR: [OB.Cluster.Tenant.Replica.Invalid]: Without zone zone2 ")
    assert "tenant META$1002 (LS 1)" in last
    assert ob.deeds == []
    assert await locked(hosts_of_three) == [False] * 3


@pytest.mark.parametrize("scope", ["zone", "server"])
async def test_what_is_out_already_is_out_whatever_else_was_lost_since(
    ob, first, hosts_of_three, scope
):
    def stopped_by_a_server_that_died_of_it(ob):
        a_replica(ob)
        ob.stopped_zones.add("zone2")
        ob.stopped.add(named(ob, 2))

    spoil_second_look(ob, stopped_by_a_server_that_died_of_it)
    dag = await stop(first, zone("zone2") if scope == "zone" else servers(hosts_of_three[1]))
    assert dag["state"] == "SUCCEED"
    assert any("Out of service already" in line for line in logs_of(dag["nodes"][4]))
    assert ob.deeds == []


@pytest.mark.parametrize("ailing", [a_replica, a_view])
async def test_a_majority_that_is_lost_during_the_freeze_is_noticed_before_the_kill(
    ob, first, hosts_of_three, ailing
):
    spoil_second_look(ob, ailing)
    dag = await stop(first, servers(hosts_of_three[1]), terminate=True)
    assert (dag["state"], dag["stage"]) == ("FAILED", 4)
    assert hosts_of_three[1].engine.deeds == ["minor_freeze"]
    assert await states(hosts_of_three) == [3, 3, 3]
    assert await locked(hosts_of_three) == [False] * 3


async def test_an_election_is_waited_for_before_the_effect(ob, first):
    looks = iter([lambda: None, lambda: a_leader(ob), ob.leaderless.clear])
    ob.before["views"] = lambda: next(looks, lambda: None)()
    dag = await stop(first, zone("zone2"))
    assert dag["state"] == "SUCCEED"
    assert any("no leader: looking again" in line for line in logs_of(dag["nodes"][4]))


async def test_the_servers_own_refusal_is_the_tasks(ob, first, hosts_of_three):
    ob.failures["stop zone"] = errors.MYSQL_ERROR(cause="operation not allowed (4179)")
    dag = await stop(first, zone("zone2"))
    assert (dag["state"], dag["stage"]) == ("FAILED", 5)
    assert "4179" in logs_of(dag["nodes"][4])[-1]
    assert await locked(hosts_of_three) == [False] * 3


async def test_another_agent_stops_what_this_one_cannot_reach_any_more(ob, first, hosts_of_three):
    looks = iter([lambda: first.engine.set_state(ObState.PROCESS_NOT_RUNNING)])
    ob.before["views"] = lambda: next(looks, lambda: None)()
    dag = await stop(first, zone("zone3"))
    assert dag["state"] == "SUCCEED"
    assert ob.deeds == ["stop zone zone3"]


async def test_with_no_server_to_ask_a_stop_fails_and_never_pretends(ob, first, hosts_of_three):
    def lose_all():
        for host in hosts_of_three:
            host.engine.set_state(ObState.PROCESS_RUNNING)

    ob.before["views"] = lose_all
    dag = await stop(first, zone("zone3"))
    assert (dag["state"], dag["stage"]) == ("FAILED", 5)
    assert "no server of the cluster serves" in logs_of(dag["nodes"][4])[-1]
    assert ob.deeds == []


# --- a whole zone, by its own route --------------------------------------------------------------

ZONE_STAGES = [
    "Inform all agents to prepare to stop observer",
    "Make sure all agents are ready",
    "Execute stop sql",
    "Minor freeze before stop server",
    "Advance agents to execute the task",
    "Wait for all agents to execute tasks successfully",
    "Inform all agents to end the task",
]


@pytest.mark.parametrize("flushed", [True, False], ids=["flushed", "at once"])
async def test_a_zone_is_stopped_in_sql_and_then_killed(ob, first, hosts_of_three, flushed):
    first.engine.set_state(ObState.PROCESS_NOT_RUNNING)  # whoever serves is asked
    check = await first.api.post("/ob/zone/zone2/stop/check", {})
    assert (check.status, "data" in check.envelope) == (200, False)
    asked = await first.api.post("/ob/zone/zone2/stop", {"freeze_server": flushed})
    dag = await wait_end(first, asked.data["id"])
    assert (dag["name"], dag["state"]) == ("Stop OB", "SUCCEED")
    stages = [name for name in ZONE_STAGES if flushed or "freeze" not in name]
    assert [name for name, _ in outline(dag)] == stages
    assert ob.deeds == ["stop zone zone2"]
    flushing = ["minor_freeze", "end_transactions"] if flushed else []
    assert hosts_of_three[1].engine.deeds == [*flushing, "kill"]
    assert await states(hosts_of_three) == [0, 0, 3]


@pytest.mark.parametrize(
    ("name", "ailing", "refusal"),
    [
        ("zone9", lambda ob: None, ("OB.Zone.NotExist", 400)),
        ("zone2", a_server, MULTI),
        ("zone2", a_replica, LOST),
        ("zone2", a_view, UNSURE),
    ],
)
async def test_a_zone_that_cannot_be_spared_is_not_stopped(ob, first, name, ailing, refusal):
    ailing(ob)
    for path in ("stop", "stop/check"):
        answer = await first.api.post(f"/ob/zone/{name}/{path}", {})
        assert answer.refusal == refusal
    assert ob.deeds == []


async def test_a_zone_of_servers_that_form_no_cluster_has_no_sql_to_be_stopped_by(
    unchanged_member,
):
    for path in ("stop", "stop/check"):
        answer = await unchanged_member.api.post(f"/ob/zone/zone1/{path}", {})
        assert answer.refusal == ("Common.IllegalArgument", 400)
        assert "form no cluster" in answer.message


# --- the start that undoes it --------------------------------------------------------------------


async def start(host, scope):
    answer = await host.api.post("/ob/start", {"scope": scope})
    return await wait_end(host, answer.data["id"])


async def test_a_start_undoes_both_the_kill_and_the_stop_in_sql(ob, first, hosts_of_three):
    await stop(first, zone("zone2"))
    ob.stopped.add(named(ob, 2))
    await stop(first, servers(hosts_of_three[1]), force=True)
    dag = await start(first, zone("zone2"))
    assert (dag["state"], dag["max_stage"]) == ("SUCCEED", 6)
    assert ob.deeds[1:] == [f"start server {named(ob, 2)}", "start zone zone2"]
    assert await states(hosts_of_three) == [3, 3, 3]


async def test_a_server_is_started_in_a_zone_that_stays_stopped(ob, first, hosts_of_three):
    await stop(first, zone("zone2"))
    dag = await start(first, servers(hosts_of_three[1]))
    assert dag["state"] == "SUCCEED"
    assert any("its zone zone2 is INACTIVE" in line for line in logs_of(dag["nodes"][3]))
    assert ob.stopped_zones == {"zone2"}


async def test_a_start_waits_for_a_majority_and_for_what_is_behind(
    ob, first, hosts_of_three, monkeypatch
):
    second = hosts_of_three[1]
    states_to_be = iter([ObState.PROCESS_RUNNING, *[ObState.CONNECTION_RESTRICTED] * 2])

    async def state():
        return next(states_to_be, ObState.CONNECTION_AVAILABLE)

    monkeypatch.setattr(second.engine, "state", state)
    ob.behind.add(named(ob, 2))
    looks = iter([lambda: None, ob.behind.clear])
    ob.before["views"] = lambda: next(looks, lambda: None)()
    dag = await start(first, servers(second))
    assert dag["state"] == "SUCCEED"
    log = [line.rpartition("] ")[2] for line in logs_of(dag["nodes"][3])]
    waited = [line for line in log if line.startswith("waiting")]
    assert waited == [
        "waiting: it runs, but does not serve this agent's user",
        "waiting: it runs, but its cluster has no majority of servers yet",
        "waiting: not in sync: sys LS 1, META$1002 LS 1, shop LS 1, shop LS 1001",
    ]


async def test_a_zone_that_does_not_start_is_named_in_the_verdict(ob, first, hosts_of_three):
    ob.failures["start zone"] = errors.MYSQL_ERROR(cause="not now")
    dag = await start(first, zone("zone2"))
    assert (dag["state"], dag["stage"]) == ("FAILED", 6)
    assert "zone2: The database refused: not now" in logs_of(dag["nodes"][5])[-1]
    assert await locked(hosts_of_three) == [False] * 3


# --- the cluster as it is shown ------------------------------------------------------------------


async def test_the_cluster_tells_how_its_servers_are(ob, first, hosts_of_three):
    ob.stopped.add(named(ob, 1))
    ob.stopped_zones.add("zone2")
    ob.down.add(named(ob, 3))
    hosts_of_three[0].engine.set_state(ObState.PROCESS_RUNNING)  # another one is asked
    info = (await first.api.get("/ob/info")).data["obcluster_info"]
    shown = [server for zone in ZONES for server in info["topology"][zone]]
    assert [one["status"] for one in shown] == ["STOPPED", "STOPPED", "INACTIVE"]
    assert [one["with_rootserver"] for one in shown] == ["YES", "NO", "NO"]
    assert [one["agent_port"] for one in shown] == [host.address.port for host in hosts_of_three]
    assert {one["build_version"] for one in shown} == {"4.3.5.3_1"}


async def test_who_asks_agents_of_their_servers_is_told_which_did_not_answer(start_member):
    host = await start_member(zones=("zone1", "zone2"))
    (lost,) = host.site.cluster.view.others
    info = (await host.api.get("/ob/info")).data
    shown = [zone[0]["status"] for zone in info["obcluster_info"]["topology"].values()]
    assert shown == ["ACTIVE", "INACTIVE"]
    assert [one["agent"] for one in info["unreachable"]] == [str(lost)]


async def test_if_nobody_can_be_asked_the_agents_tell_how_their_servers_are(ob, first):
    a_view(ob)
    info = (await first.api.get("/ob/info")).data["obcluster_info"]
    shown = [server["status"] for zone in ZONES for server in info["topology"][zone]]
    assert shown == ["ACTIVE"] * 3
