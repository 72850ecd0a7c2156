"""Agents part again, as long as there is no cluster: they become SINGLE and forget what was set."""

from __future__ import annotations

from pydantic import BaseModel

from pyobshell import errors
from pyobshell.address import Address
from pyobshell.cluster.model import ClusterView, Identity
from pyobshell.cluster.procedures import Caller, Nothing, procedure
from pyobshell.deadline import Deadline
from pyobshell.operations.join import LOCKED, leaves, strike_off
from pyobshell.operations.site import Run, Site
from pyobshell.requests import AgentInfo
from pyobshell.tasks.model import Ability, Dag, DagPlan, NodePlan
from pyobshell.tasks.stage import stage


class Parting(BaseModel):
    """Parameters of a removal."""

    agent: Address


async def remove(site: Site, request: AgentInfo) -> Dag | None:
    """Begin to remove an agent from a cluster that is not initialized; None: nothing to do.

    A FOLLOWER is asked only for itself (for others its master is asked).
    """
    view = site.cluster.view
    agent = Address.of(request.ip, request.port)
    itself = agent == site.own
    parting = Parting(agent=agent)
    if view.identity is Identity.SINGLE and itself:
        return None
    view.require(Identity.MASTER, *((Identity.FOLLOWER, Identity.SINGLE) if itself else ()))
    if view.identity is Identity.FOLLOWER:
        nodes = [NodePlan(leave_master), NodePlan(become_single)]
        return await site.submit(DagPlan("Follower remove self", nodes, parting, LOCKED))
    if itself:
        nodes = [NodePlan(remove_follower, view.others)] if view.others else []
        nodes.append(NodePlan(remove_master))
        return await site.submit(DagPlan("Remove all agents", nodes, parting, LOCKED))
    if view.member(agent) is None:
        return None
    name = f"Remove follower agent {agent}"
    return await site.submit(DagPlan(name, [NodePlan(remove_follower, [agent])], parting, LOCKED))


@stage("Remove follower", Ability.CONTINUE | Ability.RETRY | Ability.PASS)
async def remove_follower(run: Run, parting: Parting) -> None:
    """Tell a follower that it is one no longer, and strike it off the list."""
    site = run.site
    patience = Deadline.after(site.settings.rpc_timeout_s)
    try:
        await site.peers.call(run.agent, dismissed, Nothing(), patience)
    except errors.OBShellError as error:
        if error.code is not errors.RPC_REQUEST_FAILED:
            raise
        run.log(f"WARNING: {run.agent} cannot be reached; it is struck off without its knowledge")
    await strike_off(site, run.agent)
    run.log(f"{run.agent} is removed")


@stage("Remove master", Ability.CONTINUE | Ability.RETRY)
async def remove_master(run: Run, parting: Parting) -> None:
    """Stop leading."""
    await forget_cluster(run.site)
    run.log(f"{run.site.own} is SINGLE")


@stage("Leave master", Ability.CONTINUE | Ability.RETRY)
async def leave_master(run: Run, parting: Parting) -> None:
    """Have the master strike this agent off its list."""
    site = run.site
    patience = Deadline.after(site.settings.rpc_timeout_s)
    await site.peers.call(site.cluster.view.master, leaves, Nothing(), patience)
    run.log(f"{site.cluster.view.master} has struck {site.own} off")


@stage("Follower remove self", Ability.CONTINUE | Ability.RETRY)
async def become_single(run: Run, parting: Parting) -> None:
    """Stop following."""
    await forget_cluster(run.site)
    run.log(f"{run.site.own} is SINGLE")


@procedure("agent/dismissed")
async def dismissed(site: Site, caller: Caller, request: Nothing) -> Nothing:
    """The master has removed this agent."""
    view = site.cluster.view
    view.require(Identity.FOLLOWER)
    if caller.address != view.master:
        raise errors.INCORRECT_TOKEN(cause=f"{caller.address} is not the master")
    await forget_cluster(site)
    return Nothing()


async def forget_cluster(site: Site) -> None:
    """Be member of nothing, and forget the cluster with its password and what was set for it."""
    if site.ocs is not None:
        await site.ocs.leave()
    await site.cluster.save(ClusterView(own=site.own), lambda known: known.with_root(None))
    await site.cluster.forget_server_options()
    site.engine.use_password("")


STAGES = (remove_follower, remove_master, leave_master, become_single)
PROCEDURES = (dismissed,)
