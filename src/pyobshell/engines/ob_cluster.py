"""A cluster of observers, as any of its servers speaks for it: its views and its statements.

Servers are named by ``ip:rpc_port`` in all of them. Statements and views are OceanBase's; each was
taken from its documentation or from what OBShell sends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import pymysql

from pyobshell.address import Address
from pyobshell.deadline import Deadline
from pyobshell.engines.greeting import greets
from pyobshell.engines.log_streams import LogStream, Replica, log_streams, parse_members
from pyobshell.engines.ob_parameters import ObParameters
from pyobshell.engines.sql import Refused, Sql

ACTIVE, INACTIVE, DELETING = "ACTIVE", "INACTIVE", "DELETING"
_SERVERS = (
    "select svr_ip, svr_port, zone, sql_port, with_rootserver, status,"
    " start_service_time is not null, stop_time is not null, build_version"
    " from oceanbase.DBA_OB_SERVERS order by id"
)
_ZONES = "select zone, status, region from oceanbase.DBA_OB_ZONES order by zone"
# A tenant that is only just being made or dropped is in the one view and not in the other.
_REPLICAS = (
    "select coalesce(t.tenant_name, concat('tenant ', l.tenant_id)), l.ls_id, l.svr_ip, l.svr_port,"
    " l.role, l.in_sync, l.paxos_member_list, l.paxos_replica_num from oceanbase.GV$OB_LOG_STAT l"
    " left join oceanbase.DBA_OB_TENANTS t on t.tenant_id = l.tenant_id"
)
_LOG_ENDS = (
    "select tenant_id, ls_id, end_scn from oceanbase.GV$OB_LOG_STAT"
    " where svr_ip = %s and svr_port = %s"
)
_CHECKPOINTS = (
    "select tenant_id, ls_id, checkpoint_scn from oceanbase.__all_virtual_ls_info"
    " where svr_ip = %s and svr_port = %s"
)
# Without those of the agents' own store.
_SESSIONS = (
    "select id from oceanbase.GV$OB_PROCESSLIST where svr_ip = %s and svr_port = %s"
    " and coalesce(db, '') <> 'ocs'"
)
_UNITS_OF_ZONE = "select count(*) from oceanbase.DBA_OB_UNITS where zone = %s"
_UNITS = "select unit_id, resource_pool_id, zone, svr_ip, svr_port from oceanbase.DBA_OB_UNITS"
_GREETING_S = 3.0
_GREETINGS = 128
_ZONE_STATUS = 4633  # "zone status not match": it is so already


@dataclass(frozen=True, slots=True)
class ServerRow:
    """One server of ``DBA_OB_SERVERS``; ``address`` has its rpc port."""

    address: Address
    zone: str
    sql_port: int
    with_rootserver: bool
    status: str
    serves: bool
    stopped: bool
    build_version: str


@dataclass(frozen=True, slots=True)
class ZoneRow:
    """One zone of ``DBA_OB_ZONES``."""

    name: str
    status: str
    region: str


@dataclass(frozen=True, slots=True)
class UnitRow:
    """One resource unit of ``DBA_OB_UNITS``: where it is, and of which pool."""

    id: int
    pool: int
    zone: str
    server: Address


LogStreamId = tuple[int, int]
"""A tenant's id and the id of one of its log streams."""


