"""ALTER SYSTEM ... SERVER and ... ZONE."""

from __future__ import annotations

from collections.abc import Sequence

from standin import errors, paxos, placement
from standin.cluster import Cluster, Server, Zone, join_address, now_us, split_address

Who = dict[str, str]
"""What a process says about itself on its RPC port."""


def bootstrap(cluster: Cluster, members: Sequence[dict[str, str]], who: dict[str, Who]) -> None:
    """Make the first servers, one a zone, and the sys tenant."""
    zones = [member["zone"] for member in members]
    if len(set(zones)) != len(zones):
        raise errors.invalid("bootstrap, one server a zone")
    for member in members:
        cluster.zones.append(Zone(member["zone"], member["region"]))
        add_server(cluster, member["server"], who[member["server"]], member["zone"])
    cluster.root_servers = ";".join(
        f"{server.address}:{server.sql_port}" for server in cluster.servers
    )
    placement.make_sys_tenant(cluster)


def check_new_server(cluster: Cluster, address: str, who: Who, zone: str | None) -> None:
    """Whether a process may be added; raises 4017, 4179, 4530, 4631, 4655."""
    if zone is not None and zone != who["zone"]:
        raise errors.server_zone_mismatch()
    if cluster.zone(who["zone"]).stopped:
        raise errors.zone_not_active()
    if any(server.address == join_address(*split_address(address)) for server in cluster.servers):
        raise errors.entry_exists(address)
    if who["empty"] != "yes":
        raise errors.not_allowed(f"add non-empty server {address}")


def add_server(cluster: Cluster, address: str, who: Who, zone: str | None) -> None:
    """ADD SERVER, once the process there has been asked who it is."""
    check_new_server(cluster, address, who, zone)
    address = join_address(*split_address(address))
    number = max((server.id for server in cluster.servers), default=0) + 1
    port = int(who["sql_port"])
    cluster.servers.append(Server(address, number, who["zone"], port, who["build"]))


def act_on_servers(
    cluster: Cluster, action: str, addresses: Sequence[str], zone: str | None
) -> None:
    """The actions on members, all or none of them."""
    servers = [cluster.server(address) for address in addresses]
    if zone is not None and any(server.zone != zone for server in servers):
        raise errors.server_zone_mismatch()
    if action == "DELETE":
        _delete(cluster, servers)
    elif action == "CANCEL DELETE":
        if not all(server.deleting for server in servers):
            raise errors.server_not_deleting()
        for server in servers:
            server.deleting = False
    elif action == "START":
        for server in servers:
            server.stopped = None
    elif not all(server.stopped for server in servers):
        _stop(cluster, action, servers)
    for server in servers:
        server.modified = now_us()


def act_on_zone(
    cluster: Cluster, action: str, name: str, region: str | None, idc: str | None
) -> None:
    """The actions on a zone."""
    if action == "ADD":
        if any(zone.name == name for zone in cluster.zones):
            raise errors.zone_exists()
        # A new zone has to be started before it takes servers.
        cluster.zones.append(Zone(name, region or "sys_region", idc or "", stopped=True))
        return
    zone = cluster.zone(name)
    servers = list(cluster.servers_of(name))
    if action == "DELETE":
        if servers:
            raise errors.zone_not_empty()
        cluster.zones.remove(zone)
    elif action == "START":
        if not zone.stopped:
            raise errors.zone_status()
        zone.stopped = False
    elif not zone.stopped:
        if action != "ISOLATE":
            if _stopped_outside(cluster, name):
                raise errors.stopped_elsewhere()
            paxos.check_stop(cluster, servers, sync_needed=action == "STOP", what="stop zone")
        zone.stopped = True
    zone.modified = now_us()


def _stop(cluster: Cluster, action: str, servers: Sequence[Server]) -> None:
    zones = {server.zone for server in servers}
    if len(zones) > 1:
        raise errors.stopped_elsewhere()
    if action != "ISOLATE":  # which does not look at the number and state of replicas
        if _stopped_outside(cluster, *zones):
            raise errors.stopped_elsewhere()
        paxos.check_stop(cluster, servers, sync_needed=action == "STOP", what="stop server")
    for server in servers:
        server.stopped = server.stopped or now_us()


def _stopped_outside(cluster: Cluster, zone: str) -> bool:
    return any(server.stopped and server.zone != zone for server in cluster.servers) or any(
        other.stopped and other.name != zone for other in cluster.zones
    )


def _delete(cluster: Cluster, servers: Sequence[Server]) -> None:
    if any(server.deleting for server in servers):
        raise errors.server_is_deleted()
    if any(stream.leader is None for stream in cluster.streams):
        raise errors.not_allowed("a log stream has no leader, delete server")
    for server in servers:
        placement.check_removal(cluster, server, servers)
    for server in servers:
        server.deleting = True
