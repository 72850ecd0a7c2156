"""What can be made to go wrong, for tests of those who operate the cluster."""

from __future__ import annotations

import time

import psutil
import pymysql
import pytest

from standin.control import Faults, Knobs
from support.standin_clusters import Cluster, eventually

pytestmark = pytest.mark.long


@pytest.fixture
def node(cluster):
    cluster.nodes[0].sql("create table if not exists test.faults(a int primary key)")
    return cluster.nodes[1]


def test_logins_are_refused(node):
    node.faults.set(refuse_login=1045)
    number, message = node.fails("select 1")
    assert (number, "Access denied" in message) == (1045, True)
    node.faults.set(refuse_login=1040)
    assert node.fails("select 1")[0] == 1040
    node.faults.clear()
    assert node.sql("select 1") == ((1,),)


def test_logins_get_no_answer(node):
    node.faults.set(hang_login=True)
    with pytest.raises(pymysql.err.OperationalError):
        node.connect(connect_timeout=0.2, read_timeout=0.2)
    node.faults.clear()
    assert node.sql("select 1") == ((1,),)


def test_statements_are_late(node):
    node.faults.set(delay_s=0.3)
    begun = time.monotonic()
    node.sql("select 1")
    assert time.monotonic() - begun >= 0.3


def test_statements_hang_until_they_may_go_on(node):
    with node.connect(read_timeout=2.0) as connection:
        node.faults.set(hang=r"^select 2")
        cursor = connection.cursor()
        cursor.execute("select 1")
        with pytest.raises(pymysql.err.OperationalError, match="timed out"):
            cursor.execute("select 2")
    with node.connect() as connection, connection.cursor() as cursor:
        node.faults.clear()
        cursor.execute("select 2")
        assert cursor.fetchall() == ((2,),)


def test_connections_are_dropped(node):
    node.faults.set(drop="insert")
    assert node.sql("select 1") == ((1,),)
    assert node.fails("insert into test.faults values (1)")[0] in (2006, 2013)
    node.faults.clear()
    assert node.sql("select count(*) from test.faults where a = 1") == ((0,),)


def test_statements_fail(node):
    node.faults.set(fail="minor +freeze", errno=4013)
    assert node.fails("ALTER SYSTEM MINOR FREEZE")[0] == 4013


@pytest.mark.parametrize(
    ("when", "done"),
    [("die_before", 0), ("die_after", 1)],
)
def test_a_server_dies_at_a_statement(cluster, node, when, done):
    pid = node.pid
    process = psutil.Process(pid)
    key = 10 + done
    node.faults.set(**{when: "^insert into test.faults"})
    assert node.fails(f"insert into test.faults values ({key})")[0] == 2013
    process.wait(5)
    count = f"select count(*) from test.faults where a = {key}"
    assert cluster.nodes[0].sql(count) == ((done,),)


@pytest.mark.parametrize(("when", "done"), [("die_before", 0), ("die_after", 1)])
def test_a_server_dies_at_a_statement_about_the_cluster(cluster, node, when, done):
    first = cluster.nodes[0]
    node.faults.set(**{when: "stop server"})
    assert node.fails(f"alter system stop server '{first.address}'")[0] == 2013
    stopped = "select count(*) from oceanbase.DBA_OB_SERVERS where stop_time is not null"
    assert cluster.nodes[2].sql(stopped) == ((done,),)
    cluster.nodes[2].sql(f"alter system start server '{first.address}'")


def test_replicas_are_out_of_sync(cluster, node):
    behind = "select svr_port from oceanbase.GV$OB_LOG_STAT where in_sync = 'NO'"
    cluster.knobs.set(out_of_sync=[node.address])
    eventually(lambda: node.sql(behind) == ((node.rpc_port,),))
    cluster.knobs.clear()
    eventually(lambda: node.sql(behind) == ())


def test_a_cluster_has_no_leader_though_all_are_up(cluster, node):
    leaders = "select count(*) from oceanbase.GV$OB_LOG_STAT where role = 'LEADER'"
    assert node.sql(leaders) == ((1,),)
    cluster.knobs.set(without_leader=["sys"])
    eventually(lambda: not node.serves())
    assert node.sql("select 1") == ((1,),)
    cluster.knobs.clear()
    eventually(node.serves)
    assert node.sql(leaders) == ((1,),)


def test_what_does_not_exist_cannot_be_set(tmp_path):
    with pytest.raises(ValueError, match="unknown: nonsense"):
        Faults(tmp_path).set(nonsense=1)
    with pytest.raises(ValueError, match="unknown: nonsense"):
        Knobs(tmp_path).set(nonsense=1)


def test_a_bootstrap_can_be_repeated_until_it_succeeds(make_cluster, tmp_path):
    cluster = make_cluster("zone1", "zone2", cluster_id=8)
    first, second = cluster.nodes
    first.start("-o", f"standin_dir={tmp_path}/elsewhere")
    places = f"ZONE 'zone1' SERVER '{first.address}', ZONE 'zone2' SERVER '{second.address}'"
    assert first.fails(f"ALTER SYSTEM BOOTSTRAP {places}")[0] == 4121
    assert first.fails("show databases")[0] == 1146
    second.start()
    wrong = f"ZONE 'zone2' SERVER '{first.address}', ZONE 'zone1' SERVER '{second.address}'"
    assert first.fails(f"ALTER SYSTEM BOOTSTRAP {wrong}")[0] == 4631
    with first.connect(read_timeout=1.0) as connection, pytest.raises(pymysql.err.MySQLError):
        connection.cursor().execute(f"ALTER SYSTEM BOOTSTRAP {places}")
    first.kill()
    elsewhere = Cluster(tmp_path / "elsewhere")
    eventually(lambda: not elsewhere.processes(), 5)
    first.start()
    with first.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SET ob_query_timeout = 1234567")
        cursor.execute(f"ALTER SYSTEM BOOTSTRAP {places}")
        cursor.execute("CREATE DATABASE IF NOT EXISTS ocs READ WRITE")
        cursor.execute("select @@ob_query_timeout")
        assert cursor.fetchall() == ((1234567,),)
    assert second.sql("select count(*) from oceanbase.DBA_OB_SERVERS") == ((2,),)
    assert (tmp_path / "elsewhere/seekdb").is_dir()
    assert not cluster.directory.exists()
    config = (second.home / "etc/observer.config.bin").read_text()
    servers = ";".join(f"{node.address}:{node.sql_port}" for node in cluster.nodes)
    assert f"\nrootservice_list={servers}\n" in config
