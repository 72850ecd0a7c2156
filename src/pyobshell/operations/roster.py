"""Changes of the cluster's list of members: written to ``ocs``, then told to every agent.

An agent that cannot be told now finds the new list by its version, before long.
"""

from __future__ import annotations

from pyobshell.address import Address
from pyobshell.cluster.member_table import MemberList
from pyobshell.cluster.model import ClusterView, Identity, Member
from pyobshell.cluster.procedures import Caller, Nothing, procedure
from pyobshell.deadline import Deadline
from pyobshell.errors import OBShellError
from pyobshell.operations.retirement import look_whether_parted
from pyobshell.operations.site import Run, Site


async def enter(run: Run, member: Member, identity: Identity) -> None:
    """Have the list show a member with this identity, also if it is not on it yet."""
    shown = member.model_copy(update={"identity": identity})
    await run.site.require_ocs().enter_member(shown)
    run.log(f"{member.address} is {identity}")
    await _spread(run)


async def strike_off(run: Run, agent: Address) -> None:
    """Take an agent off the list; no harm if it is not on it."""
    await run.site.require_ocs().remove_member(agent)
    run.log(f"{agent} is no member any more")
    await _spread(run)


async def _spread(run: Run) -> None:
    site = run.site
    listed = await site.require_ocs().members()
    patience = Deadline.after(site.settings.rpc_timeout_s)
    agents = [member.address for member in listed.members]
    for agent, answer in (await site.peers.call_all(agents, learn, listed, patience)).items():
        if isinstance(answer, OBShellError):
            run.log(f"WARNING: {agent} will learn of it later: {answer}")


@procedure("roster/learn")
async def learn(site: Site, caller: Caller, listed: MemberList) -> Nothing:
    """Take over a newer list of members, and what this agent is on it."""

    def adopt(view: ClusterView) -> ClusterView:
        # One that is being scaled out takes the list over when it has done its part.
        newer = listed.version > view.members_version
        waits = view.identity is Identity.SCALING_OUT
        return listed.adopted_by(view) if newer and not waits else view

    await site.cluster.change(adopt)
    if site.cluster.view.identity is Identity.SCALING_IN:
        look_whether_parted(site)
    return Nothing()


PROCEDURES = (learn,)
