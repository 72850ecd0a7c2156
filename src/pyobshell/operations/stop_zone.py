"""Stopping a zone of a cluster for good: out of service by SQL first, then its servers killed."""

from __future__ import annotations

from pyobshell.cluster.model import Identity
from pyobshell.operations import stop
from pyobshell.operations.majority import Leaving
from pyobshell.operations.scope import ScopeType
from pyobshell.operations.site import Site, require_cluster
from pyobshell.operations.stop import Mode
from pyobshell.operations.together import Undertaking
from pyobshell.requests import StopZoneRequest
from pyobshell.tasks.model import Dag, DagPlan, NodePlan


async def stop_zone(site: Site, zone: str, request: StopZoneRequest) -> Dag:
    """Begin to stop a zone; raises as :func:`check_stop_zone`, and nothing is recorded then."""
    await check_stop_zone(site, zone)
    return await site.submit(plan(site, zone, request))


async def check_stop_zone(site: Site, zone: str) -> None:
    """Raise the reason for which a zone could not be stopped now.

    Where servers form no cluster nothing can be stopped by SQL, and ``Common.IllegalArgument`` says
    so. Whether the own server can be asked does not matter.
    """
    site.cluster.view.require(Identity.CLUSTER_AGENT)
    require_cluster(site)
    async for objection in stop.spared(site, _leaving(zone)):
        raise objection


def _leaving(zone: str) -> Leaving:
    return Leaving(zones=[zone], alone=True)


def plan(site: Site, zone: str, request: StopZoneRequest) -> DagPlan:
    """The stages of ``Stop OB`` for a zone; unlike a gentle stop it kills, once SQL has come first.

    The whole zone leaves the cluster, also servers of it that have no agent; these go on running.
    """
    everybody = site.cluster.view.addresses
    nodes = [
        NodePlan(stop.inform, everybody),
        NodePlan(stop.make_sure_all_are_ready),
        NodePlan(stop.execute_stop_sql),
    ]
    if request.freeze_server:
        nodes.append(NodePlan(stop.minor_freeze))
    nodes += [
        NodePlan(stop.advance_all),
        NodePlan(stop.wait_for_all, everybody),
        NodePlan(stop.end_all),
    ]
    undertaking = Undertaking(
        work="stop",
        mode=Mode.TERMINATE if request.freeze_server else Mode.FORCE,
        scope=ScopeType.ZONE,
        targets=site.cluster.view.in_zones([zone]),
        leaving=_leaving(zone),
        force_pass=request.forcePassDag.id,
    )
    return DagPlan(stop.NAME, nodes, undertaking)
