"""Delete zone: a zone without resource units leaves its cluster, with its servers and agents."""

from __future__ import annotations

from pyobshell import errors
from pyobshell.cluster.model import Identity
from pyobshell.deadline import Deadline
from pyobshell.engines.ob_cluster import ServerRow
from pyobshell.operations import deletion, in_sql, views
from pyobshell.operations.departure import (
    Departure,
    delete_agent,
    delete_observer,
    part,
    require_free,
    set_scaling_in,
    wait_deleted,
)
from pyobshell.operations.in_sql import Leave
from pyobshell.operations.join import LOCKED
from pyobshell.operations.majority import Leaving, objections
from pyobshell.operations.retirement import DELETE_ZONE
from pyobshell.operations.site import Run, Site, require_cluster
from pyobshell.operations.views import Reading
from pyobshell.tasks.model import Ability, Dag, DagPlan, NodePlan
from pyobshell.tasks.stage import stage


async def delete_zone(site: Site, zone: str) -> Dag | None:
    """Check that a zone can go, and begin to delete it; None: there is no such zone.

    Raises, with nothing recorded and nothing changed: ``Agent.Identify.NotSupportOperation``,
    ``OB.Zone.NotEmpty``, ``OB.Server.StoppedInMultiZone``, ``OB.Zone.DeleteSelf``,
    ``Common.IllegalArgument`` (a server without an agent), ``Agent.UnderMaintenance`` or
    ``Agent.UnderMaintenanceDag`` of an agent that is to go, or
    ``OB.Cluster.UnderMaintenanceWithDag``.
    """
    view = site.cluster.view
    view.require(Identity.CLUSTER_AGENT)
    cluster = require_cluster(site)
    patience = Deadline.after(site.settings.rpc_timeout_s)
    seen = await views.look(site, Reading(settled=True), patience)
    found = [row for row in seen.zones if row.name == zone]
    if not found:
        return None
    units = await cluster.units_in(zone, patience)
    if units:
        raise errors.ZONE_NOT_EMPTY(zone=zone, units=units)
    for objection in objections(seen, Leaving(zones=[zone], alone=True)):
        raise objection
    if view.zone == zone:
        raise errors.ZONE_DELETE_SELF(agent=site.own, zone=zone)
    leaving = [member for member in view.members if member.zone == zone]
    departure = Departure(leaving=leaving, zone=zone, region=found[0].region)
    _require_agents(seen.servers, departure)
    await require_free(site, departure, patience)
    return await site.require_ocs().tasks.submit(plan(departure))


def _require_agents(rows: list[ServerRow], departure: Departure) -> None:
    """A server without an agent could be deleted, but nobody would end its process."""
    alone = [
        str(row.address)
        for row in rows
        if row.zone == departure.zone and row.address not in departure.servers
    ]
    if alone:
        raise errors.ILLEGAL_ARGUMENT(
            name="zone", reason=f"{', '.join(alone)} has no agent; delete that server first"
        )


def plan(departure: Departure) -> DagPlan:
    """The stages of ``Delete zone``; those for servers and agents only if it has any."""
    zone, inhabited = departure.zone, bool(departure.leaving)
    nodes = [
        *([NodePlan(set_scaling_in)] if inhabited else []),
        NodePlan(stop_zone, title=f"Stop zone {zone}"),
        *([NodePlan(delete_observer), NodePlan(wait_deleted)] if inhabited else []),
        NodePlan(remove_zone, title=f"Delete zone {zone}"),
        *([NodePlan(delete_agent), NodePlan(part)] if inhabited else []),
    ]
    return DagPlan(DELETE_ZONE, nodes, departure, LOCKED)


async def _start_zone(run: Run, departure: Departure) -> None:
    await require_cluster(run.site).start_zone(departure.zone, run.deadline)
    run.log(f"zone {departure.zone} is started")


@stage("Stop zone", Ability.BOTH_WAYS, undo=_start_zone, retry_undoes=False)
async def stop_zone(run: Run, departure: Departure) -> None:
    """Take the zone out of service."""
    leaving = Leave(zones=[departure.zone], alone=True)
    await views.ask(run.site, in_sql.leave, leaving, run.deadline, run.log)


async def _add_zone(run: Run, departure: Departure) -> None:
    cluster, zone = require_cluster(run.site), departure.zone
    # First, so that nothing is half undone: servers that have gone do not come back.
    await deletion.call_off(cluster, departure.servers, run.log, run.deadline)
    if not await cluster.has_zone(zone, run.deadline):
        await cluster.add_zone(zone, departure.region, run.deadline)
        run.log(f"zone {zone} is added again, in region {departure.region}")


@stage("Delete zone", Ability.BOTH_WAYS, undo=_add_zone, retry_undoes=False)
async def remove_zone(run: Run, departure: Departure) -> None:
    """Delete the zone, which has no server any more."""
    cluster, zone = require_cluster(run.site), departure.zone
    if await cluster.has_zone(zone, run.deadline):
        await cluster.delete_zone(zone, run.deadline)
    run.log(f"zone {zone} is deleted")


STAGES = (stop_zone, remove_zone)
