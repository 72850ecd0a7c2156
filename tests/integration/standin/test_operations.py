"""Freeze, scale, parameters and tenants."""

from __future__ import annotations

import re
import time

import pytest

from support.standin_clusters import eventually

pytestmark = pytest.mark.long

IN_SERVERS = "select status from oceanbase.DBA_OB_SERVERS where svr_port = {}"


@pytest.fixture
def asked(cluster):
    return cluster.nodes[4]


def checkpoint(asked, node):
    rows = asked.sql(
        "SELECT checkpoint_scn FROM oceanbase.__all_virtual_ls_info WHERE svr_ip = '127.0.0.1'"
        f" AND svr_port = {node.rpc_port} ORDER BY checkpoint_scn ASC LIMIT 1"
    )
    return rows[0][0] if rows else 0


def log_end(asked):
    return asked.sql("select max(end_scn) from oceanbase.GV$OB_LOG_STAT")[0][0]


def test_a_minor_freeze_moves_the_checkpoints_of_its_servers(cluster, asked):
    first, second = cluster.nodes[:2]
    before, end = checkpoint(asked, second), log_end(asked)
    asked.sql(f"alter system minor freeze server = ('{first.address}')")
    eventually(lambda: checkpoint(asked, first) >= end)
    assert checkpoint(asked, second) == before
    asked.sql("alter system minor freeze")
    eventually(lambda: checkpoint(asked, second) >= end)
    assert checkpoint(asked, cluster.nodes[3]) == 0  # no replica there


def test_a_freeze_takes_as_long_as_it_is_told(cluster, asked):
    first = cluster.nodes[0]
    freeze = f"alter system minor freeze server = ('{first.address}')"
    before = checkpoint(asked, first)
    cluster.knobs.set(freeze_s=1.0)
    begun = time.monotonic()
    asked.sql(freeze)
    eventually(lambda: checkpoint(asked, first) > before)
    assert time.monotonic() - begun >= 1.0
    cluster.knobs.set(freeze_never=True, freeze_s=0.0)
    before = checkpoint(asked, first)
    asked.sql(freeze, "ALTER SYSTEM SET cpu_count = 2")  # all that is due happens with the latter
    assert checkpoint(asked, first) == before
    cluster.knobs.clear()
    eventually(lambda: checkpoint(asked, first) > before)


def test_a_server_is_added_and_deleted(cluster, asked):
    new = cluster.add("zone2")
    state = IN_SERVERS.format(new.rpc_port)
    add = f"ALTER SYSTEM ADD SERVER '{new.address}' ZONE 'zone2'"
    assert asked.fails(add)[0] == 4121
    new.start()
    assert asked.fails(add.replace("zone2", "zone1"))[0] == 4631
    asked.sql(add)
    assert asked.sql(state) == (("ACTIVE",),)
    assert asked.fails(add)[0] == 4017
    eventually(new.serves)
    eventually(cluster.all_well)
    assert new.sql("select value from oceanbase.V$OB_PARAMETERS where name = 'zone'") == (
        ("zone2",),
    )
    cluster.knobs.set(delete_never=True)
    delete = f"ALTER SYSTEM DELETE SERVER '{new.address}'"
    assert asked.fails(f"{delete} ZONE 'zone3'")[0] == 4631
    asked.sql(f"{delete} ZONE 'zone2'")
    assert asked.sql(state) == (("DELETING",),)
    assert asked.fails(delete)[0] == 4628
    cancel = f"ALTER SYSTEM CANCEL DELETE SERVER '{new.address}'"
    asked.sql(cancel)
    assert asked.sql(state) == (("ACTIVE",),)
    assert asked.fails(cancel)[0] == 4629
    cluster.knobs.set(delete_s=0.2)
    asked.sql(delete)
    eventually(lambda: asked.sql(state) == ())
    assert asked.fails(delete)[0] == 4630
    assert not new.serves()
    assert new.sql("select 1") == ((1,),)
    assert asked.fails(add)[0] == 4179  # it is not empty
    new.kill()
    cluster.nodes.remove(new)


