"""Every way to stop servers of a cluster, by every scope, and the start that undoes it."""

from __future__ import annotations

import pytest
from obshell.service.client_v1 import OBShellHandleError

from support.observer_clusters import Member, SixServers
from support.running import stage_logs

ROWS = "create table if not exists test.kept (n int primary key)"


def test_a_gentle_stop_takes_a_zone_out_of_service_and_its_processes_go_on(
    cluster: SixServers,
) -> None:
    before = cluster.pids()
    dag = cluster.stop("ZONE", ["zone2"])
    assert (dag.name, dag.state, dag.max_stage) == ("Stop OB", "SUCCEED", 6)
    assert "STOP ZONE zone2" in stage_logs(dag.nodes[4])
    assert cluster.stopped() == (set(), {"zone2"})
    assert cluster.pids() == before
    newest = cluster.sdk.get_all_agent_last_maintenance_dag()
    assert [(one.name, one.max_stage, one.state) for one in newest] == [
        ("Stop observer", 2, "SUCCEED")
    ] * 6
    assert states(cluster) == ["ACTIVE", "STOPPED", "ACTIVE"] * 2

    again = cluster.members[1].stop_servers("ZONE", ["zone2"])
    assert again.state == "SUCCEED"
    refused(cluster, "OB.Server.StoppedInMultiZone", "ZONE", ["zone1"], "zone zone2 is stopped")
    cluster.start("ZONE", ["zone2"])
    assert cluster.all_well()


def test_a_gentle_stop_takes_servers_of_one_zone_out_of_service(cluster: SixServers) -> None:
    before = cluster.pids()
    first, other = cluster.members[0], cluster.members[1]
    fellow = cluster.in_zone("zone1")[1]
    refused(
        cluster,
        "OB.Server.StoppedInMultiZone",
        "SERVER",
        [first.address, other.address],
        "zone1, zone2",
    )
    dag = other.stop_servers("SERVER", [first.address, fellow.address])
    assert f"STOP SERVER {first.server}, {fellow.server}" in stage_logs(dag.nodes[4])
    assert cluster.stopped() == ({first.server, fellow.server}, set())
    assert cluster.pids() == before
    refused(cluster, "OB.Server.StoppedInMultiZone", "SERVER", [other.address], first.server)
    # Killed after it was stopped, a server is both: a start undoes both.
    other.stop_servers("SERVER", [first.address], force=True)
    other.start_servers("SERVER", [first.address, fellow.address])
    assert cluster.all_well()


def test_a_server_is_started_though_its_zone_stays_stopped(cluster: SixServers) -> None:
    server = cluster.members[2]
    cluster.stop("ZONE", ["zone3"])
    cluster.stop("SERVER", [server.address], force=True)
    dag = cluster.start("SERVER", [server.address])
    assert "WARNING: its zone zone3 is INACTIVE" in stage_logs(dag.nodes[3])
    assert (server.server_pid() is None, cluster.stopped()) == (False, (set(), {"zone3"}))


@pytest.mark.parametrize(
    "scope", ["SERVER", "ZONE", pytest.param("GLOBAL", marks=pytest.mark.long)]
)
def test_terminate_flushes_and_then_kills(cluster: SixServers, scope: str) -> None:
    targets = {"SERVER": [cluster.members[4]], "ZONE": cluster.in_zone("zone2")}
    ended = targets.get(scope, cluster.members)
    named = {"SERVER": [cluster.members[4].address], "ZONE": ["zone2"], "GLOBAL": []}[scope]
    dag = cluster.stop(scope, named, terminate=True)
    assert (dag.max_stage, dag.nodes[2].name) == (6, "Minor freeze before stop server")
    log = stage_logs(dag.nodes[2])
    assert log.count("all that was committed before is in the data files") == len(ended)
    asked = "Look whether every log stream keeps its majority" in stage_logs(dag.nodes[3])
    assert asked == (scope != "GLOBAL")
    assert dead(cluster) == ended
    started = cluster.start(scope, named)
    assert started.state == "SUCCEED"
    assert cluster.all_well()


@pytest.mark.parametrize("scope", ["ZONE", "GLOBAL"])
def test_force_kills_and_no_row_is_lost(cluster: SixServers, scope: str) -> None:
    cluster.sql(ROWS)
    cluster.sql(f"replace into test.kept values ({len(scope)})")
    named = ["zone1"] if scope == "ZONE" else []
    dag = cluster.stop(scope, named, force=True)
    assert dag.max_stage == 5
    assert dead(cluster) == (cluster.in_zone("zone1") if scope == "ZONE" else cluster.members)
    if scope == "ZONE":  # the server of the agent that is asked is down
        refused(cluster, "OB.Cluster.ForceStopRequired", "ZONE", ["zone1"], "", force=True)
    cluster.members[2].start_servers(scope, named)
    assert cluster.all_well()
    assert (len(scope),) in cluster.sql("select n from test.kept")


def refused(
    cluster: SixServers, code: str, scope: str, target: list[str], why: str, **mode: bool
) -> None:
    """That a stop is refused for a reason."""
    with pytest.raises(OBShellHandleError) as refusal:
        cluster.sdk.stop(scope, target, **mode)
    assert refusal.value.err_code == code
    assert why in str(refusal.value)


def dead(cluster: SixServers) -> list[Member]:
    return [member for member in cluster.members if member.server_pid() is None]


def states(cluster: SixServers) -> list[str]:
    """The states of the servers, in the order of the members."""
    topology = cluster.sdk.get_ob_info().cluster.zone_config
    found = {one.svr_port: one.status for servers in topology.values() for one in servers}
    return [found[member.node.rpc_port] for member in cluster.members]
