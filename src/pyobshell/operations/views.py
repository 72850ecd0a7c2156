"""What the views of a cluster tell, asked of any agent whose server serves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from pydantic import BaseModel

from pyobshell import errors
from pyobshell.address import Address
from pyobshell.cluster.peers import ignore
from pyobshell.cluster.procedures import Caller, Nothing, Procedure, procedure
from pyobshell.deadline import Deadline
from pyobshell.engines.base import Log, ObState
from pyobshell.engines.log_streams import LogStream
from pyobshell.engines.ob_cluster import ACTIVE, INACTIVE, ObCluster, ServerRow, ZoneRow
from pyobshell.errors import OBShellError
from pyobshell.operations import server
from pyobshell.operations.site import Site, require_cluster

Req = TypeVar("Req", bound=BaseModel)
Res = TypeVar("Res", bound=BaseModel)
STOPPED = "STOPPED"
_PACE_S = 0.2
_ELECTION_S = 10.0  # a leader that died is replaced in less


class Views(BaseModel):
    """Servers, zones and log streams of a cluster, as one of its servers showed them.

    A server that hangs stays in them for some seconds as it was: replicas on servers that are
    ``silent`` are left out.
    """

    servers: list[ServerRow]
    zones: list[ZoneRow]
    log_streams: list[LogStream]
    silent: list[Address] = []

    def status_of(self, row: ServerRow) -> str:
        """ACTIVE, INACTIVE, DELETING, or STOPPED if that was asked for it or for its zone."""
        zone_stopped = any(one.name == row.zone and one.status == INACTIVE for one in self.zones)
        return STOPPED if row.status == ACTIVE and (row.stopped or zone_stopped) else row.status


class Reading(BaseModel):
    """What is to be read.

    ``settled``: not while a log stream elects its leader. ``greeted``: with servers asked whether
    they live, which is for who takes something away, not for who waits.
    """

    log_streams: bool = True
    settled: bool = False
    greeted: bool = True


@procedure("cluster/views")
async def read(site: Site, caller: Caller, reading: Reading) -> Views:
    """What the server here tells of its cluster."""
    cluster = require_cluster(site)
    views = await _read(cluster, reading, caller.deadline)
    patience = caller.deadline.within(min(_ELECTION_S, caller.deadline.remaining() / 2))
    if reading.settled and not _is_settled(views):
        caller.log("a log stream has no leader: looking again")
    while reading.settled and not _is_settled(views) and not patience.passed():
        await asyncio.sleep(_PACE_S)  # views tell nobody of their change
        views = await _read(cluster, reading, caller.deadline)
    return views


async def _read(cluster: ObCluster, reading: Reading, deadline: Deadline) -> Views:
    views = Views(
        servers=await cluster.servers(deadline), zones=await cluster.zones(deadline), log_streams=[]
    )
    if reading.log_streams:
        streams = await cluster.log_streams(deadline)
        views.log_streams = streams
    if reading.log_streams and reading.greeted:
        shown = {replica.server for stream in streams for replica in stream.replicas}
        counted = [row for row in views.servers if row.address in shown]
        views.silent = await cluster.silent(counted, deadline)
        views.log_streams = [stream.without_word_of(views.silent) for stream in streams]
    return views


def _is_settled(views: Views) -> bool:
    return all(stream.leader for stream in views.log_streams)


# --- whom to ask ---------------------------------------------------------------------------------


async def look(site: Site, reading: Reading, deadline: Deadline, log: Log = ignore) -> Views:
    """Read the views by way of any agent whose server serves, of another if one cannot tell.

    None has more than half of the time that is left. Raises as :func:`ask`.
    """
    return await ask(site, read, reading, deadline, log, share=0.5)


async def ask(
    site: Site,
    asked: Procedure[Site, Req, Res],
    request: Req,
    deadline: Deadline,
    log: Log = ignore,
    *,
    share: float = 1.0,
    before: Callable[[], Awaitable[None]] | None = None,
) -> Res:
    """Have any agent whose server serves run a procedure: this one if it can, else another.

    Each can speak for the whole cluster. What is asked may be asked twice: when an agent or its
    server is lost meanwhile, or has used up its ``share`` of the time that was left, the next one
    is asked. Raises what the procedure raised, or ``OB.Server.Unavailable`` when nobody is left;
    and what is awaited ``before`` each of them is asked.
    """
    reason = "no server of the cluster serves"
    async for agent in _able(site, deadline):
        if before is not None:
            await before()
        patience = deadline.within(share * deadline.remaining())
        try:
            return await site.peers.call(agent, asked, request, patience, log)
        except OBShellError as error:
            if error.code not in (errors.RPC_REQUEST_FAILED, errors.SERVER_UNAVAILABLE):
                raise
            reason = f"{agent}: {error}"
            log(f"{reason}; asking another agent")
    raise errors.SERVER_UNAVAILABLE(reason=reason)


async def _able(site: Site, deadline: Deadline) -> AsyncIterator[Address]:
    """The agents whose servers serve, this one first."""
    if await site.engine.state() is ObState.CONNECTION_AVAILABLE:
        yield site.own
    others = site.cluster.view.others
    patience = deadline.within(site.settings.rpc_timeout_s)
    answers = await site.peers.call_all(others, server.status, Nothing(), patience, if_there=True)
    for agent, answer in answers.items():
        if not isinstance(answer, OBShellError) and answer.state is ObState.CONNECTION_AVAILABLE:
            yield agent


PROCEDURES = (read,)