def test_a_zone_is_added_and_deleted(cluster, asked):
    new = cluster.add("zone4")
    new.start()
    add = f"ALTER SYSTEM ADD SERVER '{new.address}' ZONE 'zone4'"
    assert asked.fails(add)[0] == 4530
    asked.sql("alter system add zone 'zone4' region 'north'")
    assert asked.fails("alter system add zone 'zone4'")[0] == 4531
    zone = "select status, region, type from oceanbase.DBA_OB_ZONES where zone = 'zone4'"
    assert asked.sql(zone) == (("INACTIVE", "north", "ReadWrite"),)
    assert asked.fails(add)[0] == 4655
    asked.sql("ALTER SYSTEM START ZONE 'zone4'", add)
    eventually(new.serves)
    asked.sql("ALTER SYSTEM STOP ZONE 'zone4'")
    assert asked.fails("ALTER SYSTEM DELETE ZONE zone4")[0] == 4668
    asked.sql(f"ALTER SYSTEM DELETE SERVER '{new.address}'")
    eventually(lambda: asked.sql(IN_SERVERS.format(new.rpc_port)) == ())
    asked.sql("ALTER SYSTEM DELETE ZONE zone4")
    assert asked.sql(zone) == ()
    assert asked.fails("ALTER SYSTEM DELETE ZONE zone4")[0] == 4530
    new.kill()
    cluster.nodes.remove(new)


def test_units_move_when_their_server_is_deleted(cluster, asked):
    units = "select count(*) from oceanbase.DBA_OB_UNITS where svr_port = {}"
    members = "select distinct paxos_member_list from oceanbase.GV$OB_LOG_STAT where ls_id = 1"
    third, sixth = cluster.nodes[2], cluster.nodes[5]
    both = f"ALTER SYSTEM DELETE SERVER '{third.address}', '{sixth.address}'"
    assert asked.fails(both)[0] == 4745
    for old, new in ((third, sixth), (sixth, third)):
        assert asked.sql(units.format(old.rpc_port))[0][0] == 1
        asked.sql(f"ALTER SYSTEM DELETE SERVER '{old.address}'")
        eventually(lambda old=old: asked.sql(IN_SERVERS.format(old.rpc_port)) == ())
        assert asked.sql(units.format(new.rpc_port))[0][0] == 1
        assert new.address in asked.sql(members)[0][0]
        assert asked.fails(f"ALTER SYSTEM DELETE SERVER '{new.address}'")[0] == 4745
        old.kill()
        old.redeploy()
        asked.sql(f"ALTER SYSTEM ADD SERVER '{old.address}' ZONE 'zone3'")
        eventually(cluster.all_well)


@pytest.mark.parametrize(
    ("where", "changed"),
    [("", None), ("ZONE = `zone2`", "zone2"), ("SERVER = '{address}'", "own")],
)
def test_a_parameter_is_set_everywhere_or_somewhere(cluster, asked, where, changed):
    asked.sql('ALTER SYSTEM SET `cpu_count` = "16"')
    where = where.format(address=asked.address)
    asked.sql(f'ALTER SYSTEM SET `cpu_count` = "3" {where}')
    rows = asked.sql(
        "select svr_port, zone, value from oceanbase.GV$OB_PARAMETERS where name = 'cpu_count'"
    )
    assert len(rows) == len(cluster.nodes)
    for port, zone, value in rows:
        expected = changed in (None, zone) or (changed == "own" and port == asked.rpc_port)
        assert value == ("3" if expected else "16")


def test_bad_parameters_are_refused(asked):
    assert asked.fails("ALTER SYSTEM SET nonsense = 1")[0] == 5099
    assert asked.fails("ALTER SYSTEM SET zone = 'zone9'")[0] == 4147
    assert asked.fails("ALTER SYSTEM SET cpu_count = 1 ZONE = zone9")[0] == 4530
    assert asked.fails("ALTER SYSTEM SET cpu_count = 1 SERVER = '1.2.3.4:5'")[0] == 4630


