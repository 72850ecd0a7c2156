"""A cluster of servers in memory: what it shows, and what it is told to do."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from pyobshell.address import Address
from pyobshell.deadline import Deadline
from pyobshell.engines.log_streams import LogStream, Replica
from pyobshell.engines.ob_cluster import ServerRow, UnitRow, ZoneRow
from support.agents import Host

STREAMS = (("sys", 1), ("META$1002", 1), ("shop", 1), ("shop", 1001))


class FakeCluster:
    """What operations see of a cluster; every server has a replica of every log stream.

    ``down`` servers do not run, ``behind`` are out of sync, ``hung`` give no sign of life,
    ``leaderless`` tenants have no leader.
    ``failures`` has errors to be raised by deed (``views`` for reading), ``before`` what happens
    before a deed, and ``deeds`` what was done, in order. ``deleting`` servers go when told to.
    """

    def __init__(self, places: Sequence[tuple[Address, str]]) -> None:
        self.places = list(places)
        self.set_well()

    def set_well(self) -> None:
        """All servers run and are in service, and nothing has been done."""
        self.down: set[Address] = set()
        self.behind: set[Address] = set()
        self.hung: set[Address] = set()
        self.leaderless: set[str] = set()
        self.stopped: set[Address] = set()
        self.stopped_zones: set[str] = set()
        self.deleting: set[Address] = set()
        self.unit_rows: list[UnitRow] = []
        self.failures: dict[str, Exception] = {}
        self.before: dict[str, Callable[[], None]] = {}
        self.deeds: list[str] = []

    def _do(self, deed: str, *names: object) -> None:
        self.before.get(deed, lambda: None)()
        if deed in self.failures:
            raise self.failures[deed]
        if names:
            self.deeds.append(" ".join([deed, *map(str, names)]))

    # --- what there is ---------------------------------------------------------------------------

    async def servers(self, deadline: Deadline) -> list[ServerRow]:
        self._do("views")
        return [
            ServerRow(
                address=address,
                zone=zone,
                sql_port=2881,
                with_rootserver=address == self.places[0][0],
                status=self._status(address),
                serves=address not in self.down,
                stopped=address in self.stopped,
                build_version="4.3.5.3_1-abc",
            )
            for address, zone in self.places
        ]

    def _status(self, server: Address) -> str:
        if server in self.deleting:
            return "DELETING"
        return "INACTIVE" if server in self.down else "ACTIVE"

    async def units(self, deadline: Deadline) -> list[UnitRow]:
        return list(self.unit_rows)

    async def units_in(self, zone: str, deadline: Deadline) -> int:
        return sum(unit.zone == zone for unit in self.unit_rows)

    async def zones(self, deadline: Deadline) -> list[ZoneRow]:
        names = dict.fromkeys(zone for _, zone in self.places)
        return [
            ZoneRow(name, "INACTIVE" if name in self.stopped_zones else "ACTIVE", "here")
            for name in names
        ]

    async def log_streams(self, deadline: Deadline) -> list[LogStream]:
        return [self._stream(tenant, ls_id) for tenant, ls_id in STREAMS]

    def _stream(self, tenant: str, ls_id: int) -> LogStream:
        members = [address for address, _ in self.places]
        up = [address for address in members if address not in self.down]
        has_leader = tenant not in self.leaderless and 2 * len(up) > len(members)
        replicas = [
            Replica(
                tenant=tenant,
                ls_id=ls_id,
                server=address,
                leads=has_leader and address == up[0],
                in_sync=address not in self.behind,
                members=frozenset(members),
                replica_num=len(members),
            )
            for address in up
        ]
        return LogStream(tenant, ls_id, tuple(replicas))

    # --- what it is told -------------------------------------------------------------------------

    async def silent(self, rows: Sequence[ServerRow], deadline: Deadline) -> list[Address]:
        return [row.address for row in rows if row.address in self.hung]

    async def stop_zone(self, zone: str, deadline: Deadline) -> None:
        self._do("stop zone", zone)
        self.stopped_zones.add(zone)

    async def start_zone(self, zone: str, deadline: Deadline) -> None:
        self._do("start zone", zone)
        self.stopped_zones.discard(zone)

    async def delete_servers(self, servers: Collection[Address], deadline: Deadline) -> None:
        self._do("delete server", *servers)
        self.deleting |= set(servers)

    async def cancel_delete_server(self, server: Address, deadline: Deadline) -> None:
        self._do("cancel delete server", server)
        self.deleting.discard(server)

    async def stop_servers(self, servers: Collection[Address], deadline: Deadline) -> None:
        self._do("stop server", *servers)
        self.stopped |= set(servers)

    async def start_servers(self, servers: Collection[Address], deadline: Deadline) -> None:
        self._do("start server", *servers)
        self.stopped -= set(servers)


def form_cluster(hosts: Sequence[Host], zones: Sequence[str]) -> FakeCluster:
    """Have the servers of some agents form a cluster."""
    names = [Address(host.address.ip, 2882) for host in hosts]
    cluster = FakeCluster(list(zip(names, zones, strict=True)))
    for host in hosts:
        host.engine.cluster = cluster
    return cluster