class ObCluster:
    """The cluster behind one server; what it raises is what :class:`Sql` raises."""

    def __init__(self, sql: Sql) -> None:
        self._sql = sql
        self.parameters = ObParameters(sql)

    def connect(self, database: str | None) -> pymysql.Connection:
        """A connection for a store in the cluster; raises the errors of the driver."""
        return self._sql.connect(database)

    # --- what there is -------------------------------------------------------------------------

    async def servers(self, deadline: Deadline) -> list[ServerRow]:
        """Every server, in the order in which they were added."""
        return [
            ServerRow(
                address=Address(ip, port),
                zone=zone,
                sql_port=sql_port,
                with_rootserver=root == "YES",
                status=status,
                serves=bool(serves),
                stopped=bool(stopped),
                build_version=build,
            )
            for ip, port, zone, sql_port, root, status, serves, stopped, build in (
                await self._sql.query(_SERVERS, deadline=deadline)
            )
        ]

    async def zones(self, deadline: Deadline) -> list[ZoneRow]:
        """Every zone."""
        return [ZoneRow(*row) for row in await self._sql.query(_ZONES, deadline=deadline)]

    async def has_zone(self, name: str, deadline: Deadline) -> bool:
        """Whether there is a zone of that name."""
        return any(zone.name == name for zone in await self.zones(deadline))

    async def log_streams(self, deadline: Deadline) -> list[LogStream]:
        """Every log stream of every tenant, with the replicas that can be asked."""
        rows = await self._sql.query(_REPLICAS, deadline=deadline)
        return log_streams(
            Replica(
                tenant=tenant,
                ls_id=ls_id,
                server=Address(ip, port),
                leads=role == "LEADER",
                in_sync=in_sync == "YES",
                members=parse_members(members),
                replica_num=replica_num,
            )
            for tenant, ls_id, ip, port, role, in_sync, members, replica_num in rows
        )

    async def silent(self, rows: Sequence[ServerRow], deadline: Deadline) -> list[Address]:
        """Those of the servers that greet nobody: what the views tell of them is of before."""
        at_once = asyncio.Semaphore(_GREETINGS)

        async def greeted(row: ServerRow) -> bool:
            async with at_once:
                place = Address(row.address.ip, row.sql_port)
                return await greets(place, deadline.within(_GREETING_S))

        answers = await asyncio.gather(*map(greeted, rows))
        return [row.address for row, answer in zip(rows, answers, strict=True) if not answer]

    async def session_ids(self, server: Address, deadline: Deadline) -> set[int]:
        """The ids of the sessions on one server, without those of the agents' own store."""
        rows = await self._sql.query(_SESSIONS, server.ip, server.port, deadline=deadline)
        return {row[0] for row in rows}

    async def units_in(self, zone: str, deadline: Deadline) -> int:
        """How many resource units are in a zone."""
        return int((await self._sql.query(_UNITS_OF_ZONE, zone, deadline=deadline))[0][0])

    async def units(self, deadline: Deadline) -> list[UnitRow]:
        """Every resource unit."""
        return [
            UnitRow(number, pool, zone, Address(ip, port))
            for number, pool, zone, ip, port in await self._sql.query(_UNITS, deadline=deadline)
        ]

    # --- birth -----------------------------------------------------------------------------------

    async def bootstrap(self, first: Sequence[tuple[str, Address]], deadline: Deadline) -> None:
        """Make the cluster, of one server for each zone; once in its life."""
        places = ", ".join("ZONE %s SERVER %s" for _ in first)
        values = [value for zone, server in first for value in (zone, str(server))]
        await self._sql.query_long(f"ALTER SYSTEM BOOTSTRAP {places}", *values, deadline=deadline)

    # --- servers and zones -----------------------------------------------------------------------

    async def start_servers(self, servers: Collection[Address], deadline: Deadline) -> None:
        """Put servers into service; harmless for those that are."""
        await self._alter_servers("START", servers, deadline)

    async def stop_servers(self, servers: Collection[Address], deadline: Deadline) -> None:
        """Take servers of one zone out of service, leaders first; their processes go on."""
        await self._alter_servers("STOP", servers, deadline)

    async def add_server(self, server: Address, zone: str, deadline: Deadline) -> None:
        """Add a server that has been started and is empty."""
        statement = "ALTER SYSTEM ADD SERVER %s ZONE %s"
        await self._sql.query_long(statement, str(server), zone, deadline=deadline)

    async def delete_servers(self, servers: Collection[Address], deadline: Deadline) -> None:
        """Begin to delete servers; the row of each goes when its units are elsewhere."""
        await self._alter_servers("DELETE", servers, deadline)

    async def cancel_delete_server(self, server: Address, deadline: Deadline) -> None:
        """Keep a server that is being deleted."""
        await self._alter_servers("CANCEL DELETE", [server], deadline)

    async def start_zone(self, zone: str, deadline: Deadline) -> None:
        """Put a zone into service; harmless if it is."""
        try:
            await self._sql.query("ALTER SYSTEM START ZONE %s", zone, deadline=deadline)
        except Refused as refusal:
            if refusal.number != _ZONE_STATUS:
                raise

    async def stop_zone(self, zone: str, deadline: Deadline) -> None:
        """Take a zone out of service; its processes go on. Harmless if it is."""
        await self._sql.query_long("ALTER SYSTEM STOP ZONE %s", zone, deadline=deadline)

    async def add_zone(self, zone: str, region: str | None, deadline: Deadline) -> None:
        """Add a zone, which is to be started before it takes servers."""
        statement, values = "ALTER SYSTEM ADD ZONE %s", [zone]
        if region is not None:
            statement, values = f"{statement} REGION %s", [zone, region]
        await self._sql.query(statement, *values, deadline=deadline)

    async def delete_zone(self, zone: str, deadline: Deadline) -> None:
        """Delete a zone that has no server any more."""
        await self._sql.query("ALTER SYSTEM DELETE ZONE %s", zone, deadline=deadline)

    async def _alter_servers(
        self, action: str, servers: Iterable[Address], deadline: Deadline
    ) -> None:
        names = [str(server) for server in servers]
        places = ", ".join("%s" for _ in names)
        statement = f"ALTER SYSTEM {action} SERVER {places}"
        await self._sql.query_long(statement, *names, deadline=deadline)

    # --- minor freeze ----------------------------------------------------------------------------

    async def minor_freeze(self, server: Address, deadline: Deadline) -> None:
        """Begin to flush one server's memtables."""
        statement = "ALTER SYSTEM MINOR FREEZE SERVER = (%s)"
        await self._sql.query_long(statement, str(server), deadline=deadline)

    async def log_ends(self, server: Address, deadline: Deadline) -> dict[LogStreamId, int]:
        """The SCN up to which the log of each log stream on a server reaches."""
        return await self._scns(_LOG_ENDS, server, deadline)

    async def checkpoints(self, server: Address, deadline: Deadline) -> dict[LogStreamId, int]:
        """The SCN up to which each log stream on a server is in the data files."""
        return await self._scns(_CHECKPOINTS, server, deadline)

    async def _scns(
        self, query: str, server: Address, deadline: Deadline
    ) -> dict[LogStreamId, int]:
        rows = await self._sql.query(query, server.ip, server.port, deadline=deadline)
        return {(tenant, ls_id): int(scn) for tenant, ls_id, scn in rows}
