"""What an operator asks a healthy cluster."""

from __future__ import annotations

import asyncio
import re

import aiomysql
import pytest
from sqlalchemy import Column, Integer, MetaData, Table, Text, create_engine, inspect

pytestmark = pytest.mark.long

READY = (
    "select count(*) from oceanbase.GV$OB_SERVER_SCHEMA_INFO where (svr_ip, svr_port) in (select"
    " svr_ip, svr_port from oceanbase.GV$OB_LOG_STAT where tenant_id = 1 and role = 'LEADER') and"
    " tenant_id = 1 and refreshed_schema_version = received_schema_version"
)
OTHER_STOPS = (
    "SELECT COUNT(*) FROM (SELECT zone FROM oceanbase.DBA_OB_SERVERS WHERE stop_time > 0 AND zone"
    " != 'zone1' UNION SELECT zone FROM oceanbase.DBA_OB_ZONES WHERE status = 'INACTIVE' AND zone"
    " != 'zone1')"
)


@pytest.fixture
def cluster(six):
    """As it is: these tests stop nothing."""
    return six


@pytest.fixture
def node(cluster):
    return cluster.nodes[4]


@pytest.mark.parametrize(
    ("statement", "answer"),
    [
        ("select 1", 1),
        ("select count(*) > 0 from oceanbase.__ALL_DATABASE limit 1", 1),
        (READY, 1),
        (r"select version() REGEXP 'OceanBase[\\s_]CE'", 1),
        (r"select @@version_comment REGEXP 'OceanBase[\\s_]CE' and @@version like '5.7.25%'", 1),
        ("select ob_version()", "4.3.5.3"),
        ("select count(*) from oceanbase.DBA_OB_SERVERS where STATUS = 'ACTIVE'", 6),
        (
            "select count(*) from oceanbase.DBA_OB_SERVERS where STATUS != 'ACTIVE' or STOP_TIME"
            " is not NULL or START_SERVICE_TIME is NULL",
            0,
        ),
        ("select count(*) from oceanbase.GV$OB_SERVERS WHERE ZONE = 'zone2'", 2),
        ("select count(*) from oceanbase.DBA_OB_ZONES where STATUS='ACTIVE' AND ZONE='zone1'", 1),
        (OTHER_STOPS, 0),
        ("select count(*) from oceanbase.CDB_OB_BACKUP_JOBS", 0),
        ("select count(*) from oceanbase.gv$ob_log_stat where in_sync = 'NO'", 0),
        ("select count(*) from oceanbase.DBA_OB_UNITS where tenant_id = 1", 3),
        ("select sum(VALUE) > 0 from oceanbase.GV$SYSSTAT where STAT_ID = 140002", 1),
        ("select timestampdiff(second, utc_timestamp(6), now(6))", 28800),
        ("select @@system_time_zone is not null", 1),
        ("select count(distinct svr_port) from oceanbase.__all_virtual_ls_info", 3),
    ],
)
def test_a_question_has_its_answer(node, statement, answer):
    assert node.sql(statement)[0][0] == answer


def test_the_version_of_the_build_comes_before_a_hyphen(cluster, node):
    build = node.sql(
        "select BUILD_VERSION from oceanbase.dba_ob_servers where SVR_IP='127.0.0.1' and"
        f" SQL_PORT={node.sql_port}"
    )[0][0]
    assert re.fullmatch(r"4\.3\.5\.3_\d+", build.partition("-")[0])


def test_no_license_is_the_community_edition(node):
    assert node.fails("SELECT COUNT(*) FROM oceanbase.DBA_OB_LICENSE")[0] == 1146


def test_the_root_service_has_a_replica_in_each_zone_and_one_leader(cluster, node):
    rows = node.sql(
        "SELECT SVR_IP, SVR_PORT, ZONE, ROLE FROM oceanbase.CDB_OB_LS_LOCATIONS"
        " WHERE LS_ID = 1 AND TENANT_ID = 1"
    )
    assert {row[2] for row in rows} == {"zone1", "zone2", "zone3"}
    assert [row[3] for row in rows].count("LEADER") == 1
    leads = node.sql("select svr_port from oceanbase.DBA_OB_SERVERS where WITH_ROOTSERVER='YES'")
    assert leads == tuple((row[1],) for row in rows if row[3] == "LEADER")


