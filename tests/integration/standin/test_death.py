"""Servers die, hang, return; a cluster loses its majority, and all of its processes."""

from __future__ import annotations

import signal
import threading
import time
from contextlib import suppress

import psutil
import pymysql
import pytest

from support.standin_clusters import eventually, start_all

pytestmark = pytest.mark.long


def row(cluster, asked, number):
    node = cluster.nodes[number]
    return asked.sql(
        "select status, start_service_time is null, last_offline_time is not null"
        f" from oceanbase.DBA_OB_SERVERS where svr_port = {node.rpc_port}"
    )[0]


def test_a_killed_server_is_inactive_and_active_again_on_return(cluster):
    first, second = cluster.nodes[:2]
    assert row(cluster, first, 1)[:2] == ("ACTIVE", 0)
    cluster.knobs.set(resync_s=1000.0)
    second.kill()
    eventually(lambda: row(cluster, first, 1) == ("INACTIVE", 1, 1))
    shown = f"select count(*) from oceanbase.{{}} where svr_port = {second.rpc_port}"
    for view in ("GV$OB_LOG_STAT", "GV$OB_SERVERS", "GV$OB_PARAMETERS", "__all_virtual_ls_info"):
        assert first.sql(shown.format(view)) == ((0,),), view
    assert first.sql(shown.format("CDB_OB_LS_LOCATIONS")) == ((1,),)
    second.start()
    eventually(lambda: row(cluster, first, 1)[:2] == ("ACTIVE", 0))
    sync = f"select in_sync from oceanbase.GV$OB_LOG_STAT where svr_port = {second.rpc_port}"
    assert first.sql(sync) == (("NO",),)
    cluster.knobs.clear()
    eventually(lambda: first.sql(sync) == (("YES",),))


def test_a_dead_leader_has_a_successor(cluster):
    leads = "select svr_port, proposal_id from oceanbase.GV$OB_LOG_STAT where role = 'LEADER'"
    port, proposal = cluster.nodes[0].sql(leads)[0]
    leader = next(node for node in cluster.nodes if node.rpc_port == port)
    other = next(node for node in cluster.nodes if node is not leader)
    leader.kill()
    eventually(lambda: other.sql(leads)[0][0] != port)
    assert other.sql(leads)[0][1] > proposal


def test_a_paused_server_is_inactive_until_it_goes_on(cluster):
    first, fifth = cluster.nodes[0], cluster.nodes[4]
    fifth.signal(signal.SIGSTOP)
    eventually(lambda: row(cluster, first, 4)[0] == "INACTIVE")
    with pytest.raises(pymysql.err.OperationalError):
        fifth.connect(connect_timeout=0.3, read_timeout=0.3)
    fifth.signal(signal.SIGCONT)
    eventually(lambda: row(cluster, first, 4)[:2] == ("ACTIVE", 0))


def test_without_a_majority_only_what_needs_no_table_is_answered(cluster):
    first, second, third = cluster.nodes[:3]
    first.sql("create table if not exists test.kept(a int primary key)")
    with first.connect() as connection, connection.cursor() as cursor:
        cursor.execute("begin")
        cursor.execute("insert into test.kept values (-1)")
        second.kill()
        third.kill()
        eventually(lambda: not first.serves())
        assert first.sql("select 1") == ((1,),)
        assert first.sql("select now(6) is not null, @@system_time_zone is not null") == ((1, 1),)
        begun = time.monotonic()
        quick = "select /*+ QUERY_TIMEOUT(700000) */ count(*) from oceanbase.__ALL_DATABASE limit 1"
        assert first.fails(quick)[0] == 4012
        assert time.monotonic() - begun >= 0.7
        for statement in (
            "commit",
            "insert into test.kept values (-2)",
            "select * from oceanbase.DBA_OB_SERVERS",
            f"alter system start server '{second.address}'",
        ):
            cursor.execute("set ob_query_timeout = 200000")
            with pytest.raises(pymysql.err.MySQLError) as failed:
                cursor.execute(statement)
            assert failed.value.args[0] == 4012
        waiting = threading.Thread(target=second_chance, args=(first,))
        waiting.start()
        second.start()
        waiting.join(20)
        assert not waiting.is_alive()
        cursor.execute("commit")
    assert first.sql("select * from test.kept") == ((-1,),)
    assert first.sql("select count(*) from test.second_chance") == ((1,),)


