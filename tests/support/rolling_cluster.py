"""A cluster of fake servers: what each of them would tell of it, and obey, in memory."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from pyobshell import errors
from pyobshell.address import Address
from pyobshell.deadline import Deadline
from pyobshell.engines.log_streams import LogStream, Replica, log_streams
from pyobshell.engines.ob_cluster import ServerRow, ZoneRow
from support.fake_engine import FakeEngine
from support.waiting import Gate

STREAMS = (("sys", 1), ("shop", 1001))


class RollingCluster:
    """Fake servers of some zones; the first of a zone has its replica of each log stream.

    Servers without an agent here are up. ``deeds`` has the statements carried out; ``stopped``
    servers and zones, ``lost`` servers that nobody sees, ``behind`` servers whose replicas are not
    in sync, ``hung`` servers that give no sign of life, ``failures`` errors by the name of a
    method, and ``hold`` makes one wait at a gate.
    """

    def __init__(
        self, places: Mapping[Address, str], engines: Mapping[Address, FakeEngine]
    ) -> None:
        """``places`` has the zone of each agent's server, ``engines`` those of the agents here."""
        self._places = {_server(agent): zone for agent, zone in places.items()}
        self._engines: dict[Address, FakeEngine] = {}
        self._gates: dict[str, Gate] = {}
        self.stopped: set[str | Address] = set()
        self.lost: set[Address] = set()
        self.behind: set[Address] = set()
        self.hung: set[Address] = set()
        self.deeds: list[str] = []
        self.failures: dict[str, Exception] = {}
        for agent, engine in engines.items():
            self.join(agent, engine)

    def join(self, agent: Address, engine: FakeEngine) -> None:
        """The server beside an agent, in its newest life."""
        self._engines[_server(agent)] = engine
        engine.cluster = self

    def hold(self, deed: str) -> Gate:
        """The gate at which a method waits from now on."""
        return self._gates.setdefault(deed, Gate())

    def forget(self) -> None:
        """All is well, and nothing was done."""
        for known in (self.stopped, self.lost, self.behind, self.hung, self.deeds, self._gates):
            known.clear()
        self.failures.clear()

    def _up(self, server: Address) -> bool:
        engine = self._engines.get(server)
        return server not in self.lost and (engine is None or engine.is_up)

    def _in_service(self, server: Address) -> bool:
        return self._up(server) and not {server, self._places[server]} & self.stopped

    async def _do(self, name: str, deed: str = "") -> None:
        if name in self._gates:
            await self._gates[name].pass_through()
        if not any(map(self._up, self._places)):
            raise errors.SERVER_UNAVAILABLE(reason="no fake server is up")
        if name in self.failures:
            raise self.failures[name]
        if deed:
            self.deeds.append(deed)

    # --- what operations ask for -----------------------------------------------------------------

    async def zones(self, deadline: Deadline) -> list[ZoneRow]:
        await self._do("zones")
        names = dict.fromkeys(self._places.values())
        return [ZoneRow(n, "INACTIVE" if n in self.stopped else "ACTIVE", "") for n in names]

    async def servers(self, deadline: Deadline) -> list[ServerRow]:
        await self._do("servers")
        rows = []
        for server, zone in self._places.items():
            up = self._up(server)
            state = "ACTIVE" if up else "INACTIVE"
            stopped = server in self.stopped
            rows.append(ServerRow(server, zone, 2881, False, state, up, stopped, "4.3"))
        return rows

    async def silent(self, rows: Sequence[ServerRow], deadline: Deadline) -> list[Address]:
        return [row.address for row in rows if row.address in self.hung]

    async def log_streams(self, deadline: Deadline) -> list[LogStream]:
        await self._do("log_streams")
        first = {zone: server for server, zone in reversed(self._places.items())}
        members = frozenset(first.values())
        up = [one for one in members if self._up(one)]
        able = [one for one in self._places if one in up and self._in_service(one)]
        leader = able[0] if able and 2 * len(up) > len(members) else None
        return log_streams(
            Replica(
                tenant=tenant,
                ls_id=ls_id,
                server=server,
                leads=server == leader,
                in_sync=server not in self.behind,
                members=members if server == leader else frozenset(),
                replica_num=len(members),
            )
            for tenant, ls_id in STREAMS
            for server in members
            if self._up(server)
        )

    async def stop_zone(self, zone: str, deadline: Deadline) -> None:
        await self._do("stop_zone", f"stop {zone}")
        self.stopped.add(zone)

    async def start_zone(self, zone: str, deadline: Deadline) -> None:
        await self._do("start_zone", f"start {zone}")
        self.stopped.discard(zone)

    async def stop_servers(self, servers: Collection[Address], deadline: Deadline) -> None:
        await self._do("stop_servers", f"stop {', '.join(map(str, servers))}")
        self.stopped.update(servers)

    async def start_servers(self, servers: Collection[Address], deadline: Deadline) -> None:
        await self._do("start_servers", f"start {', '.join(map(str, servers))}")
        self.stopped.difference_update(servers)


def _server(agent: Address) -> Address:
    """What the server of an agent is called in its cluster."""
    return Address(agent.ip, 2882)