def make_tenant(asked, name, units=1):
    asked.sql(
        f"CREATE RESOURCE UNIT IF NOT EXISTS {name}_unit MAX_CPU 1, MIN_CPU 1, MEMORY_SIZE '2G',"
        " LOG_DISK_SIZE '4G'",
        f"CREATE RESOURCE POOL {name}_pool UNIT='{name}_unit', UNIT_NUM={units},"
        " ZONE_LIST=('zone1','zone2')",
        f"CREATE TENANT `{name}` resource_pool_list=('{name}_pool'), PRIMARY_ZONE = `zone2;zone1`"
        " SET ob_tcp_invited_nodes='%', ob_compatibility_mode='mysql'",
    )


def test_a_tenant_comes_and_goes(asked):
    make_tenant(asked, "shop", units=2)
    row = asked.sql(
        "select tenant_id, tenant_type, status, primary_zone, locality, unit_num, locked from"
        " oceanbase.DBA_OB_TENANTS where tenant_name = 'shop'"
    )[0]
    number = row[0]
    locality = "FULL{1}@zone1, FULL{1}@zone2"
    assert row[1:] == ("USER", "NORMAL", "zone2;zone1", locality, 2, "NO")
    units = asked.sql(
        "select zone, count(distinct svr_port), max(memory_size) from oceanbase.DBA_OB_UNITS where"
        f" tenant_id = {number} group by zone order by zone"
    )
    assert units == (("zone1", 2, 2 << 30), ("zone2", 2, 2 << 30))
    streams = asked.sql(
        "select ls_id, count(*), sum(role = 'LEADER'), max(paxos_replica_num) from"
        f" oceanbase.GV$OB_LOG_STAT where tenant_id = {number} group by ls_id order by ls_id"
    )
    assert streams == ((1, 2, 1, 2), (1001, 2, 1, 2), (1002, 2, 1, 2))
    leaders = asked.sql(
        "select distinct s.zone from oceanbase.GV$OB_LOG_STAT a join oceanbase.DBA_OB_SERVERS s on"
        f" a.svr_port = s.svr_port where a.tenant_id = {number} and a.role = 'LEADER'"
    )
    assert leaders == (("zone2",),)
    variable = "select value from oceanbase.CDB_OB_SYS_VARIABLES where tenant_id = {} and name = "
    variable = variable.format(number) + "'ob_tcp_invited_nodes'"
    assert asked.sql(variable) == (("%",),)
    assert asked.sql("select 1", user="root@shop") == ((1,),)
    assert asked.fails("DROP RESOURCE POOL shop_pool")[0] == 4626
    asked.sql("set session recyclebin=1", "DROP TENANT shop")
    recycled = "select tenant_name from oceanbase.DBA_OB_TENANTS where in_recyclebin = 'YES'"
    name = asked.sql(recycled)[0][0]
    asked.sql(f"FLASHBACK TENANT `{name}` TO BEFORE DROP")
    asked.sql("DROP TENANT IF EXISTS `shop` FORCE", "DROP RESOURCE POOL shop_pool")
    asked.sql("DROP RESOURCE UNIT shop_unit", "DROP TENANT IF EXISTS `shop` FORCE")
    assert asked.sql("select count(*) from oceanbase.DBA_OB_UNITS where tenant_id != 1")[0][0] == 0
    assert asked.fails("DROP TENANT shop")[0] == 5160


