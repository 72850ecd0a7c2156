"""The deletion of servers from their cluster: begun, waited for, called off.

A server that is being deleted is DELETING until its units, and with them its replicas, are on
others of its zone; then its row is gone. Nobody is told of that: the view is asked again and again.
"""

from __future__ import annotations

from collections.abc import Collection

from pyobshell import errors
from pyobshell.address import Address
from pyobshell.cluster.peers import ignore
from pyobshell.deadline import Deadline
from pyobshell.engines.base import Log
from pyobshell.engines.ob_cluster import DELETING, ObCluster, ServerRow
from pyobshell.operations import majority, service, views
from pyobshell.operations.site import Site
from pyobshell.operations.views import Reading


async def delete_for_good(
    cluster: ObCluster, servers: Collection[Address], log: Log, deadline: Deadline
) -> None:
    """Delete servers and wait until they are gone; those that are none are fine."""
    await begin_deletion(cluster, servers, log, deadline)
    await until_gone(cluster, servers, log, deadline)


async def begin_deletion(
    cluster: ObCluster, servers: Collection[Address], log: Log, deadline: Deadline
) -> None:
    """Have the servers deleted, those that are not yet; all of them, or none if one is refused."""
    rows = await rows_of(cluster, servers, deadline)
    begun = [row.address for row in rows if row.status == DELETING]
    for server in servers:
        if server not in {row.address for row in rows}:
            log(f"server {server} is no server of the cluster (any more)")
    wanted = [row.address for row in rows if row.address not in begun]
    if wanted:
        log(f"DELETE SERVER {', '.join(map(str, wanted))}")
        await cluster.delete_servers(wanted, deadline)


async def until_gone(
    cluster: ObCluster, servers: Collection[Address], log: Log, deadline: Deadline
) -> None:
    """Wait until servers that are being deleted are gone.

    Raises ``OB.Cluster.AsyncOperationTimeout`` with what is left when the deadline comes, and
    ``OB.Server.Unavailable`` if somebody else has called the deletion off.
    """
    kept: list[ServerRow] = []

    async def left() -> list[str]:
        rows = await rows_of(cluster, servers, deadline)
        units = await cluster.units(deadline) if rows else []
        kept.extend(row for row in rows if row.status != DELETING)
        if kept:
            return []
        return [
            f"{row.address} has {sum(unit.server == row.address for unit in units)} units"
            for row in rows
        ]

    await service.until_nothing_is_missing(left, "The deletion of servers", log, deadline)
    if kept:
        raise errors.SERVER_UNAVAILABLE(
            reason=f"{kept[0].address} is {kept[0].status}: its deletion has been called off"
        )
    log(f"{', '.join(map(str, servers))}: deleted from the cluster")


async def call_off(
    cluster: ObCluster, servers: Collection[Address], log: Log, deadline: Deadline
) -> None:
    """Keep servers that are being deleted; raises if one of them has gone."""
    rows = await rows_of(cluster, servers, deadline)
    gone = set(servers) - {row.address for row in rows}
    if gone:
        raise errors.SERVER_UNAVAILABLE(
            reason=f"{', '.join(map(str, gone))} is deleted already and cannot be brought back; "
            "RETRY to go on"
        )
    for row in rows:
        if row.status == DELETING:
            log(f"CANCEL DELETE SERVER {row.address}")
            await cluster.cancel_delete_server(row.address, deadline)


async def rows_of(
    cluster: ObCluster, servers: Collection[Address], deadline: Deadline
) -> list[ServerRow]:
    """Those of the servers that are servers of the cluster."""
    return [row for row in await cluster.servers(deadline) if row.address in servers]


# --- what stands in the way ----------------------------------------------------------------------


async def require_refuge(cluster: ObCluster, server: Address, deadline: Deadline) -> None:
    """Raise ``Common.IllegalArgument`` if no other server of its zone could take a unit of it.

    Two units of one resource pool are never on one server.
    """
    rows = await cluster.servers(deadline)
    units = await cluster.units(deadline)
    for unit in units:
        if unit.server != server:
            continue
        taken = {one.server for one in units if one.pool == unit.pool}
        free = [
            row for row in rows if row.zone == unit.zone and row.serves and row.status != DELETING
        ]
        if not any(row.address not in taken for row in free):
            raise errors.ILLEGAL_ARGUMENT(
                name="agent_info",
                reason=f"zone {unit.zone} has no other server that could take unit {unit.id} of "
                f"{server}; add a server to the zone, or move the unit",
            )


async def require_majority(
    site: Site, servers: Collection[Address], deadline: Deadline, log: Log = ignore
) -> None:
    """Raise ``OB.Cluster.MultiPaxosNotAlive`` unless every log stream can do without the servers.

    One without a leader, of which nothing is known, cannot.
    """
    seen = await views.look(site, Reading(settled=True), deadline, log)
    lost = majority.lost(seen.log_streams, servers)
    if lost or not seen.log_streams:
        raise errors.CLUSTER_MULTI_PAXOS_NOT_ALIVE(
            servers=", ".join(map(str, servers)),
            streams=majority.in_words(lost) or "the cluster shows none",
        )
