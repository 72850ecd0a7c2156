"""What speaks against taking servers of a cluster away, told from one look at its views.

A rolling restart goes on only if there is nothing: what cannot be seen to be well is a doubt.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from pyobshell.address import Address
from pyobshell.engines.log_streams import LogStream
from pyobshell.engines.ob_cluster import ACTIVE
from pyobshell.operations import majority
from pyobshell.operations.views import Views


def stopped_zones(views: Views) -> set[str]:
    """The zones that are out of service."""
    return {zone.name for zone in views.zones if zone.status != ACTIVE}


def stopped_servers(views: Views) -> set[Address]:
    """The servers that are out of service, alone or with their zone."""
    zones = stopped_zones(views)
    return {one.address for one in views.servers if one.stopped or one.zone in zones}


def unwell(views: Views) -> list[str]:
    """Zones and servers that are not in service, in words."""
    found = [f"zone {zone} is stopped" for zone in sorted(stopped_zones(views))]
    for one in views.servers:
        if one.stopped:
            found.append(f"{one.address} is stopped")
        elif one.status != ACTIVE:
            found.append(f"{one.address} is {one.status}")
        elif not one.serves:
            found.append(f"{one.address} does not serve yet")
    return [*found, *(f"{one} gives no sign of life" for one in views.silent)]


def before_restart(views: Views, going: Collection[Address]) -> list[str]:
    """Why these servers should not be taken away: not all is well, or too little would be left."""
    known = {one.address for one in views.servers}
    strangers = [f"{one} is not a server of the cluster" for one in going if one not in known]
    broken = [stream for stream in views.log_streams if not stream.is_whole]
    return [
        *unwell(views),
        *strangers,
        *_named("not all replicas are there and in sync", broken),
        *_lost(views, going),
    ]


def before_kill(views: Views, server: Address) -> list[str]:
    """Why the process of a server that was taken out of service should not be ended now."""
    gone = stopped_servers(views)
    if server not in gone:
        return [f"{server} is in service"]
    led = _named("led by a stopped server, or by none", led_by(views, gone))
    return led + _lost(views, gone)


def led_by(views: Views, servers: Collection[Address]) -> list[LogStream]:
    """The log streams that are led by one of these servers, or by none at all."""
    return [one for one in views.log_streams if one.leader is None or one.leader.server in servers]


def _lost(views: Views, gone: Collection[Address]) -> list[str]:
    if not views.log_streams:
        return ["the cluster shows no log stream"]
    lost = majority.lost(views.log_streams, gone)
    return [f"no majority would be left of: {majority.in_words(lost)}"] if lost else []


def _named(what: str, streams: Iterable[LogStream]) -> list[str]:
    names = ", ".join(map(str, streams))
    return [f"{what}: {names}"] if names else []