def second_chance(node):
    """A statement that is waiting goes on when there is a majority again."""
    node.sql("set ob_query_timeout = 20000000", "create table test.second_chance as select 1 a")


def test_a_lost_majority_of_servers_without_replicas_is_none(cluster):
    first = cluster.nodes[0]
    for node in cluster.nodes[3:]:
        node.kill()
    eventually(lambda: list(cluster.statuses().values()).count("INACTIVE") == 3)
    assert first.serves()


def test_the_death_of_all_leaves_no_process_and_loses_no_acknowledged_row(cluster):
    nodes = cluster.nodes
    nodes[0].sql("create table if not exists test.counted(a int primary key)")
    acknowledged: list[int] = []
    writers = [
        threading.Thread(target=count_up, args=(node, 1_000_000 * number, acknowledged))
        for number, node in enumerate(nodes[:3])
    ]
    for writer in writers:
        writer.start()
    eventually(lambda: len(acknowledged) > 100)
    started = nodes[0].sql("select max(start_service_time) from oceanbase.DBA_OB_SERVERS")
    for node in nodes:
        node.kill()
    eventually(lambda: not cluster.processes(), 5)
    for writer in writers:
        writer.join(10)
    start_all(nodes)
    eventually(nodes[0].serves)
    eventually(cluster.all_well)
    kept = {number for (number,) in nodes[0].sql("select a from test.counted")}
    assert set(acknowledged) <= kept
    again = nodes[0].sql("select min(start_service_time) from oceanbase.DBA_OB_SERVERS")
    assert again > started


def count_up(node, number, acknowledged):
    with suppress(pymysql.err.MySQLError), node.connect() as connection:
        while True:
            number += 1
            connection.cursor().execute("insert into test.counted values (%s)", [number])
            acknowledged.append(number)


def test_after_the_death_of_all_a_majority_is_needed_again(cluster):
    first, second = cluster.nodes[:2]
    for node in cluster.nodes:
        node.kill()
    first.start()
    eventually(lambda: answers(first))
    assert not first.serves()
    second.start()
    eventually(first.serves)
    assert cluster.statuses() == {0: "ACTIVE", 1: "ACTIVE"} | dict.fromkeys(range(2, 6), "INACTIVE")


def answers(node):
    with suppress(pymysql.err.MySQLError):
        return node.sql("select 1") == ((1,),)
    return False


def test_a_death_may_be_noticed_late(cluster):
    cluster.knobs.set(notice_s=1000.0)
    cluster.nodes[3].kill()
    assert cluster.statuses()[3] == "ACTIVE"
    cluster.knobs.clear()
    eventually(lambda: cluster.statuses()[3] == "INACTIVE")
    started = "select start_service_time from oceanbase.DBA_OB_SERVERS where status = 'ACTIVE' and"
    started += f" svr_port = {cluster.nodes[4].rpc_port}"
    before = cluster.nodes[0].sql(started)[0][0]
    cluster.knobs.set(notice_s=1000.0)
    cluster.nodes[4].kill()
    assert cluster.nodes[0].sql(started) == ((before,),)
    cluster.nodes[4].start()
    eventually(lambda: cluster.nodes[0].sql(started)[0][0] not in (None, before))


def test_nothing_is_held_open_in_a_home_whose_server_is_dead(cluster):
    node = cluster.nodes[3]
    node.kill()
    for process in cluster.processes():
        with suppress(psutil.Error):
            held = [file.path for file in process.open_files()]
            assert [path for path in held if path.startswith(str(node.home))] == []
            assert not process.cwd().startswith(str(node.home))


def test_a_dead_hub_is_replaced(cluster):
    first = cluster.nodes[0]
    first.sql("create table if not exists test.hub(a int)", "insert into test.hub values (7)")
    hub = next(one for one in cluster.processes() if one.name() == "standin-hub")
    hub.kill()
    eventually(lambda: hub.pid not in {one.pid for one in cluster.processes()})
    eventually(first.serves)
    assert first.sql("select a from test.hub") == ((7,),)
