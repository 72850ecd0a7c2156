"""An agent that finds an observer beside it becomes a member of that observer's cluster.

The cluster was deployed by other means, or the agent has lost its files. Either way it is
UNIDENTIFIED until the cluster's own list of members (in ``ocs``) tells what it is:

    its row is missing   it adds one, as TAKE OVER FOLLOWER; but if every other server has an agent
                         by now it is the TAKE OVER MASTER, and makes all of them CLUSTER AGENTs
    its row is there     it is rebuilt: the row gets its new key, and the list is learnt
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import structlog
from pydantic import BaseModel
from sqlalchemy import Connection

from pyobshell import errors
from pyobshell.address import Address
from pyobshell.cluster import member_table
from pyobshell.cluster.model import ClusterView, Identity, Member
from pyobshell.cluster.procedures import Caller, Nothing, procedure
from pyobshell.deadline import Deadline
from pyobshell.engines.base import ServerConfig
from pyobshell.engines.ob_cluster import ServerRow
from pyobshell.errors import OBShellError
from pyobshell.operations import service
from pyobshell.operations.join import LOCKED, own_member
from pyobshell.operations.keeper import ServerSettings
from pyobshell.operations.site import Run, Site, require_cluster
from pyobshell.tasks.model import Ability, DagPlan, NodePlan
from pyobshell.tasks.stage import stage

_log = structlog.get_logger(__name__)
_AGAIN = Ability.CONTINUE | Ability.RETRY
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 30.0
_LOOK_S = 10.0
_STOPPED = "it was stopped, and stays down until it is started: obshell cluster start"
IDENTITIES = (Identity.TAKE_OVER_MASTER, Identity.TAKE_OVER_FOLLOWER)


class RootPasswordError(Exception):
    """The server beside the agent does not take the root password that the agent was given."""


class TakingOver(BaseModel):
    """Parameters of ``Take over`` and ``Rebuild``: there are none, all is in ``ocs``."""


@dataclass(frozen=True, slots=True)
class Registered:
    """What this agent is from now on, and whether its row was there before."""

    me: Member
    rebuilt: bool


# --- finding out what this agent is --------------------------------------------------------------


async def check_password(site: Site, password: str) -> None:
    """Raise RootPasswordError if the server is up, and refuses the password."""
    try:
        accepted = await site.engine.login(password)
    except OBShellError:
        return
    if not accepted:
        raise RootPasswordError("the password of root@sys is not accepted by the server here")


async def identify(site: Site, recorded: ServerConfig, password: str) -> None:
    """Find out what this agent is, and begin what follows from it; goes on until it is known."""
    pause = _FIRST_PAUSE_S
    site.unidentified = "looking for its place in the cluster of the server here"
    while True:
        try:
            registered = await _identify(site, recorded, password)
        except OBShellError as error:
            site.unidentified = str(error)
            _log.warning("not identified yet", action="takeover.look", cause=str(error))
        else:
            await _enter(site, recorded, password, registered)
            site.unidentified = ""
            return
        await asyncio.sleep(pause)  # the server may be starting, or without a majority
        pause = min(2 * pause, _LONGEST_PAUSE_S)


async def _identify(site: Site, recorded: ServerConfig, password: str) -> Registered:
    if recorded.ip != site.own.ip:
        raise errors.ILLEGAL_ARGUMENT(name="ip", reason=f"the server here is at {recorded.ip}")
    await _adopt(site, recorded, password)
    patience = Deadline.after(site.settings.start_timeout_s)

    def log(line: str) -> None:
        _log.info(line, action="takeover.start")

    if site.cluster.server_wanted is False:
        raise errors.SERVER_UNAVAILABLE(reason=_STOPPED)
    await site.keeper.start(log, patience)
    await service.until_usable(site.engine, log, patience)
    await site.require_ocs().create()
    servers = await require_cluster(site).servers(patience)
    mine = next((row for row in servers if row.address == (recorded.ip, recorded.rpc_port)), None)
    if mine is None:
        raise errors.SERVER_UNAVAILABLE(reason=f"it is no server of its cluster: {recorded.ip}")
    me = (await own_member(site, Identity.TAKE_OVER_FOLLOWER, mine.zone)).model_copy(
        update={"mysql_port": recorded.mysql_port, "rpc_port": recorded.rpc_port}
    )
    return await site.require_ocs().write(lambda connection: register(connection, me, servers))


async def _adopt(site: Site, recorded: ServerConfig, password: str) -> None:
    """Look after the server from now on; it was not this agent that deployed it."""
    site.engine.use_password(password)
    if not site.keeper.deployed:
        settings = ServerSettings(
            mysql_port=recorded.mysql_port,
            rpc_port=recorded.rpc_port or 0,
            zone=recorded.zone,
            cluster=recorded.cluster,
            cluster_id=recorded.cluster_id,
        )
        await site.cluster.remember_server(settings.model_dump_json())


def register(connection: Connection, me: Member, servers: Sequence[ServerRow]) -> Registered:
    """Find or add a server's agent in the cluster's list; one agent at a time can be here.

    Raises ``Agent.AlreadyExists`` if another agent, at another address, is the server's.
    """
    listed = member_table.read_shared(connection).members
    known = next((one for one in listed if one.server == me.server), None)
    if known is not None:
        if known.address != me.address:
            raise errors.AGENT_ALREADY_EXISTS(agent=known.address)
        me = me.model_copy(update={"identity": known.identity, "zone": known.zone})
    elif _is_last(me, listed, servers):
        me = me.model_copy(update={"identity": Identity.TAKE_OVER_MASTER})
    member_table.put_shared(connection, me)
    return Registered(me, known is not None)


def _is_last(me: Member, listed: Sequence[Member], servers: Sequence[ServerRow]) -> bool:
    """Whether every other server has an agent, and none of them leads the take-over."""
    looked_after = {one.server for one in listed}
    led = any(one.identity is Identity.TAKE_OVER_MASTER for one in listed)
    return not led and all(row.address in {me.server, *looked_after} for row in servers)


async def _enter(site: Site, recorded: ServerConfig, password: str, registered: Registered) -> None:
    me = registered.me
    _log.info("identified", action="takeover.known", identity=str(me.identity))
    view = ClusterView(
        own=site.own,
        identity=me.identity,
        cluster_id=recorded.cluster_id,
        cluster_name=recorded.cluster,
        members=(await site.require_ocs().members()).members,
    )
    await site.cluster.save(view, lambda known: known.with_root(password))
    if registered.rebuilt:
        await site.submit(_plan(view, f"Rebuild {me.identity}"))
    await resume(site)


async def resume(site: Site) -> None:
    """Take part in the cluster's store; an agent that leads the take-over goes on with it."""
    site.require_ocs().open()
    if site.cluster.view.identity is Identity.TAKE_OVER_FOLLOWER:
        site.background.begin(_lead_when_last(site))
    await _lead(site)


