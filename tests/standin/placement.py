"""Where units and the replicas of log streams are."""

from __future__ import annotations

from collections.abc import Sequence

from standin.cluster import (
    SYS,
    Cluster,
    LogStream,
    Pool,
    Server,
    Tenant,
    Unit,
    UnitConfig,
)
from standin.errors import SqlError, delete_not_allowed

_SYS_SIZES = {"max_cpu": "1", "min_cpu": "1", "memory_size": "1G", "log_disk_size": "2G"}
_USER_STREAMS_FROM = 1001


def make_sys_tenant(cluster: Cluster) -> None:
    """The sys tenant: one log stream, with a replica on the first server of each zone."""
    zones = [zone.name for zone in cluster.zones]
    cluster.configs.append(UnitConfig(1, "sys_unit_config", dict(_SYS_SIZES)))
    cluster.pools.append(Pool(1, "sys_pool", 1, 1, zones, SYS))
    cluster.tenants.append(Tenant(SYS, "sys", "SYS", locality=full_in(zones)))
    place_units(cluster, cluster.pools[0])
    place_streams(cluster, SYS)


def full_in(zones: Sequence[str]) -> str:
    """The locality of one full replica in each zone."""
    return ", ".join(f"FULL{{1}}@{zone}" for zone in zones)


def place_units(cluster: Cluster, pool: Pool) -> None:
    """Give a pool the units it should have: in each of its zones, on different servers."""
    wanted = {(zone, group) for zone in pool.zones for group in range(pool.unit_num)}
    kept = [
        unit for unit in cluster.units if unit.pool != pool.id or (unit.zone, unit.group) in wanted
    ]
    have = {(unit.zone, unit.group) for unit in kept if unit.pool == pool.id}
    for zone, group in sorted(wanted - have, key=lambda one: (one[1], pool.zones.index(one[0]))):
        used = {unit.server for unit in kept if unit.pool == pool.id}
        free = [one for one in cluster.servers_of(zone) if one.address not in used]
        free = [one for one in free if not one.deleting]
        if not free:
            raise SqlError(4656, f"unit num over server count in zone {zone}")
        server = min(free, key=lambda one: (_load(kept, one), one.id))
        kept.append(Unit(cluster.new_id(), pool.id, zone, group, server.address))
    cluster.units = kept


def place_streams(cluster: Cluster, tenant: int) -> None:
    """Give a tenant a log stream for each group of its units, and itself its first."""
    units = cluster.units_of(tenant)
    zones = _zones_of_locality(cluster, tenant)
    groups = sorted({unit.group for unit in units})
    wanted = [(1, 0)]
    if tenant != SYS:
        wanted += [(_USER_STREAMS_FROM + group, group) for group in groups]
    owners = [(tenant, one) for one in wanted]
    if tenant != SYS:
        owners.append((tenant - 1, (1, 0)))  # its META tenant
    kept = [one for one in cluster.streams if one.tenant not in (tenant, tenant - 1)]
    if tenant == SYS:
        kept = [one for one in cluster.streams if one.tenant != SYS]
    known = {(one.tenant, one.id): one for one in cluster.streams}
    for owner, (number, group) in owners:
        members = [
            unit.server
            for unit in sorted(units, key=lambda unit: _order(zones, unit.zone))
            if unit.group == group and unit.zone in zones
        ]
        stream = known.get((owner, number)) or LogStream(owner, number, group, members)
        stream.members = members
        stream.checkpoints = {one: stream.checkpoints.get(one, 1) for one in members}
        stream.behind = [one for one in stream.behind if one in members]
        kept.append(stream)
    cluster.streams = kept


def check_removal(cluster: Cluster, server: Server, going: Sequence[Server]) -> None:
    """Whether other servers of its zone can take the units of a server; raises 4745."""
    for unit in cluster.units:
        if unit.server == server.address and _refuge(cluster, unit, going) is None:
            raise delete_not_allowed(f"no other server of {server.zone} can take its units")


def migrate_units(cluster: Cluster, server: Server) -> None:
    """Move what is on a server to others of its zone."""
    for unit in cluster.units:
        if unit.server == server.address:
            refuge = _refuge(cluster, unit, [server])
            unit.server = refuge.address if refuge else unit.server
    for tenant in cluster.tenants:
        if tenant.kind != "META":
            place_streams(cluster, tenant.id)


def holds_units(cluster: Cluster, server: Server) -> bool:
    """Whether a server has units."""
    return any(unit.server == server.address for unit in cluster.units)


def _refuge(cluster: Cluster, unit: Unit, going: Sequence[Server]) -> Server | None:
    taken = {one.server for one in cluster.units if one.pool == unit.pool}
    free = [
        one
        for one in cluster.servers_of(unit.zone)
        if one.alive and not one.deleting and one not in going and one.address not in taken
    ]
    return min(free, key=lambda one: (_load(cluster.units, one), one.id), default=None)


def _load(units: Sequence[Unit], server: Server) -> int:
    return sum(unit.server == server.address for unit in units)


def _zones_of_locality(cluster: Cluster, tenant: int) -> list[str]:
    locality = next(one.locality for one in cluster.tenants if one.id == tenant)
    parts = [part.strip() for part in locality.split(",")]
    return [part.partition("@")[2] for part in parts if part.upper().startswith("FULL")]


def _order(zones: list[str], zone: str) -> int:
    return zones.index(zone) if zone in zones else len(zones)
