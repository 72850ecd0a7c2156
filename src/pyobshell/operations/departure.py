"""What ``Cluster scale in`` and ``Delete zone`` share: servers are deleted, and their agents part.

Deleted first and ended later, a server is on no log stream's list any more when its process is
killed. Its agent then forgets the cluster and is SINGLE; the server's files stay where they are
unless it was asked otherwise.
"""

from __future__ import annotations

import asyncio

from pydantic import BaseModel

from pyobshell import errors
from pyobshell.address import Address
from pyobshell.cluster.model import Identity, Member
from pyobshell.cluster.procedures import Nothing
from pyobshell.deadline import Deadline
from pyobshell.errors import OBShellError
from pyobshell.operations import deletion, retirement, roster, server
from pyobshell.operations.retirement import Retiring
from pyobshell.operations.site import Run, Site, require_cluster
from pyobshell.operations.sub_dag import Wanting, ready
from pyobshell.tasks.model import Ability
from pyobshell.tasks.stage import stage

_NO_WAY_BACK = Ability.CONTINUE | Ability.RETRY | Ability.PASS
_CALLING_OFF_S = 30.0
_LOOK_S = 30.0
_GONE = (errors.RPC_REQUEST_FAILED, errors.INCORRECT_TOKEN)


class Departure(BaseModel):
    """Parameters of both: who leaves, and of a zone that goes with them its name and region."""

    leaving: list[Member]
    zone: str = ""
    region: str = ""
    force: bool = False
    remove_data: bool = False

    @property
    def servers(self) -> list[Address]:
        """The servers, by their rpc ports."""
        return [member.server for member in self.leaving]

    @property
    def agents(self) -> list[Address]:
        """The agents."""
        return [member.address for member in self.leaving]


async def require_free(site: Site, departure: Departure, deadline: Deadline) -> None:
    """Raise the refusal of an agent whose lock is held: it could not part in the end.

    One that cannot be reached, or has forgotten the cluster, may be to go for just that.
    """
    answers = await site.peers.call_all(departure.agents, ready, Wanting(), deadline)
    for answer in answers.values():
        if isinstance(answer, OBShellError) and answer.code not in _GONE:
            raise answer


# --- the servers ---------------------------------------------------------------------------------


async def _call_off(run: Run, departure: Departure) -> None:
    cluster = require_cluster(run.site)
    await deletion.call_off(cluster, departure.servers, run.log, run.deadline)


@stage("Delete observer", Ability.BOTH_WAYS, undo=_call_off, retry_undoes=False)
async def delete_observer(run: Run, departure: Departure) -> None:
    """Have the cluster begin to delete the servers; it refuses what it cannot do without."""
    cluster = require_cluster(run.site)
    await deletion.begin_deletion(cluster, departure.servers, run.log, run.deadline)


@stage("Wait delete observer success", Ability.BOTH_WAYS)
async def wait_deleted(run: Run, departure: Departure) -> None:
    """Wait until the servers are gone; an operator who cancels that gets them back."""
    cluster = require_cluster(run.site)
    try:
        await deletion.begin_deletion(cluster, departure.servers, run.log, run.deadline)
        await deletion.until_gone(cluster, departure.servers, run.log, run.deadline)
    except asyncio.CancelledError:
        if run.cancelled():
            await _bring_back(run, departure)
        raise


async def _bring_back(run: Run, departure: Departure) -> None:
    cluster, patience = require_cluster(run.site), Deadline.after(_CALLING_OFF_S)
    try:
        await deletion.call_off(cluster, departure.servers, run.log, patience)
    except OBShellError as error:
        run.log(f"{error.logged()}; ROLLBACK tries it again")


@stage("Check multi paxos member alive", Ability.BOTH_WAYS)
async def check_majority(run: Run, departure: Departure) -> None:
    """See that every log stream keeps its majority without the servers that are to be killed."""
    patience = run.deadline.within(_LOOK_S)
    await deletion.require_majority(run.site, departure.servers, patience, run.log)
    run.log("every log stream keeps its majority")


# --- their agents --------------------------------------------------------------------------------