def test_a_tenant_is_altered_and_the_jobs_are_listed(asked):
    make_tenant(asked, "bank")
    asked.sql(
        'ALTER TENANT `bank` LOCALITY = "FULL@zone1"',
        "ALTER TENANT `bank` PRIMARY_ZONE = `zone1`",
        "ALTER RESOURCE TENANT `bank` UNIT_NUM = 2",
        "ALTER TENANT `bank` SET VARIABLES max_connections=77",
        "ALTER TENANT `bank` LOCK",
        "ALTER TENANT `bank` RENAME GLOBAL_NAME TO `bank2`",
        "ALTER RESOURCE UNIT bank_unit MAX_CPU 2",
        'ALTER SYSTEM SET `major_freeze_duty_time` = "03:00" TENANT = `bank2`',
        "ALTER SYSTEM SET undo_retention = 900 TENANT = all",
    )
    row = asked.sql(
        "select locality, primary_zone, unit_num, locked, tenant_id from"
        " oceanbase.DBA_OB_TENANTS where tenant_name = 'bank2'"
    )[0]
    assert row[:4] == ("FULL@zone1", "zone1", 2, "YES")
    jobs = "select job_type, job_status from oceanbase.DBA_OB_TENANT_JOBS where tenant_id = {}"
    assert set(asked.sql(jobs.format(row[4]))) == {
        ("ALTER_TENANT_LOCALITY", "SUCCESS"),
        ("ALTER_TENANT_PRIMARY_ZONE", "SUCCESS"),
        ("ALTER_RESOURCE_TENANT_UNIT_NUM", "SUCCESS"),
    }
    config = "select max_cpu from oceanbase.DBA_OB_UNIT_CONFIGS where name = 'bank_unit'"
    assert asked.sql(config) == ((2.0,),)
    values = asked.sql(
        "select distinct tenant_id, value from oceanbase.GV$OB_PARAMETERS where scope = 'TENANT'"
        " and name = 'major_freeze_duty_time'"
    )
    assert set(values) == {(1, "02:00"), (row[4], "03:00")}
    replicas = (
        f"select max(paxos_replica_num) from oceanbase.GV$OB_LOG_STAT where tenant_id={row[4]}"
    )
    assert asked.sql(replicas) == ((1,),)
    asked.sql("DROP TENANT bank2 FORCE", "DROP RESOURCE POOL bank_pool")


def test_a_live_server_of_a_tenant_is_found(asked):
    make_tenant(asked, "live")
    rows = asked.sql(
        "SELECT s.* FROM oceanbase.DBA_OB_UNITS u JOIN oceanbase.DBA_OB_SERVERS s ON"
        " (u.svr_ip = s.svr_ip and u.svr_port = s.svr_port) WHERE u.tenant_id = (select tenant_id"
        " from oceanbase.DBA_OB_TENANTS where tenant_name = 'live') AND s.status = 'ACTIVE' LIMIT 1"
    )
    assert len(rows) == 1
    pools = asked.sql(
        "select zone_list from oceanbase.DBA_OB_RESOURCE_POOLS where name='live_pool'"
    )
    assert re.fullmatch("zone1;zone2", pools[0][0])


def test_a_tenant_without_a_majority_gets_nothing_done(cluster, asked):
    make_tenant(asked, "frail")
    stream = "select svr_port from oceanbase.GV$OB_LOG_STAT a join oceanbase.DBA_OB_TENANTS t on"
    stream += " a.tenant_id = t.tenant_id where t.tenant_name = 'frail' and svr_port != {}"
    sys_leads = "select svr_port from oceanbase.GV$OB_LOG_STAT where tenant_id=1"
    of_sys = {port for (port,) in asked.sql(sys_leads)}
    ports = {port for (port,) in asked.sql(stream.format(asked.rpc_port))}
    victim = next((node for node in cluster.nodes if node.rpc_port in ports - of_sys), None)
    victim = victim or next(node for node in cluster.nodes if node.rpc_port in ports)
    victim.kill()
    slow = "insert /*+ QUERY_TIMEOUT(300000) */ into test.x values (1)"
    asked.sql("create table test.x(a int)")
    eventually(lambda: asked.fails(slow, user="root@frail")[0] == 4012)
    asked.sql("insert into test.x values (2)")
    victim.start()
    eventually(lambda: asked.sql("select count(*) from test.x", user="root@frail") == ((1,),))
