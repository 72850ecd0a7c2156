"""What speaks against taking servers of a cluster away, told from one look at all of it.

A rolling restart goes on only if there is nothing: what cannot be seen to be well is a doubt.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from pyobshell.address import Address
from pyobshell.deadline import Deadline
from pyobshell.engines.log_streams import LogStream
from pyobshell.engines.ob_cluster import ACTIVE, ObCluster, ServerRow, ZoneRow


@dataclass(frozen=True, slots=True)
class Picture:
    """Zones, servers and log streams of a cluster; servers are named with their rpc port."""

    zones: list[ZoneRow]
    servers: list[ServerRow]
    streams: list[LogStream]

    @property
    def stopped_zones(self) -> set[str]:
        """The zones that are out of service."""
        return {zone.name for zone in self.zones if zone.status != ACTIVE}

    @property
    def stopped(self) -> set[Address]:
        """The servers that are out of service, alone or with their zone."""
        zones = self.stopped_zones
        return {one.address for one in self.servers if one.stopped or one.zone in zones}

    @property
    def unwell(self) -> list[str]:
        """Zones and servers that are not in service, in words."""
        found = [f"zone {zone} is stopped" for zone in sorted(self.stopped_zones)]
        for one in self.servers:
            if one.stopped:
                found.append(f"{one.address} is stopped")
            elif one.status != ACTIVE:
                found.append(f"{one.address} is {one.status}")
            elif not one.serves:
                found.append(f"{one.address} does not serve yet")
        return found

    def before_restart(self, going: Collection[Address]) -> list[str]:
        """Why these servers should not be taken away: not all is well, or too little is left."""
        known = {one.address for one in self.servers}
        strangers = [f"{one} is not a server of the cluster" for one in going if one not in known]
        broken = [stream for stream in self.streams if not stream.is_whole]
        return [
            *self.unwell,
            *strangers,
            *_named("not all replicas are there and in sync", broken),
            *self._frail(going),
        ]

    def before_kill(self, server: Address) -> list[str]:
        """Why the process of a server that was taken out of service should not be ended now."""
        gone = self.stopped
        if server not in gone:
            return [f"{server} is in service"]
        led = _named("led by a stopped server, or by none", self.led_by(gone))
        return led + self._frail(gone)

    def led_by(self, servers: Collection[Address]) -> list[LogStream]:
        """The log streams that are led by one of these servers, or by none at all."""
        return [one for one in self.streams if one.leader is None or one.leader.server in servers]

    def _frail(self, gone: Collection[Address]) -> list[str]:
        frail = [stream for stream in self.streams if not stream.outlives(gone)]
        return _named("no majority would be left", frail)


async def look(cluster: ObCluster, deadline: Deadline) -> Picture:
    """The cluster as it is now; raises what its SQL raises."""
    return Picture(
        await cluster.zones(deadline),
        await cluster.servers(deadline),
        await cluster.log_streams(deadline),
    )


def _named(what: str, streams: Iterable[LogStream]) -> list[str]:
    names = ", ".join(map(str, streams))
    return [f"{what}: {names}"] if names else []
