"""Scale out: an agent that belongs to nothing becomes a member, its new server one of a zone.

The new agent's part is its own DAG (``operations.local_scale_out``), which it carries out step by
step as this one, in the cluster's own store, tells it. Undone, the server is out of the cluster
before it is removed.
"""

from __future__ import annotations

from pydantic import BaseModel

from pyobshell import errors
from pyobshell.address import Address
from pyobshell.cluster.model import ClusterView, Identity, Member
from pyobshell.deadline import Deadline
from pyobshell.engines.ob_cluster import ACTIVE, ObCluster, ServerRow
from pyobshell.errors import OBShellError
from pyobshell.operations import invited, roster
from pyobshell.operations.configure import checked_options
from pyobshell.operations.deletion import delete_for_good
from pyobshell.operations.held import ask_until_done
from pyobshell.operations.init import server_settings
from pyobshell.operations.invited import Candidate, Invitation, Knock, Step, Undoing
from pyobshell.operations.join import LOCKED
from pyobshell.operations.keeper import ServerSettings
from pyobshell.operations.local_scale_out import (
    DEPLOY,
    DEPLOYED,
    DONE,
    FINISH,
    READY,
    START,
    STARTED,
)
from pyobshell.operations.names import require_plain
from pyobshell.operations.retirement import SCALE_OUT
from pyobshell.operations.service import until_in_service
from pyobshell.operations.site import Run, Site, require_cluster
from pyobshell.requests import ScaleOutRequest
from pyobshell.security.keys import PublicKey
from pyobshell.security.proof import is_proved, prove
from pyobshell.settings import API_VERSION
from pyobshell.tasks.model import Ability, Dag, DagPlan, NodePlan
from pyobshell.tasks.stage import stage
from pyobshell.wire import API_PREFIX

_INVITING_S, _UNDOING_S = 60.0, 300.0


class Growth(BaseModel):
    """Parameters of ``Cluster scale out``; by the ticket the new agent lets this cluster in."""

    member: Member
    server: ServerSettings
    ticket: str


# --- validation ----------------------------------------------------------------------------------


async def scale_out(site: Site, request: ScaleOutRequest) -> Dag:
    """Check that the agent and its server to be fit the cluster, and begin to take them in.

    Raises, with nothing recorded and nothing changed: ``Agent.Identify.NotSupportOperation`` (this
    agent or the new one), the errors of addresses, options and versions, ``Agent.AlreadyExists``,
    ``Common.IllegalArgument`` (ports, zone, password), or ``OB.Cluster.UnderMaintenanceWithDag``.
    """
    view = site.cluster.view
    view.require(Identity.CLUSTER_AGENT)
    cluster = require_cluster(site)
    target = Address.of(request.agentInfo.ip, request.agentInfo.port)
    if not request.zone.strip():
        raise errors.ZONE_NAME_EMPTY()
    require_plain("zone", request.zone)
    server = server_settings(view, request.zone, checked_options(request.obConfigs))
    if view.member(target) is not None:
        raise errors.AGENT_ALREADY_EXISTS(agent=target)
    await _check_agent(site, target)
    patience = Deadline.after(site.settings.rpc_timeout_s)
    _check_ports(view, await cluster.servers(patience), target, server)
    is_new = await _is_new(cluster, request.zone, patience)
    secret = await site.peers.ask(target, f"{API_PREFIX}/secret")
    key = PublicKey.from_text(secret["public_key"])
    site.peers.meet(target, key.text)
    found = await _probe(site, target, key.text, request.targetAgentPassword, patience)
    place = {"zone": request.zone, "mysql_port": server.mysql_port, "rpc_port": server.rpc_port}
    growth = Growth(
        member=found.member.model_copy(update={**place, **target.wire, "public_key": key.text}),
        server=server,
        ticket=found.ticket,
    )
    return await site.require_ocs().tasks.submit(plan(growth, is_new=is_new))


async def _probe(
    site: Site, target: Address, key: str, password: str, deadline: Deadline
) -> Candidate:
    """What the new agent would be; with a password, only if what answers there knows it as well.

    It would be given the password of root, so it must be no other than the agent that is meant.
    """
    own_key = site.key.public_text
    knock = Knock(proof=await prove(password, own_key, key) if password else "")
    found = await site.peers.call(target, invited.probe, knock, deadline)
    if password and not await is_proved(found.proof, password, key, own_key):
        raise errors.ILLEGAL_ARGUMENT(
            name="targetAgentPassword", reason=f"{target} has no agent password, or another one"
        )
    return found


