"""Orders that an agent may carry out alone, and the task it makes of them."""

from __future__ import annotations

from pyobshell.address import Address
from pyobshell.engines.base import ObState
from support.fake_cluster import FakeCluster
from support.undertakings import servers, wait_end

DOWN, RUNNING, RESTRICTED, UP = list(ObState)
START, STOP = "Start local observer", "Stop local observer"
START_STAGES = ["Check ob process and config", "Start observer", "Get connection of observer"]


async def start(host, door=None, scope=None, **more):
    return await (door or host.local).post("/ob/start", {"scope": scope or servers(host), **more})


async def stop(host, door=None, scope=None, **mode):
    body = {"scope": scope or servers(host), **(mode or {"force": True})}
    return await (door or host.local).post("/ob/stop", body)


async def seen_through(host, answer):
    """The task that a request has begun, once it has ended."""
    return await wait_end(host, answer.data["id"])


def no_majority(host, cluster=None):
    """Have the agent's server be one of a cluster that has no majority."""
    host.engine.cluster = cluster or FakeCluster([(Address(host.address.ip, 2882), "zone1")])
    host.engine.starts_as = RESTRICTED