@pytest.mark.parametrize("zone", ["zone1", "zone2", "zone3"])
def test_the_majority_without_a_zone_is_counted(node, zone):
    rows = node.sql(
        "SELECT COUNT(*) FROM oceanbase.GV$OB_LOG_STAT a INNER JOIN oceanbase.GV$OB_LOG_STAT b ON"
        " a.tenant_id = b.tenant_id AND a.ls_id = b.ls_id INNER JOIN oceanbase.DBA_OB_SERVERS s ON"
        " a.svr_ip = s.svr_ip AND a.svr_port = s.svr_port WHERE b.tenant_id = 1 AND b.ls_id = 1 AND"
        " b.role = 'LEADER' AND b.paxos_member_list LIKE CONCAT('%', a.svr_ip, ':', a.svr_port,"
        f" '%') AND a.in_sync = 'YES' AND s.zone != '{zone}'"
    )
    assert rows == ((2,),)


def test_parameters_are_shown_for_all_and_for_the_own_server(cluster, node):
    every = "select svr_port, value from oceanbase.GV$OB_PARAMETERS where name = 'mysql_port'"
    own = "select value from oceanbase.V$OB_PARAMETERS where name = 'mysql_port'"
    assert dict(node.sql(every)) == {one.rpc_port: str(one.sql_port) for one in cluster.nodes}
    assert node.sql(own) == ((str(node.sql_port),),)
    name = "select value from oceanbase.GV$OB_PARAMETERS where name = 'cluster' limit 1"
    assert node.sql(name) == (("a cluster",),)
    zone = "select a.zone, b.value from oceanbase.DBA_OB_SERVERS a join"
    zone += " oceanbase.`V$OB_PARAMETERS` b on b.name = 'zone' and a.svr_port = b.svr_port"
    assert node.sql(zone) == (("zone2", "zone2"),)
    rows = node.sql("select value from oceanbase.V$OB_PARAMETERS where name = 'rootservice_list'")
    places = [f"{one.address}:{one.sql_port}" for one in cluster.nodes[:3]]
    assert rows == ((";".join(places),),)
    assert len(node.sql("show parameters like 'cluster_id'")) == 6
    statement = "select count(*) > 100 from oceanbase.__all_virtual_sys_parameter_stat"
    assert node.sql(statement) == ((1,),)


def test_sessions_are_shown_with_their_server(cluster, node):
    other = cluster.nodes[0]
    with other.connect() as connection:
        number = connection.thread_id()
        for view in ("GV$OB_PROCESSLIST", "GV$OB_SESSION"):
            rows = node.sql(f"select svr_port, user from oceanbase.{view} where id = {number}")
            assert rows == ((other.rpc_port, "root"),)


def test_a_session_can_be_killed(cluster, node):
    with cluster.nodes[0].connect() as connection:
        node.sql(f"kill {connection.thread_id()}")
        with pytest.raises(Exception, match=r"Lost connection|server has gone away|closed"):
            connection.cursor().execute("select 1")


def test_the_common_database_works_as_any(cluster, node):
    node.sql(
        "CREATE DATABASE IF NOT EXISTS ocs READ WRITE",
        "create table ocs.all_agent(ip varchar(64), port bigint, rpc_port bigint,"
        " primary key(ip, port))",
        f"insert into ocs.all_agent values ('127.0.0.1', 2886, {node.rpc_port}), ('::1', 1, 2)",
    )
    other = cluster.nodes[1]
    members = other.sql(
        "SELECT a.ZONE FROM oceanbase.DBA_OB_SERVERS a JOIN ocs.all_agent b ON a.svr_ip = b.ip AND"
        " a.svr_port = b.rpc_port WHERE a.status = 'ACTIVE'"
    )
    assert members == ((node.zone,),)
    other.sql(
        "delete from all_agent where not exists (select 1 from oceanbase.dba_ob_servers where"
        " svr_ip = ip and svr_port = rpc_port)",
        database="ocs",
    )
    assert node.sql("select ip from ocs.all_agent") == (("127.0.0.1",),)
    again = f"insert into ocs.all_agent values ('127.0.0.1', 2886, {node.rpc_port})"
    assert node.fails(again)[0] == 1062
    assert node.fails("select * from ocs.nothing")[0] == 1146
    text = "version() of V$OB_PARAMETERS 'and' __all_virtual_ls_info"
    with node.connect() as connection, connection.cursor() as cursor:
        cursor.execute("insert into ocs.all_agent values (%s, 1, 2)", [text])
        cursor.execute("select ip, version() from ocs.all_agent where ip = %s", [text])
        assert cursor.fetchall() == ((text, "5.7.25-OceanBase_CE-v4.3.5.3"),)
    blob = "x" * (9 << 20)
    node.sql("create table ocs.chunk(a int primary key, b mediumblob)")
    with node.connect() as connection, connection.cursor() as cursor:
        cursor.execute("insert into ocs.chunk values (1, %s)", [blob])
    assert other.sql("select length(b), b = repeat('x', 9437184) from ocs.chunk") == ((9 << 20, 1),)


