"""What takes servers and zones of a cluster out of its service, and back, while they run: SQL.

Any agent whose server serves can do it (``operations.views.ask``), and it may be done twice.
"""

from __future__ import annotations

import time
from typing import TypeVar

from pydantic import BaseModel

from pyobshell import errors
from pyobshell.address import Address
from pyobshell.cluster.procedures import Caller, Nothing, Procedure, procedure
from pyobshell.deadline import Deadline
from pyobshell.engines.ob_cluster import INACTIVE
from pyobshell.operations import service, together, views
from pyobshell.operations.majority import Leaving, objections
from pyobshell.operations.site import Run, Site, require_cluster
from pyobshell.operations.sub_dag import FRESH_S
from pyobshell.operations.views import Reading, Views


class Leave(Leaving):
    """What is to leave, and when (Unix seconds) that was still wanted, if it can be given up."""

    asked_at: float | None = None


@procedure("cluster/leave")
async def leave(site: Site, caller: Caller, leaving: Leave) -> Nothing:
    """STOP what is to leave, if the cluster can spare it; what is stopped already is fine.

    Looked at and stopped by the same agent, so that as little as possible can happen in between.
    Raises ``OB.Server.Unavailable`` if too much may have happened since it was asked for.
    """
    cluster = require_cluster(site)
    seen = await views.read.handler(site, caller, Reading(settled=True))
    if _is_out(seen, leaving):
        caller.log(f"Out of service already: {leaving}")
        return Nothing()
    for objection in objections(seen, leaving):
        raise objection
    _require_fresh(site, leaving.asked_at)
    for zone in leaving.zones:
        caller.log(f"STOP ZONE {zone}")
        await cluster.stop_zone(zone, caller.deadline)
    if leaving.servers:
        caller.log(f"STOP SERVER {', '.join(map(str, leaving.servers))}")
        await cluster.stop_servers(leaving.servers, caller.deadline)
    caller.log(f"Out of service: {leaving}; every log stream keeps its majority")
    return Nothing()


def _is_out(seen: Views, leaving: Leaving) -> bool:
    """Whether all of it is stopped, perhaps by who was asked before and could not say so."""
    zones = {row.name for row in seen.zones if row.status == INACTIVE}
    servers = {row.address for row in seen.servers if row.stopped}
    return zones >= set(leaving.zones) and servers >= set(leaving.servers)


def _require_fresh(site: Site, asked_at: float | None) -> None:
    age_s = 0.0 if asked_at is None else abs(time.time() - asked_at)
    if age_s > FRESH_S:
        reason = f"{site.own} came to it only after {age_s:.1f} s, or the agents' clocks differ"
        raise errors.SERVER_UNAVAILABLE(reason=reason)


class Entering(BaseModel):
    """Zones to be started, and the servers that then have to be in service (``ip:rpc_port``).

    ``started`` are servers that were stopped without their zone. ``asked_at`` as in :class:`Leave`.
    """

    zones: list[str] = []
    started: list[Address] = []
    servers: list[Address] = []
    asked_at: float | None = None


@procedure("cluster/enter")
async def enter(site: Site, caller: Caller, entering: Entering) -> Nothing:
    """START zones or servers, and wait until these serve; what is in service is fine."""
    cluster = require_cluster(site)
    _require_fresh(site, entering.asked_at)
    for zone in entering.zones:
        caller.log(f"START ZONE {zone}")
        await cluster.start_zone(zone, caller.deadline)
    if entering.started:
        caller.log(f"START SERVER {', '.join(map(str, entering.started))}")
        await cluster.start_servers(entering.started, caller.deadline)
    if entering.servers:
        await service.until_in_service(
            site, entering.servers, caller.log, caller.deadline, alone=True
        )
    return Nothing()


# --- asked for by a task that can be given up ----------------------------------------------------

Wish = TypeVar("Wish", Leave, Entering)


async def ask_to_leave(run: Run, leaving: Leaving, deadline: Deadline) -> None:
    """Have it STOPped by any agent, if the task still holds its locks when that one is asked."""
    await _ask(run, leave, Leave(**leaving.model_dump()), deadline, share=0.5)


async def ask_to_enter(run: Run, entering: Entering, deadline: Deadline) -> None:
    """Have it STARTed by any agent, as :func:`ask_to_leave`."""
    await _ask(run, enter, entering.model_copy(), deadline)


async def _ask(
    run: Run,
    asked: Procedure[Site, Wish, Nothing],
    wish: Wish,
    deadline: Deadline,
    share: float = 1.0,
) -> None:
    async def look() -> None:
        await together.require_locks(run)
        wish.asked_at = time.time()

    await views.ask(run.site, asked, wish, deadline, run.log, share=share, before=look)


PROCEDURES = (leave, enter)
