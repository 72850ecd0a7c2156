"""What time does to a cluster: servers die and return, replicas catch up, deletions end."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass, field

from standin import paxos, placement
from standin.cluster import Cluster, Server, now_us
from standin.knobs import Knobs


@dataclass
class Freeze:
    """A minor freeze whose checkpoints have not moved yet."""

    begun: float
    scn: int
    servers: Collection[str]


@dataclass
class Clockwork:
    """Moments from which something takes its time; they are of one hub process."""

    returned: dict[str, float] = field(default_factory=dict)
    deleting: dict[str, float] = field(default_factory=dict)
    freezes: list[Freeze] = field(default_factory=list)

    def forget(self, cluster: Cluster) -> None:
        """At a start of the hub nobody has been heard of."""
        for server in cluster.servers:
            if server.alive:
                die(cluster, server)

    def turn(self, cluster: Cluster, heard: Collection[str], knobs: Knobs) -> bool:
        """Bring the cluster up to date; ``heard`` are alive. Returns whether anything changed."""
        before = _of_time(cluster)
        now = time.monotonic()
        for server in cluster.servers:
            self._life(cluster, server, server.address in heard, now, knobs)
        self._resync(cluster, now, knobs)
        self._end_freezes(cluster, now, knobs)
        self._end_deletions(cluster, now, knobs)
        paxos.elect(cluster, knobs.without_leader)
        return _of_time(cluster) != before

    def _life(
        self, cluster: Cluster, server: Server, lives: bool, now: float, knobs: Knobs
    ) -> None:
        if server.alive and not lives:
            die(cluster, server)
        elif lives and not server.alive:
            server.alive = True
            server.modified = now_us()
            self.returned[server.address] = now
        since = self.returned.get(server.address, now)
        if server.alive and server.started is None and now - since >= knobs.service_s:
            server.started = now_us()

    def _resync(self, cluster: Cluster, now: float, knobs: Knobs) -> None:
        for stream in cluster.streams:
            for address in stream.members:
                held = address in knobs.out_of_sync
                back = self.returned.get(address)
                if held and address not in stream.behind:
                    stream.behind.append(address)
                elif not held and address in stream.behind and cluster.server(address).alive:
                    caught_up = back is None or now - back >= knobs.resync_s
                    stream.behind = [
                        one for one in stream.behind if one != address or not caught_up
                    ]

    def _end_freezes(self, cluster: Cluster, now: float, knobs: Knobs) -> None:
        due = [one for one in self.freezes if now - one.begun >= knobs.freeze_s]
        if knobs.freeze_never:
            return
        for freeze in due:
            self.freezes.remove(freeze)
            for stream in cluster.streams:
                for server in paxos.in_service(cluster, stream):
                    if server.address in freeze.servers:
                        reached = stream.checkpoints[server.address]
                        stream.checkpoints[server.address] = max(reached, freeze.scn)

    def _end_deletions(self, cluster: Cluster, now: float, knobs: Knobs) -> None:
        for server in list(cluster.servers):
            if not server.deleting:
                self.deleting.pop(server.address, None)
                continue
            begun = self.deleting.setdefault(server.address, now)
            if knobs.delete_never or now - begun < knobs.delete_s:
                continue
            placement.migrate_units(cluster, server)
            if not placement.holds_units(cluster, server):
                cluster.servers.remove(server)
                own = [one for one in cluster.parameters if one.address == server.address]
                cluster.parameters = [one for one in cluster.parameters if one not in own]


def _of_time(cluster: Cluster) -> list[object]:
    """All that may change without a statement."""
    servers = [(one.address, one.alive, one.started, one.offline) for one in cluster.servers]
    streams = [
        (one.tenant, one.id, one.leader, one.proposal, [*one.behind], dict(one.checkpoints))
        for one in cluster.streams
    ]
    return [servers, streams, [unit.server for unit in cluster.units]]


def die(cluster: Cluster, server: Server) -> None:
    """What the end of a server's process does to the cluster."""
    server.alive = False
    server.started = None
    server.offline = server.modified = now_us()
    for stream in cluster.streams:
        if server.address in stream.members and server.address not in stream.behind:
            stream.behind.append(server.address)
