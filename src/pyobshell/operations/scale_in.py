"""Scale in: a server leaves its cluster, and its agent with it.

The cluster moves the server's units to others of the zone before it lets it go; only then is the
process killed. With ``force`` it is killed first, which only those log streams survive that keep
their majority without it: all of them must.
"""

from __future__ import annotations

from pyobshell import errors
from pyobshell.address import Address
from pyobshell.cluster.model import Identity
from pyobshell.deadline import Deadline
from pyobshell.operations import deletion
from pyobshell.operations.departure import (
    Departure,
    check_majority,
    delete_agent,
    delete_agent_and_part,
    delete_observer,
    kill_observer,
    part,
    require_free,
    set_scaling_in,
    wait_deleted,
)
from pyobshell.operations.join import LOCKED
from pyobshell.operations.retirement import SCALE_IN
from pyobshell.operations.site import Site, require_cluster
from pyobshell.requests import ScaleInRequest
from pyobshell.tasks.model import Dag, DagPlan, NodePlan


async def scale_in(site: Site, request: ScaleInRequest) -> Dag | None:
    """Check that the cluster can do without a server, and begin to remove it; None: it has not it.

    Raises, with nothing recorded and nothing changed: ``OB.Server.DeleteSelf``,
    ``Agent.Identify.NotSupportOperation``, ``OB.Cluster.MultiPaxosNotAlive``,
    ``Common.IllegalArgument`` (nobody could take its units), ``Agent.UnderMaintenance`` or
    ``Agent.UnderMaintenanceDag`` of the agent that is to go, or
    ``OB.Cluster.UnderMaintenanceWithDag``.
    """
    view = site.cluster.view
    agent = Address.of(request.agent_info.ip, request.agent_info.port)
    if agent == site.own:
        if view.identity is Identity.SINGLE:
            return None
        raise errors.SERVER_DELETE_SELF(agent=agent)
    view.require(Identity.CLUSTER_AGENT)
    cluster = require_cluster(site)
    member = view.member(agent)
    if member is None:
        return None
    patience = Deadline.after(site.settings.rpc_timeout_s)
    if request.force_kill:
        await deletion.require_majority(site, [member.server], patience)
    await deletion.require_refuge(cluster, member.server, patience)
    departure = Departure(
        leaving=[member], force=request.force_kill, remove_data=request.remove_data
    )
    await require_free(site, departure, patience)
    return await site.require_ocs().tasks.submit(plan(departure))


def plan(departure: Departure) -> DagPlan:
    """The stages of ``Cluster scale in``."""
    stages = (
        (check_majority, kill_observer, wait_deleted, delete_agent_and_part)
        if departure.force
        else (wait_deleted, delete_agent, part)
    )
    nodes = [NodePlan(one) for one in (delete_observer, set_scaling_in, *stages)]
    return DagPlan(SCALE_IN, nodes, departure, LOCKED)