def test_transactions_are_real(cluster):
    first, second = cluster.nodes[0], cluster.nodes[5]
    first.sql("create table test.t(a int primary key, b int)", "insert into test.t values (1, 1)")
    with first.connect() as connection, connection.cursor() as cursor:
        cursor.execute("begin")
        cursor.execute("select * from test.t where a = 1 for update")
        cursor.execute("update test.t set b = 2")
        waits = "update /*+ QUERY_TIMEOUT(300000) */ test.t set b = 3"
        assert second.fails(waits)[0] in (1205, 4012)
        assert second.sql("select b from test.t") == ((1,),)
        cursor.execute("commit")
    assert second.sql("select b from test.t") == ((2,),)


def test_accounts_are_those_of_the_whole_cluster(cluster, node):
    node.sql(
        "CREATE USER IF NOT EXISTS `proxyro`@`%` IDENTIFIED BY 'pw'",
        "GRANT SELECT ON oceanbase.* TO proxyro",
    )
    user = {"user": "proxyro", "password": "pw"}
    assert cluster.nodes[2].sql("select count(*) from oceanbase.DBA_OB_ZONES", **user) == ((3,),)
    password = 'it\'s "secret" \\ 密码'
    node.sql("select 1")
    with node.connect() as connection, connection.cursor() as cursor:
        cursor.execute("ALTER USER root IDENTIFIED BY %s", [password])
    number, message = cluster.nodes[0].fails("select 1")
    assert number == 1045
    assert "Access denied" in message
    for one in cluster.nodes:
        one.password = password
        assert one.sql("select 1") == ((1,),)
    node.sql("ALTER USER root IDENTIFIED BY ''")
    for one in cluster.nodes:
        one.password = ""


def test_users_of_the_sys_tenant_may_name_it(node):
    assert node.sql("select 1", user="root@sys") == ((1,),)
    assert node.sql("select 1", user="root@sys#a cluster") == ((1,),)
    assert node.fails("select 1", user="root@nowhere")[0] == 1045


def test_a_second_bootstrap_is_refused(node):
    assert node.fails(f"ALTER SYSTEM BOOTSTRAP ZONE 'z' SERVER '{node.address}'")[0] == 4006


def test_modules_and_major_freeze_are_accepted(node):
    node.sql(
        "alter system load module data module=timezone tenant=sys",
        "alter system check module data module=gis tenant=sys",
        "alter system load module data module=redis tenant=sys",
        "ALTER SYSTEM MAJOR FREEZE TENANT = sys",
        "ALTER SYSTEM CLEAR MERGE ERROR TENANT = sys",
    )
    assert node.sql("select count(*) > 0 from mysql.time_zone") == ((1,),)


def test_what_is_not_understood_is_a_syntax_error(node):
    assert node.fails("alter system stop server")[0] == 1064
    assert node.fails("alter system shutdown")[0] == 1064
    assert node.fails("create resource unit u max_cpu many")[0] == 4002
    assert node.fails("create resource pool p unit = 'sys_unit_config', unit_num = many")[0] == 1064
    assert node.fails("selct 1")[0] == 1064


def test_sqlalchemy_is_served(node):
    engine = create_engine(f"mysql+pymysql://root@{node.ip}:{node.sql_port}/test")
    tables = MetaData()
    table = Table("alchemy", tables, Column("id", Integer, primary_key=True), Column("t", Text))
    with engine.begin() as connection:
        tables.create_all(connection)
        connection.execute(table.insert(), [{"id": 1, "t": "a"}, {"id": 2, "t": None}])
    with engine.connect() as connection:
        assert connection.execute(table.select()).all() == [(1, "a"), (2, None)]
        assert "alchemy" in inspect(connection).get_table_names()
    engine.dispose()


@pytest.mark.anyio
async def test_an_asynchronous_client_is_served(node):
    async with aiomysql.create_pool(
        host=node.ip, port=node.sql_port, user="root", autocommit=True, charset="utf8mb4"
    ) as pool:
        answers = await asyncio.gather(*(ask(pool, number) for number in range(20)))
    assert answers == [((number, "数据"),) for number in range(20)]


async def ask(pool, number):
    async with pool.acquire() as connection, connection.cursor() as cursor:
        await cursor.execute("select %s, %s from oceanbase.DBA_OB_ZONES limit 1", (number, "数据"))
        return await cursor.fetchall()