async def _check_agent(site: Site, target: Address) -> None:
    """The new agent must belong to nothing, and have the versions of this one."""
    info = await site.peers.ask(target, f"{API_PREFIX}/info")
    if info["identity"] != Identity.SINGLE:
        raise errors.IDENTITY_NOT_SUPPORTED(
            agent=target, identity=info["identity"], needed=Identity.SINGLE
        )
    version = await site.engine.version()
    if info["obVersion"] != version:
        raise errors.AGENT_OB_VERSION_INCONSISTENT(
            agent=target, version=info["obVersion"], other=site.own, other_version=version
        )
    if info["version"] != API_VERSION:
        newer = _number(info["version"]) > _number(API_VERSION)
        differs = (
            errors.CLUSTER_SCALE_OUT_HIGHER_VERSION
            if newer
            else errors.CLUSTER_SCALE_OUT_LOWER_VERSION
        )
        raise differs(agent=target, version=info["version"], own_version=API_VERSION)


def _number(version: str) -> list[int]:
    """A version text ``4.5.0.0-0`` as numbers that can be compared."""
    return [int(part) for part in version.replace("-", ".").split(".") if part.isdigit()]


def _check_ports(
    view: ClusterView, rows: list[ServerRow], agent: Address, settings: ServerSettings
) -> None:
    """No server of that host may have a port of the new one, nor any agent."""
    server = Address(agent.ip, settings.rpc_port)
    wanted = {settings.mysql_port, settings.rpc_port}
    if len(wanted) == 1:
        raise errors.ILLEGAL_ARGUMENT(name="obConfigs", reason="mysql_port and rpc_port are equal")
    for other in (agent, *view.addresses):
        if other.ip == agent.ip and other.port in wanted:
            raise errors.ILLEGAL_ARGUMENT(
                name="obConfigs", reason=f"agent {other} has port {other.port}"
            )
    for row in rows:
        if row.address == server:
            raise errors.AGENT_ALREADY_EXISTS(agent=server)
        taken = {row.address.port, row.sql_port} & wanted
        if row.address.ip == server.ip and taken:
            raise errors.ILLEGAL_ARGUMENT(
                name="obConfigs", reason=f"server {row.address} has port {taken.pop()}"
            )


async def _is_new(cluster: ObCluster, zone: str, deadline: Deadline) -> bool:
    """Whether there is no such zone yet; raises if it is stopped, for then it takes no server."""
    found = [row for row in await cluster.zones(deadline) if row.name == zone]
    if found and found[0].status != ACTIVE:
        raise errors.ILLEGAL_ARGUMENT(
            name="zone", reason=f"{zone} is {found[0].status}; start it first"
        )
    return not found


def plan(growth: Growth, *, is_new: bool) -> DagPlan:
    """The stages of ``Cluster scale out``; a zone that is new is made by it."""
    stages = [
        *(integrate_config, create_local_dag, wait_ready, wait_deployed, wait_started, check),
        *((add_zone, start_zone) if is_new else ()),
        *(add_server, add_agent, check_finished),
    ]
    return DagPlan(SCALE_OUT, [NodePlan(one) for one in stages], growth, LOCKED)


# --- the new agent, and the server beside it -----------------------------------------------------


@stage("Integrate server config", Ability.BOTH_WAYS)
async def integrate_config(run: Run, growth: Growth) -> None:
    """Say what is going to be."""
    server, member = growth.server, growth.member
    run.log(
        f"{member.address} in zone {member.zone}: SQL port {server.mysql_port}, rpc port "
        f"{server.rpc_port}"
    )


async def _undo_local_dag(run: Run, growth: Growth) -> None:
    """Have the new agent undo its part; if it is out of reach it does so when it comes back."""
    agent = _meet(run, growth)
    undoing = Undoing(cluster_dag_id=run.generic_id)
    patience, told = run.deadline.within(_UNDOING_S), run.log_from(agent)
    try:
        await run.site.peers.call(agent, invited.undo, undoing, patience, told, again=True)
    except OBShellError as error:
        if error.code is errors.INCORRECT_TOKEN:
            run.log(f"{agent} knows nothing of this cluster, there is nothing to undo")
        elif error.code is errors.RPC_REQUEST_FAILED:
            run.log(f"WARNING: {agent} is to undo its part when it comes back: {error}")
        else:
            raise
    else:
        run.log(f"{agent} is SINGLE again")


@stage("Create local scale out dag", Ability.BOTH_WAYS, undo=_undo_local_dag)
async def create_local_dag(run: Run, growth: Growth) -> None:
    """Have the new agent lock itself for this, and let the members of the cluster in."""
    site, agent = run.site, _meet(run, growth)
    view = site.cluster.view
    invitation = Invitation(
        ticket=growth.ticket,
        cluster_dag_id=run.generic_id,
        cluster_id=view.cluster_id,
        cluster_name=view.cluster_name,
        members=(*view.members, growth.member),
        server=growth.server,
        root_password=site.cluster.passwords.root,
    )
    patience = run.deadline.within(_INVITING_S)
    made = await site.peers.call(agent, invited.begin, invitation, patience, again=True)
    run.log(f"{agent} is {Identity.SCALING_OUT}: DAG {made.id}")
    run.publish(local_dags={str(agent): made.id})


@stage("Wait scale out ready", Ability.BOTH_WAYS)
async def wait_ready(run: Run, growth: Growth) -> None:
    """Know that the new agent is locked and waits."""
    await _advance(run, growth, None, READY)


