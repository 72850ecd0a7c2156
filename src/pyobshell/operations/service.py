"""Whether servers of a cluster are in service, and the wait until they are."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection

from pyobshell import errors
from pyobshell.address import Address
from pyobshell.deadline import Deadline
from pyobshell.engines.base import Engine, Log, ObState
from pyobshell.engines.ob_cluster import ACTIVE, DELETING
from pyobshell.errors import OBShellError
from pyobshell.operations import views
from pyobshell.operations.site import Site
from pyobshell.operations.views import Reading, Views

_PACE_S = 0.2
_LOOK_S = 20.0


async def until_usable(engine: Engine, log: Log, deadline: Deadline) -> None:
    """Wait until a server serves this agent's user, for which its cluster needs a majority.

    Raises ``OB.Server.Unavailable`` when the deadline comes, or when the process has ended.
    """
    told = ObState.CONNECTION_AVAILABLE
    while (state := await engine.state()) is not ObState.CONNECTION_AVAILABLE:
        if state is ObState.PROCESS_NOT_RUNNING or deadline.passed():
            raise errors.SERVER_UNAVAILABLE(reason=f"{_UNUSABLE[state]} (obState {int(state)})")
        if state is not told:
            log(f"waiting: {_UNUSABLE[state]}")
            told = state
        await asyncio.sleep(_PACE_S)  # views tell nobody of their change


_UNUSABLE = {
    ObState.PROCESS_NOT_RUNNING: "its process has ended",
    ObState.PROCESS_RUNNING: "it runs, but does not serve this agent's user",
    ObState.CONNECTION_RESTRICTED: "it runs, but its cluster has no majority of servers yet",
}


async def until_in_service(
    site: Site,
    servers: Collection[Address],
    log: Log,
    deadline: Deadline,
    *,
    alone: bool = False,
) -> None:
    """Wait until these servers are ACTIVE, serve, and have all their log streams in sync.

    One that is being deleted serves until it is gone. In sync are a log stream's replicas on
    whatever server; ``alone``: on these servers. Raises ``OB.Cluster.AsyncOperationTimeout`` with
    what is missing when the deadline comes.
    """

    async def missing() -> list[str]:
        patience = deadline.within(_LOOK_S)
        seen = await views.look(site, Reading(greeted=False), patience)
        return _missing(seen, servers, alone)

    await until_nothing_is_missing(missing, "The wait for service", log, deadline)
    log(f"{', '.join(map(str, servers))} serve, and are in sync")


async def until_nothing_is_missing(
    look: Callable[[], Awaitable[list[str]]], operation: str, log: Log, deadline: Deadline
) -> None:
    """Ask a cluster again and again what is missing: it tells nobody when all is as it should be.

    That it gives no answer counts as missing, too: it may be electing. Raises
    ``OB.Cluster.AsyncOperationTimeout`` with what is missing when the deadline comes.
    """
    told: list[str] = []
    while missing := await _answered(look):
        if missing != told:
            log(f"waiting: {'; '.join(missing)}")
            told = missing
        if deadline.passed():
            raise errors.CLUSTER_ASYNC_TIMEOUT(
                operation=f"{operation} ({'; '.join(missing)})", seconds=deadline.seconds
            )
        await asyncio.sleep(_PACE_S)  # views tell nobody of their change


async def _answered(look: Callable[[], Awaitable[list[str]]]) -> list[str]:
    try:
        return await look()
    except OBShellError as error:
        return [str(error)]


def _missing(seen: Views, servers: Collection[Address], alone: bool) -> list[str]:
    """What is not as it should be, in words."""
    rows = {row.address: row for row in seen.servers}
    found = []
    for server in servers:
        row = rows.get(server)
        if row is None:
            found.append(f"{server} is not a server of the cluster")
        elif row.stopped:
            found.append(f"{server} is stopped")
        elif row.status not in (ACTIVE, DELETING) or not row.serves:
            found.append(f"{server} is {row.status} and does not serve yet")
    behind = [
        str(stream)
        for stream in seen.log_streams
        if (
            stream.is_behind_on(servers) if alone else stream.is_on(servers) and not stream.is_whole
        )
    ]
    if behind:
        found.append(f"not in sync: {', '.join(behind)}")
    return found
