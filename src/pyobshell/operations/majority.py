"""What a cluster can spare: which log streams would lose their majority if some servers left.

Rules only. They judge what the cluster's views have told (``operations.views``), and never guess:
a log stream without leader has no majority, and a cluster that shows no log stream is not believed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pydantic import BaseModel

from pyobshell import errors
from pyobshell.address import Address
from pyobshell.engines.log_streams import LogStream
from pyobshell.engines.ob_cluster import INACTIVE
from pyobshell.errors import OBShellError
from pyobshell.operations.views import Views


class Leaving(BaseModel):
    """What is to leave the service of a cluster: whole zones, or servers by ``ip:rpc_port``.

    ``alone``: nothing may be out of service in another zone at the same time, as for STOP in SQL.
    """

    zones: list[str] = []
    servers: list[Address] = []
    alone: bool = False

    def __str__(self) -> str:
        kind, names = ("zone", self.zones) if self.zones else ("server", self.servers)
        return f"{kind}{'s' if len(names) > 1 else ''} {', '.join(map(str, names))}"

    def found_in(self, views: Views) -> set[Address]:
        """The servers that it means."""
        of_zones = {row.address for row in views.servers if row.zone in self.zones}
        return {*self.servers, *of_zones}


def objections(views: Views, leaving: Leaving) -> Iterator[OBShellError]:
    """Every reason for which a cluster cannot spare what is to leave, in OBShell's order."""
    if leaving.alone:
        yield from _of_zones(views, leaving)
    if not views.log_streams:
        yield unchecked("the cluster shows no log stream")
    elif found := lost(views.log_streams, leaving.found_in(views)):
        tenants = in_words(found)
        if views.silent:
            tenants += f" (no sign of life from {', '.join(map(str, views.silent))})"
        yield errors.TENANT_REPLICA_INVALID(leaving=leaving, tenants=tenants)


def lost(streams: Iterable[LogStream], servers: Iterable[Address]) -> dict[str, list[LogStream]]:
    """By tenant, the log streams on these servers that would be left without a majority.

    The sys tenant and META tenants count as all others do: without them no tenant goes on.
    """
    leaving = frozenset(servers)
    found: dict[str, list[LogStream]] = {}
    for stream in streams:
        if stream.is_on(leaving) and not stream.outlives(leaving):
            found.setdefault(stream.tenant, []).append(stream)
    return found


def in_words(found: dict[str, list[LogStream]]) -> str:
    """Tenants with their log streams, for a message."""
    return "; ".join(
        f"tenant {tenant} ({', '.join(map(_numbered, streams))})"
        for tenant, streams in sorted(found.items())
    )


def _numbered(stream: LogStream) -> str:
    return f"LS {stream.ls_id}" if stream.leader else f"LS {stream.ls_id}, now without a leader"


def unchecked(why: object) -> OBShellError:
    """The refusal of what could not be checked."""
    return errors.SERVER_UNAVAILABLE(
        reason=f"whether every log stream keeps its majority could not be checked ({why}); "
        "only 'force' does not ask"
    )


def _of_zones(views: Views, leaving: Leaving) -> Iterator[OBShellError]:
    """STOP keeps to one zone, and to what the cluster knows."""
    zones = {row.name for row in views.zones}
    for zone in leaving.zones:
        if zone not in zones:
            yield errors.ZONE_NOT_EXIST(zone=zone)
    places = {row.address: row.zone for row in views.servers}
    for server in leaving.servers:
        if server not in places:
            yield errors.SERVER_UNAVAILABLE(reason=f"{server} is not a server of the cluster")
    concerned = {*leaving.zones, *(places[one] for one in leaving.servers if one in places)}
    if len(concerned) > 1:
        yield errors.SERVER_STOPPED_IN_MULTI_ZONE(detail=", ".join(sorted(concerned)))
    elsewhere = [
        f"server {row.address} of {row.zone} is stopped already"
        for row in views.servers
        if row.stopped and row.zone not in concerned
    ]
    elsewhere += [
        f"zone {row.name} is stopped already"
        for row in views.zones
        if row.status == INACTIVE and row.name not in concerned
    ]
    if elsewhere:
        yield errors.SERVER_STOPPED_IN_MULTI_ZONE(detail="; ".join(elsewhere))