@stage("Wait remote deploy finish", Ability.BOTH_WAYS)
async def wait_deployed(run: Run, growth: Growth) -> None:
    """Have the server's directories made."""
    await _advance(run, growth, DEPLOY, DEPLOYED)


@stage("Wait remote start finish", Ability.BOTH_WAYS)
async def wait_started(run: Run, growth: Growth) -> None:
    """Have the server started; it is no server of the cluster yet."""
    await _advance(run, growth, START, STARTED)


async def _advance(run: Run, growth: Growth, signal: str | None, until_stage: int) -> None:
    agent = _meet(run, growth)
    step = Step(
        cluster_dag_id=run.generic_id,
        signal=signal,
        until_stage=until_stage,
        seen_lines=run.data.get("seen_lines", 0),
    )

    def told(line: str) -> None:
        step.seen_lines += 1
        run.log(f"{agent} {line}")

    await ask_until_done(run, agent, invited.advance, step, told)
    run.publish(seen_lines=step.seen_lines)


def _meet(run: Run, growth: Growth) -> Address:
    """The new agent, which is no other than the one that was checked."""
    run.site.peers.meet(growth.member.address, growth.member.public_key)
    return growth.member.address


# --- the cluster takes them in -------------------------------------------------------------------


@stage("Prev check for scale_out", Ability.BOTH_WAYS)
async def check(run: Run, growth: Growth) -> None:
    """See that the server is not one of the cluster's already."""
    rows = await require_cluster(run.site).servers(run.deadline)
    if any(row.address == growth.member.server for row in rows):
        raise errors.AGENT_ALREADY_EXISTS(agent=growth.member.server)
    run.log(f"{growth.member.server} can be added to zone {growth.member.zone}")


async def _delete_zone(run: Run, growth: Growth) -> None:
    cluster, zone = require_cluster(run.site), growth.member.zone
    if await cluster.has_zone(zone, run.deadline):
        await cluster.delete_zone(zone, run.deadline)
        run.log(f"zone {zone} is deleted")


@stage("Add new zone for scale_out", Ability.BOTH_WAYS, undo=_delete_zone, retry_undoes=False)
async def add_zone(run: Run, growth: Growth) -> None:
    """Make the zone, unless an earlier attempt has."""
    cluster, zone = require_cluster(run.site), growth.member.zone
    if not await cluster.has_zone(zone, run.deadline):
        await cluster.add_zone(zone, None, run.deadline)
    run.log(f"zone {zone} is added")


async def _stop_zone(run: Run, growth: Growth) -> None:
    cluster, zone = require_cluster(run.site), growth.member.zone
    if await cluster.has_zone(zone, run.deadline):
        await cluster.stop_zone(zone, run.deadline)
        run.log(f"zone {zone} is stopped")


@stage("Start new zone for scale_out", Ability.BOTH_WAYS, undo=_stop_zone, retry_undoes=False)
async def start_zone(run: Run, growth: Growth) -> None:
    """Start the zone: a new one is stopped, and takes no server."""
    await require_cluster(run.site).start_zone(growth.member.zone, run.deadline)
    run.log(f"zone {growth.member.zone} is started")


async def _delete_server(run: Run, growth: Growth) -> None:
    cluster = require_cluster(run.site)
    await delete_for_good(cluster, {growth.member.server}, run.log, run.deadline)


# Undone before a RETRY it could not be done again: a server that was deleted is not empty.
@stage("Add server for scale_out", Ability.BOTH_WAYS, undo=_delete_server, retry_undoes=False)
async def add_server(run: Run, growth: Growth) -> None:
    """Make the server one of the zone, unless an earlier attempt has."""
    cluster, server = require_cluster(run.site), growth.member.server
    if server not in {row.address for row in await cluster.servers(run.deadline)}:
        await cluster.add_server(server, growth.member.zone, run.deadline)
    run.log(f"server {server} is added to zone {growth.member.zone}")


async def _delete_agent(run: Run, growth: Growth) -> None:
    await roster.strike_off(run, growth.member.address)


@stage("Add agent for scale_out", Ability.BOTH_WAYS, undo=_delete_agent, retry_undoes=False)
async def add_agent(run: Run, growth: Growth) -> None:
    """Make the agent a member, and let all others know."""
    await roster.enter(run, growth.member, Identity.CLUSTER_AGENT)


@stage("Check cluster scale_out whether finished", Ability.BOTH_WAYS)
async def check_finished(run: Run, growth: Growth) -> None:
    """See the server serve, and the agent know that it is a member."""
    patience = run.deadline.within(run.site.settings.start_timeout_s)
    await until_in_service(run.site, {growth.member.server}, run.log, patience)
    await _advance(run, growth, FINISH, DONE)


STAGES = (
    integrate_config,
    create_local_dag,
    wait_ready,
    wait_deployed,
    wait_started,
    check,
    add_zone,
    start_zone,
    add_server,
    add_agent,
    check_finished,
)
