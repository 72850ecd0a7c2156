"""Who leads each log stream, and which of them have a majority."""

from __future__ import annotations

from collections.abc import Collection

from standin.cluster import Cluster, LogStream, Server
from standin.errors import not_allowed


def in_service(cluster: Cluster, stream: LogStream) -> list[Server]:
    """The servers whose replicas of the stream are up, in the order of its members."""
    alive = {server.address: server for server in cluster.servers if server.alive}
    return [alive[address] for address in stream.members if address in alive]


def has_majority(cluster: Cluster, stream: LogStream) -> bool:
    """Whether more than half of its replicas are up."""
    return 2 * len(in_service(cluster, stream)) > len(stream.members)


def elect(cluster: Cluster, without_leader: Collection[str] = ()) -> None:
    """Give every stream the leader it should have; one that leads well goes on leading.

    Those of the tenants without leader get none.
    """
    barred = {tenant.id for tenant in cluster.tenants if tenant.name in without_leader}
    for stream in cluster.streams:
        able = has_majority(cluster, stream) and stream.tenant not in barred
        candidates = in_service(cluster, stream) if able else []
        candidates.sort(key=lambda server: _preference(cluster, stream, server))
        best = candidates[0].address if candidates else None
        current = next((one for one in candidates if one.address == stream.leader), None)
        if current is not None and not _must_resign(cluster, stream, current):
            continue
        if best != stream.leader:
            stream.leader = best
            stream.proposal += 1
        if best in stream.behind:
            stream.behind.remove(best)  # nobody has a later log than a leader


def tenants_without_leader(cluster: Cluster) -> list[int]:
    """The tenants of which some log stream has none."""
    return sorted({one.tenant for one in cluster.streams if one.leader is None})


def check_stop(
    cluster: Cluster, stopping: Collection[Server], *, sync_needed: bool, what: str
) -> None:
    """The server's own guard for STOP: each stream keeps a majority without these servers.

    Raises 4179 if one would not, or has no leader, or (if sync is needed) is not in sync.
    """
    for stream in cluster.streams:
        name = f"Tenant({stream.tenant}) LS({stream.id})"
        if stream.leader is None:
            raise not_allowed(f"{name} has no leader, {what}")
        left = [
            server
            for server in in_service(cluster, stream)
            if server not in stopping and not cluster.is_stopped(server)
        ]
        if 2 * len(left) <= len(stream.members):
            raise not_allowed(f"{name} has no enough valid paxos member after {what}, {what}")
        synced = [server for server in left if server.address not in stream.behind]
        if sync_needed and 2 * len(synced) <= len(stream.members):
            raise not_allowed(f"{name} log not sync, {what}")


def _must_resign(cluster: Cluster, stream: LogStream, leader: Server) -> bool:
    return cluster.is_stopped(leader) or leader.address in stream.behind


def _preference(cluster: Cluster, stream: LogStream, server: Server) -> tuple[bool, bool, int, int]:
    tenant = next(one for one in cluster.tenants if one.id == stream.tenant)
    ranks = [group.split(",") for group in tenant.primary_zone.split(";")]
    rank = next((n for n, zones in enumerate(ranks) if server.zone in zones), len(ranks))
    # Among equals the streams of a tenant are led by different zones.
    turn = (stream.members.index(server.address) - stream.group) % len(stream.members)
    return cluster.is_stopped(server), server.address in stream.behind, rank, turn