async def _lead(site: Site) -> None:
    view = site.cluster.view
    if view.identity is Identity.TAKE_OVER_MASTER and not await _is_under_way(site):
        await site.submit(_plan(view, "Take over"))


async def _lead_when_last(site: Site) -> None:
    """Wait for the others; lead if the last server without an agent has left the cluster."""
    pause = _FIRST_PAUSE_S
    while site.cluster.view.identity is Identity.TAKE_OVER_FOLLOWER:
        await asyncio.sleep(pause)  # nothing tells of a server that has left
        pause = min(2 * pause, _LONGEST_PAUSE_S)
        try:
            servers = await require_cluster(site).servers(Deadline.after(_LOOK_S))
            if await site.require_ocs().write(partial(lead_if_last, site.own, servers)):
                await site.require_ocs().synchronize()
                await _lead(site)
        except OBShellError as error:
            _log.info("not known yet", action="takeover.lead", cause=str(error))


def lead_if_last(own: Address, servers: Sequence[ServerRow], connection: Connection) -> bool:
    """Whether a follower leads from now on, as no server is without an agent any more."""
    listed = member_table.read_shared(connection).members
    me = next((one for one in listed if one.address == own), None)
    if me is None or me.identity not in IDENTITIES:
        return False
    if me.identity is Identity.TAKE_OVER_FOLLOWER:
        if not _is_last(me, listed, servers):
            return False
        leading = me.model_copy(update={"identity": Identity.TAKE_OVER_MASTER})
        member_table.put_shared(connection, leading)
    return True