async def _be_members(run: Run, departure: Departure) -> None:
    for member in departure.leaving:
        await roster.enter(run, member, Identity.CLUSTER_AGENT)


@stage("Set agent to 'SCALING IN'", Ability.BOTH_WAYS, undo=_be_members, retry_undoes=False)
async def set_scaling_in(run: Run, departure: Departure) -> None:
    """Have the agents take part in nothing any more, coordination of this task included."""
    for member in departure.leaving:
        await roster.enter(run, member, Identity.SCALING_IN)
    if run.site.own in departure.agents:
        run.log(f"{run.site.own} coordinates no longer: another agent goes on")
        await asyncio.Event().wait()  # cut off with the lease, which only members can hold


async def _start_again(run: Run, departure: Departure) -> None:
    for agent in departure.agents:
        patience = run.deadline.within(run.site.settings.start_timeout_s)
        await run.site.peers.call(agent, server.start, Nothing(), patience, run.log_from(agent))


@stage("Try to inform to kill observer", Ability.BOTH_WAYS, undo=_start_again, retry_undoes=False)
async def kill_observer(run: Run, departure: Departure) -> None:
    """End the servers, as far as their agents can be reached: a host that is lost needs no kill."""
    for agent in departure.agents:
        patience = run.deadline.within(run.site.settings.stop_timeout_s)
        try:
            await run.site.peers.call(
                agent, server.kill, Nothing(), patience, run.log_from(agent), again=True
            )
        except OBShellError as error:
            if error.code is not errors.RPC_REQUEST_FAILED:
                raise
            run.log(f"WARNING: {agent} cannot be reached, its server is not killed: {error}")


@stage("Delete agent", _NO_WAY_BACK)
async def delete_agent(run: Run, departure: Departure) -> None:
    """Strike the agents off the list of members."""
    await _require_deleted(run, departure)
    for agent in departure.agents:
        await roster.strike_off(run, agent)


@stage("Delete agent", _NO_WAY_BACK, key="departure.delete_agent_and_part")
async def delete_agent_and_part(run: Run, departure: Departure) -> None:
    """Strike off agents whose servers are dead already, and have them forget the cluster."""
    await _require_deleted(run, departure)
    for agent in departure.agents:
        await roster.strike_off(run, agent)
    await _part(run, departure)


@stage("Try to inform to kill observer", _NO_WAY_BACK, key="departure.part")
async def part(run: Run, departure: Departure) -> None:
    """Have the agents end their servers, which are nobody's any more, and forget the cluster."""
    await _require_deleted(run, departure)
    await _part(run, departure)


async def _part(run: Run, departure: Departure) -> None:
    retiring = Retiring(cluster_dag_id=run.generic_id, remove_data=departure.remove_data)
    for member in departure.leaving:
        agent = member.address
        run.site.peers.meet(agent, member.public_key)
        patience = run.deadline.within(run.site.settings.stop_timeout_s)
        log = run.log_from(agent)
        try:
            await run.site.peers.call(agent, retirement.retire, retiring, patience, log, again=True)
        except OBShellError as error:
            if error.code is errors.INCORRECT_TOKEN:
                run.log(f"{agent} has forgotten the cluster already")
            elif error.code is errors.RPC_REQUEST_FAILED:
                run.log(f"WARNING: {agent} is to end its server when it comes back: {error}")
            else:
                raise
        else:
            run.log(f"{agent} is {Identity.SINGLE}")


async def _require_deleted(run: Run, departure: Departure) -> None:
    """Raise if the cluster, or a log stream of it, still counts on one of the servers."""
    cluster = require_cluster(run.site)
    rows = await deletion.rows_of(cluster, departure.servers, run.deadline)
    streams = await cluster.log_streams(run.deadline)
    needed = [str(one) for one in streams if one.is_on(departure.servers)]
    if rows or needed:
        still = ", ".join([*(str(row.address) for row in rows), *needed])
        raise errors.SERVER_UNAVAILABLE(reason=f"still needed by the cluster: {still}")


STAGES = (
    delete_observer,
    wait_deleted,
    check_majority,
    set_scaling_in,
    kill_observer,
    delete_agent,
    delete_agent_and_part,
    part,
)
