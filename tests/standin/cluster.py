"""The facts about a cluster that outlive its processes, as one document."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field

from standin.errors import SqlError, server_unknown, zone_unknown

SYS = 1


def now_us() -> int:
    """Microseconds since 1970."""
    return time.time_ns() // 1000


def split_address(address: str) -> tuple[str, int]:
    """The ip and the port of ``ip:port`` or ``[ip]:port``."""
    ip, _, port = address.rpartition(":")
    if not ip or not port.isdigit():
        raise SqlError(4002, f"Incorrect arguments to server: {address}")
    return ip.strip("[]"), int(port)


def join_address(ip: str, port: int) -> str:
    """An address as statements spell it."""
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"


@dataclass
class Zone:
    """A zone; ``stopped`` is what shows as INACTIVE."""

    name: str
    region: str = "sys_region"
    idc: str = ""
    stopped: bool = False
    created: int = field(default_factory=now_us)
    modified: int = field(default_factory=now_us)


@dataclass
class Server:
    """A member, by its address with the rpc port."""

    address: str
    id: int
    zone: str
    sql_port: int
    build: str
    alive: bool = False
    deleting: bool = False
    started: int | None = None
    stopped: int | None = None
    offline: int | None = None
    created: int = field(default_factory=now_us)
    modified: int = field(default_factory=now_us)

    @property
    def ip(self) -> str:
        """Its ip."""
        return split_address(self.address)[0]

    @property
    def port(self) -> int:
        """Its rpc port."""
        return split_address(self.address)[1]


@dataclass
class UnitConfig:
    """The size of units."""

    id: int
    name: str
    sizes: dict[str, str]
    created: int = field(default_factory=now_us)


@dataclass
class Pool:
    """A resource pool; its units carry the servers."""

    id: int
    name: str
    config: int
    unit_num: int
    zones: list[str]
    tenant: int | None = None
    created: int = field(default_factory=now_us)


@dataclass
class Unit:
    """Resources on one server."""

    id: int
    pool: int
    zone: str
    group: int
    server: str


@dataclass
class Tenant:
    """A tenant."""

    id: int
    name: str
    kind: str
    primary_zone: str = "RANDOM"
    locality: str = ""
    mode: str = "MYSQL"
    locked: bool = False
    recycled: bool = False
    unit_num: int = 1
    variables: dict[str, str] = field(default_factory=dict)
    created: int = field(default_factory=now_us)


@dataclass
class LogStream:
    """A replicated log: one replica in each zone of its tenant."""

    tenant: int
    id: int
    group: int
    members: list[str]
    leader: str | None = None
    proposal: int = 1
    checkpoints: dict[str, int] = field(default_factory=dict)
    behind: list[str] = field(default_factory=list)


@dataclass
class Job:
    """A tenant's job; here all are done at once."""

    id: int
    kind: str
    tenant: int
    text: str
    at: int = field(default_factory=now_us)


@dataclass
class Parameter:
    """A parameter's value on one server; tenant 0 is none."""

    address: str
    tenant: int
    name: str
    value: str


@dataclass
class Cluster:
    """The whole of it."""

    name: str
    id: int
    root_servers: str = ""
    last_id: int = 1000
    zones: list[Zone] = field(default_factory=list)
    servers: list[Server] = field(default_factory=list)
    configs: list[UnitConfig] = field(default_factory=list)
    pools: list[Pool] = field(default_factory=list)
    units: list[Unit] = field(default_factory=list)
    tenants: list[Tenant] = field(default_factory=list)
    streams: list[LogStream] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)
    parameters: list[Parameter] = field(default_factory=list)

    def to_json(self) -> str:
        """The document."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Cluster:
        """Read the document."""
        known = json.loads(text)
        kinds = {
            "zones": Zone,
            "servers": Server,
            "configs": UnitConfig,
            "pools": Pool,
            "units": Unit,
            "tenants": Tenant,
            "streams": LogStream,
            "jobs": Job,
            "parameters": Parameter,
        }
        for key, kind in kinds.items():
            known[key] = [kind(**one) for one in known[key]]
        return cls(**known)

    def new_id(self) -> int:
        """A number that nothing in this cluster has had."""
        self.last_id += 1
        return self.last_id

    def zone(self, name: str) -> Zone:
        """The zone; raises 4530."""
        for zone in self.zones:
            if zone.name == name:
                return zone
        raise zone_unknown()

    def server(self, address: str) -> Server:
        """The member; raises 4630."""
        wanted = join_address(*split_address(address))
        for server in self.servers:
            if server.address == wanted:
                return server
        raise server_unknown()

    def servers_of(self, zone: str) -> Iterator[Server]:
        """The members in a zone."""
        return (server for server in self.servers if server.zone == zone)

    def tenant(self, name: str) -> Tenant:
        """The tenant; raises 5160."""
        for tenant in self.tenants:
            if tenant.name == name:
                return tenant
        raise SqlError(5160, f"Unknown tenant '{name}'")

    def pool(self, name: str) -> Pool:
        """The resource pool; raises 4650."""
        for pool in self.pools:
            if pool.name == name:
                return pool
        raise SqlError(4650, f"resource pool '{name}' not exist")

    def units_of(self, tenant: int) -> list[Unit]:
        """The units that a tenant has."""
        owned = {pool.id for pool in self.pools if pool.tenant == tenant}
        return [unit for unit in self.units if unit.pool in owned]

    def is_stopped(self, server: Server) -> bool:
        """Whether the server, or its zone, was stopped."""
        return server.stopped is not None or self.zone(server.zone).stopped
