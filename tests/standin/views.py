"""What the views of a cluster show: rows by the names of their columns; what is missing is NULL."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime

from standin import paxos
from standin.cluster import SYS, Cluster, Pool, Server, Tenant, Unit, UnitConfig
from standin.command_line import VERSION
from standin.tables import TABLES

Row = dict[str, object]
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_GIB = 1 << 30
_SCHEMA_VERSION = 1600
_STATISTICS = {
    140002: ("max memory size", _GIB),
    140003: ("memory usage", _GIB // 4),
    140005: ("max cpus", 100),
    140006: ("cpu usage", 1),
}


def rows_of(cluster: Cluster) -> dict[str, list[Row]]:
    """What each table should hold."""
    rows: dict[str, list[Row]] = {table.name: [] for table in TABLES}
    rows["DBA_OB_SERVERS"] = [_server(cluster, server) for server in cluster.servers]
    for server in cluster.servers:
        if server.alive:
            rows["GV$OB_SERVERS"].append(_capacity(cluster, server))
            rows["GV$OB_SERVER_SCHEMA_INFO"] += _schema_info(cluster, server)
            rows["GV$SYSSTAT"] += _statistics(server)
    rows["DBA_OB_ZONES"] = [
        {
            "ZONE": zone.name,
            "STATUS": "INACTIVE" if zone.stopped else "ACTIVE",
            "IDC": zone.idc,
            "REGION": zone.region,
            "TYPE": "ReadWrite",
            **_times(zone.created, zone.modified),
        }
        for zone in cluster.zones
    ]
    _add_streams(cluster, rows)
    pools = {pool.id: pool for pool in cluster.pools}
    rows["DBA_OB_TENANTS"] = [_tenant(cluster, tenant) for tenant in cluster.tenants]
    rows["DBA_OB_UNITS"] = [_unit(cluster, unit, pools[unit.pool]) for unit in cluster.units]
    rows["DBA_OB_RESOURCE_POOLS"] = [_pool(pool) for pool in cluster.pools]
    rows["DBA_OB_UNIT_CONFIGS"] = [_unit_config(config) for config in cluster.configs]
    rows["DBA_OB_TENANT_JOBS"] = [
        {
            "JOB_ID": job.id,
            "JOB_TYPE": job.kind,
            "JOB_STATUS": "SUCCESS",
            "RESULT_CODE": 0,
            "PROGRESS": 100,
            "START_TIME": _at(job.at),
            "MODIFY_TIME": _at(job.at),
            "TENANT_ID": job.tenant,
            "SQL_TEXT": job.text,
        }
        for job in cluster.jobs
    ]
    rows["standin_parameter"] = [
        {
            **_place(cluster.server(one.address)),
            "TENANT_ID": one.tenant,
            "NAME": one.name,
            "VALUE": one.value,
        }
        for one in cluster.parameters
    ]
    rows["standin_variable"] = [
        {"TENANT_ID": tenant.id, "NAME": name, "VALUE": value}
        for tenant in cluster.tenants
        for name, value in tenant.variables.items()
    ]
    return rows


def _server(cluster: Cluster, server: Server) -> Row:
    leads = any(one.leader == server.address for one in cluster.streams if one.tenant == SYS)
    status = "DELETING" if server.deleting else "ACTIVE" if server.alive else "INACTIVE"
    return {
        **_place(server),
        "ID": server.id,
        "ZONE": server.zone,
        "SQL_PORT": server.sql_port,
        "WITH_ROOTSERVER": _yes(leads),
        "STATUS": status,
        "START_SERVICE_TIME": _at(server.started),
        "STOP_TIME": _at(server.stopped),
        "LAST_OFFLINE_TIME": _at(server.offline),
        "BUILD_VERSION": server.build,
        **_times(server.created, server.modified),
    }


def _capacity(cluster: Cluster, server: Server) -> Row:
    disk = shutil.disk_usage("/").total
    cpus = os.cpu_count() or 1
    units = sum(unit.server == server.address for unit in cluster.units)
    return {
        **_place(server),
        "ZONE": server.zone,
        "SQL_PORT": server.sql_port,
        "CPU_CAPACITY": cpus,
        "CPU_CAPACITY_MAX": cpus,
        "CPU_ASSIGNED": units,
        "CPU_ASSIGNED_MAX": units,
        "MEM_CAPACITY": 8 * _GIB,
        "MEM_ASSIGNED": units * _GIB,
        "LOG_DISK_CAPACITY": 64 * _GIB,
        "LOG_DISK_ASSIGNED": 2 * units * _GIB,
        "LOG_DISK_IN_USE": _GIB,
        "DATA_DISK_CAPACITY": disk,
        "DATA_DISK_IN_USE": _GIB,
        "DATA_DISK_HEALTH_STATUS": "NORMAL",
        "MEMORY_LIMIT": 9 * _GIB,
        "DATA_DISK_ALLOCATED": _GIB,
        "DATA_DISK_ASSIGNED": _GIB,
    }


def _schema_info(cluster: Cluster, server: Server) -> list[Row]:
    return [
        {
            **_place(server),
            "TENANT_ID": tenant.id,
            "REFRESHED_SCHEMA_VERSION": _SCHEMA_VERSION,
            "RECEIVED_SCHEMA_VERSION": _SCHEMA_VERSION,
            "SCHEMA_COUNT": 2000,
            "SCHEMA_SIZE": 1 << 20,
            "MIN_SSTABLE_SCHEMA_VERSION": _SCHEMA_VERSION,
        }
        for tenant in cluster.tenants
    ]


def _statistics(server: Server) -> list[Row]:
    return [
        {
            **_place(server),
            "CON_ID": SYS,
            "STAT_ID": number,
            "NAME": name,
            "CLASS": 64,
            "VALUE": value,
            "VALUE_TYPE": "SET_VALUE",
        }
        for number, (name, value) in _STATISTICS.items()
    ]


def _add_streams(cluster: Cluster, rows: dict[str, list[Row]]) -> None:
    servers = {server.address: server for server in cluster.servers}
    for stream in cluster.streams:
        up = paxos.in_service(cluster, stream)
        for address in stream.members:
            server = servers[address]
            role = "LEADER" if address == stream.leader else "FOLLOWER"
            replica = {"TENANT_ID": stream.tenant, "LS_ID": stream.id, **_place(server)}
            rows["CDB_OB_LS_LOCATIONS"].append(
                {
                    **replica,
                    "SQL_PORT": server.sql_port,
                    "ZONE": server.zone,
                    "ROLE": role,
                    "MEMBER_LIST": ",".join(f"{one}:1" for one in stream.members),
                    "PAXOS_REPLICA_NUMBER": len(stream.members),
                    "REPLICA_TYPE": "FULL",
                    **_times(server.created, server.created),
                }
            )
            if server not in up:  # a dead server cannot be asked
                continue
            rows["standin_log_stat"].append(
                {
                    **replica,
                    "ROLE": role,
                    "PROPOSAL_ID": stream.proposal,
                    "CONFIG_VERSION": f"{{proposal_id:{stream.proposal}, config_seq:1}}",
                    "PAXOS_MEMBER_LIST": ",".join(f"{one}:1" for one in stream.members),
                    "PAXOS_REPLICA_NUM": len(stream.members),
                    "IN_SYNC": _yes(address not in stream.behind),
                }
            )
            info = {key.lower(): value for key, value in replica.items()}
            scn = stream.checkpoints[address]
            rows["standin_ls_info"].append({**info, "ls_state": "LS_NORMAL", "checkpoint_scn": scn})


def _tenant(cluster: Cluster, tenant: Tenant) -> Row:
    return {
        "TENANT_ID": tenant.id,
        "TENANT_NAME": tenant.name,
        "TENANT_TYPE": tenant.kind,
        "PRIMARY_ZONE": tenant.primary_zone,
        "LOCALITY": tenant.locality,
        "COMPATIBILITY_MODE": tenant.mode,
        "STATUS": "NORMAL",
        "IN_RECYCLEBIN": _yes(tenant.recycled),
        "LOCKED": _yes(tenant.locked),
        "TENANT_ROLE": "PRIMARY",
        "SWITCHOVER_STATUS": "NORMAL",
        "SWITCHOVER_EPOCH": 0,
        "LOG_MODE": "NOARCHIVELOG",
        "UNIT_NUM": tenant.unit_num,
        "COMPATIBLE": VERSION,
        "MAX_LS_ID": max((one.id for one in cluster.streams if one.tenant == tenant.id), default=1),
        **_times(tenant.created, tenant.created),
    }


def _unit(cluster: Cluster, unit: Unit, pool: Pool) -> Row:
    config = next(one for one in cluster.configs if one.id == pool.config)
    return {
        "UNIT_ID": unit.id,
        "TENANT_ID": pool.tenant,
        "STATUS": "ACTIVE",
        "RESOURCE_POOL_ID": pool.id,
        "UNIT_GROUP_ID": 1000 + unit.group,
        "ZONE": unit.zone,
        **_place(cluster.server(unit.server)),
        "UNIT_CONFIG_ID": config.id,
        **_sizes(config),
        **_times(pool.created, pool.created),
    }


def _pool(pool: Pool) -> Row:
    return {
        "RESOURCE_POOL_ID": pool.id,
        "NAME": pool.name,
        "TENANT_ID": pool.tenant,
        "UNIT_COUNT": pool.unit_num,
        "UNIT_CONFIG_ID": pool.config,
        "ZONE_LIST": ";".join(pool.zones),
        "REPLICA_TYPE": "FULL",
        **_times(pool.created, pool.created),
    }


def _unit_config(config: UnitConfig) -> Row:
    return {
        "UNIT_CONFIG_ID": config.id,
        "NAME": config.name,
        **_sizes(config),
        **_times(config.created, config.created),
    }


def _sizes(config: UnitConfig) -> Row:
    sizes = config.sizes
    cpus = {key.upper(): float(sizes[key]) for key in ("max_cpu", "min_cpu")}
    disks = ("memory_size", "log_disk_size", "data_disk_size")
    rates = {"max_iops": "10000", "min_iops": "10000", "iops_weight": "1"}
    return {
        **cpus,
        **{key.upper(): _bytes(sizes[key]) for key in disks if key in sizes},
        **{key.upper(): _bytes(sizes.get(key, usual)) for key, usual in rates.items()},
    }


def _bytes(text: str) -> int:
    upper = text.upper().removesuffix("B")
    if upper[-1:] in _UNITS:
        return int(float(upper[:-1]) * _UNITS[upper[-1]])
    return int(upper)


def _place(server: Server) -> Row:
    return {"SVR_IP": server.ip, "SVR_PORT": server.port}


def _times(created: int, modified: int) -> Row:
    return {"CREATE_TIME": _at(created), "MODIFY_TIME": _at(modified)}


def _at(microseconds: int | None) -> str | None:
    if microseconds is None:
        return None
    at = datetime.fromtimestamp(microseconds / 1_000_000, UTC)
    return at.strftime("%Y-%m-%d %H:%M:%S.%f")


def _yes(flag: bool) -> str:
    return "YES" if flag else "NO"
