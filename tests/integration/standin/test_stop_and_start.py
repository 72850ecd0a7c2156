"""START, STOP and ISOLATE of servers and zones, and the server's own guards."""

from __future__ import annotations

import pytest

from support.standin_clusters import eventually

pytestmark = pytest.mark.long


def stopped(cluster):
    return {
        port
        for (port,) in cluster.nodes[0].sql(
            "select svr_port from oceanbase.DBA_OB_SERVERS where stop_time is not null"
        )
    }


def zone_status(cluster, zone):
    statement = f"select status from oceanbase.DBA_OB_ZONES where zone = '{zone}'"
    return cluster.nodes[0].sql(statement)[0][0]


def leaders(cluster):
    return dict(
        cluster.nodes[0].sql(
            "select tenant_id * 10000 + ls_id, svr_port from oceanbase.GV$OB_LOG_STAT"
            " where role = 'LEADER'"
        )
    )


@pytest.mark.parametrize("how", ["STOP", "FORCE STOP", "ISOLATE"])
def test_servers_of_one_zone_are_stopped_and_started(cluster, how):
    first, fourth = cluster.nodes[0], cluster.nodes[3]
    cluster.nodes[1].sql(f"ALTER SYSTEM {how} SERVER '{first.address}', '{fourth.address}'")
    assert stopped(cluster) == {first.rpc_port, fourth.rpc_port}
    assert set(cluster.statuses().values()) == {"ACTIVE"}
    cluster.nodes[1].sql(f"ALTER SYSTEM {how} SERVER '{first.address}'")
    cluster.nodes[1].sql(f"alter system start server '{first.address}', '{fourth.address}'")
    assert stopped(cluster) == set()


def test_a_stopped_server_leads_nothing(cluster):
    stream, port = 10001, leaders(cluster)[10001]
    leader = next(node for node in cluster.nodes if node.rpc_port == port)
    leader.sql(f"alter system stop server '{leader.address}'")
    assert leaders(cluster)[stream] != port
    assert leader.sql("show databases")


@pytest.mark.parametrize("how", ["STOP", "FORCE STOP"])
def test_servers_of_two_zones_are_not_stopped(cluster, how):
    first, second = cluster.nodes[0], cluster.nodes[1]
    both = f"ALTER SYSTEM {how} SERVER '{first.address}', '{second.address}'"
    assert first.fails(both)[0] == 4660
    first.sql(f"ALTER SYSTEM {how} SERVER '{first.address}'")
    assert first.fails(f"ALTER SYSTEM {how} SERVER '{second.address}'")[0] == 4660
    assert first.fails(f"ALTER SYSTEM {how} ZONE 'zone2'")[0] == 4660
    first.sql(f"ALTER SYSTEM ISOLATE SERVER '{second.address}'")
    assert stopped(cluster) == {first.rpc_port, second.rpc_port}


def test_a_zone_is_stopped_and_started(cluster):
    asked = cluster.nodes[5]
    asked.sql("ALTER SYSTEM STOP ZONE 'zone2'", "ALTER SYSTEM STOP ZONE zone2")
    assert zone_status(cluster, "zone2") == "INACTIVE"
    assert stopped(cluster) == set()
    assert asked.fails("ALTER SYSTEM STOP ZONE 'zone1'")[0] == 4660
    assert asked.fails(f"ALTER SYSTEM STOP SERVER '{cluster.nodes[0].address}'")[0] == 4660
    asked.sql(f"ALTER SYSTEM STOP SERVER '{cluster.nodes[1].address}'")
    asked.sql("ALTER SYSTEM START ZONE 'zone2'")
    assert zone_status(cluster, "zone2") == "ACTIVE"
    number, message = asked.fails("ALTER SYSTEM START ZONE 'zone2'")
    assert (number, "zone status not match" in message) == (4633, True)


def test_unknown_places_are_refused(cluster):
    asked = cluster.nodes[0]
    assert asked.fails("ALTER SYSTEM STOP ZONE 'nowhere'")[0] == 4530
    assert asked.fails("ALTER SYSTEM STOP SERVER '127.0.0.1:1'")[0] == 4630
    assert asked.fails("ALTER SYSTEM STOP SERVER 'nonsense'")[0] == 4002
    wrong = f"ALTER SYSTEM STOP SERVER '{asked.address}' ZONE 'zone2'"
    assert asked.fails(wrong)[0] == 4631


def test_a_stop_that_would_lose_a_majority_is_refused(cluster):
    first, second, third = cluster.nodes[:3]
    third.kill()
    eventually(lambda: cluster.statuses()[2] == "INACTIVE")
    number, message = first.fails(f"ALTER SYSTEM STOP SERVER '{second.address}'")
    assert number == 4179
    assert "no enough valid paxos member after stop server" in message
    assert first.fails(f"ALTER SYSTEM FORCE STOP SERVER '{second.address}'")[0] == 4179
    assert first.fails("ALTER SYSTEM STOP ZONE 'zone2'")[0] == 4179
    first.sql(f"ALTER SYSTEM STOP SERVER '{third.address}'")
    third.start()
    eventually(lambda: cluster.statuses()[2] == "ACTIVE")
    assert stopped(cluster) == {third.rpc_port}


def test_a_stop_waits_for_nobody_who_is_out_of_sync(cluster):
    first, second, third = cluster.nodes[:3]
    cluster.knobs.set(out_of_sync=[third.address])
    bad = "select count(*) from oceanbase.GV$OB_LOG_STAT where in_sync = 'NO'"
    eventually(lambda: first.sql(bad)[0][0] == 1)
    number, message = first.fails(f"ALTER SYSTEM STOP SERVER '{second.address}'")
    assert (number, "log not sync" in message) == (4179, True)
    first.sql(f"ALTER SYSTEM FORCE STOP SERVER '{second.address}'")
    assert stopped(cluster) == {second.rpc_port}