async def _is_under_way(site: Site) -> bool:
    return bool(await site.tasks.dags(unfinished=True))


def _plan(view: ClusterView, name: str) -> DagPlan:
    nodes = [NodePlan(synchronize_self)]
    if view.identity is Identity.TAKE_OVER_MASTER:
        nodes.append(NodePlan(convert_followers))
        if view.others:
            nodes.append(NodePlan(synchronize_others, view.others))
        nodes += [NodePlan(convert_master), NodePlan(synchronize_all, view.addresses)]
    return DagPlan(name, nodes, TakingOver(), LOCKED)


# --- the stages of Take over, and of Rebuild ------------------------------------------------------


@stage("Synchronize agent from cluster", _AGAIN, key="takeover.synchronize_self")
async def synchronize_self(run: Run, task: TakingOver) -> None:
    """Learn the cluster's list of members."""
    await run.site.require_ocs().synchronize()
    run.log(f"{run.site.own} is {run.site.cluster.view.identity} in the cluster's list")


@stage("Convert follower to cluster agent", _AGAIN, key="takeover.convert_followers")
async def convert_followers(run: Run, task: TakingOver) -> None:
    """From here on those that waited are members like any other."""
    await _convert(run, Identity.TAKE_OVER_FOLLOWER)


@stage("Convert master to cluster agent", _AGAIN, key="takeover.convert_master")
async def convert_master(run: Run, task: TakingOver) -> None:
    """This agent is a member like any other."""
    await _convert(run, Identity.TAKE_OVER_MASTER)


async def synchronize_one(run: Run, task: TakingOver) -> None:
    """Have one agent learn the list; one out of reach does so by itself when it is back."""
    patience = Deadline.after(run.site.settings.rpc_timeout_s)
    try:
        await run.site.peers.call(run.agent, refresh, Nothing(), patience, again=True)
    except OBShellError as error:
        if error.code is not errors.RPC_REQUEST_FAILED:
            raise
        run.log(f"WARNING: {run.agent} learns it later: {error}")
    else:
        run.log(f"{run.agent} knows the cluster")


synchronize_others = stage(
    "Synchronize agent from cluster", _AGAIN, key="takeover.synchronize_others"
)(synchronize_one)
synchronize_all = stage("Synchronize agent from cluster", _AGAIN, key="takeover.synchronize_all")(
    synchronize_one
)


async def _convert(run: Run, identity: Identity) -> None:
    def convert(connection: Connection) -> None:
        listed = member_table.read_shared(connection).members
        for member in listed:
            if member.identity is identity:
                converted = {"identity": Identity.CLUSTER_AGENT}
                member_table.put_shared(connection, member.model_copy(update=converted))

    await run.site.require_ocs().write(convert)
    await run.site.require_ocs().synchronize()
    run.log(f"Every {identity} is a {Identity.CLUSTER_AGENT} now")


@procedure("agent/refresh", for_guests=True)
async def refresh(site: Site, caller: Caller, request: Nothing) -> Nothing:
    """Learn the cluster's list anew.

    Who leads a take-over need not be on the list as it is known here yet.
    """
    if not caller.member and site.cluster.view.identity not in IDENTITIES:
        raise errors.INCORRECT_TOKEN(cause=f"{caller.address} is not a member")
    await site.require_ocs().synchronize()
    return Nothing()


STAGES = (synchronize_self, convert_followers, synchronize_others, convert_master, synchronize_all)
PROCEDURES = (refresh,)
