"""Makes a cluster of agents that have come together: deploys and starts every server."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel

from pyobshell import errors
from pyobshell.address import Address
from pyobshell.cluster.model import ClusterView, Identity, Member
from pyobshell.cluster.procedures import Caller, Nothing, Procedure, procedure
from pyobshell.deadline import Deadline
from pyobshell.engines.base import ObState
from pyobshell.operations import server
from pyobshell.operations.birth import (
    Making,
    bootstrap,
    migrate_data,
    migrate_table,
)
from pyobshell.operations.join import DEFAULT_MYSQL_PORT, LOCKED
from pyobshell.operations.keeper import ServerSettings
from pyobshell.operations.passwords import Password
from pyobshell.operations.site import Run, Site
from pyobshell.requests import InitRequest
from pyobshell.tasks.model import Ability, Dag, DagPlan, NodePlan
from pyobshell.tasks.stage import stage

Req = TypeVar("Req", bound=BaseModel)
_CONVERSION = Ability.CONTINUE | Ability.RETRY
_PLACES = ("data_dir", "redo_dir")


async def initialize(site: Site, request: InitRequest) -> Dag:
    """Begin to make the cluster; only a MASTER can, and only one whose cluster has a name."""
    view = site.cluster.view
    if view.identity is Identity.CLUSTER_AGENT:
        raise errors.CLUSTER_ALREADY_INITIALIZED()
    view.require(Identity.MASTER)
    if not view.cluster_name:
        raise errors.CLUSTER_NAME_EMPTY()
    if request.import_script:
        raise errors.ILLEGAL_ARGUMENT(name="import_script", reason="this server has no scripts")
    making = Making(members=view.addresses)
    everywhere = view.addresses
    nodes = [
        NodePlan(integrate_config),
        NodePlan(create_workdir, everywhere),
        NodePlan(start_observer, everywhere),
    ]
    if site.engine.cluster is None:  # each server has a root user of its own
        nodes.append(NodePlan(see_it_serve, everywhere))
        asked = everywhere
    else:
        nodes += [NodePlan(bootstrap), NodePlan(migrate_table)]
        asked = [site.own]
    nodes.append(NodePlan(modify_password, asked))
    if request.create_proxyro_user:
        making.sealed_proxyro_password = site.vault.seal(request.proxyro_password)
        nodes.append(NodePlan(create_proxyro, asked))
    if site.engine.cluster is not None:
        nodes.append(NodePlan(migrate_data))
    nodes.append(NodePlan(convert_followers))
    if view.others:
        nodes.append(NodePlan(synchronize, view.others))
    nodes += [NodePlan(convert_master), NodePlan(synchronize_all, everywhere)]
    return await site.submit(DagPlan("Initialize cluster", nodes, making, LOCKED))


# --- making the servers --------------------------------------------------------------------------


@stage("Integrate config", Ability.BOTH_WAYS)
async def integrate_config(run: Run, making: Making) -> None:
    """Work out how each server is to be deployed; of two values for one option the later wins."""
    cluster = run.site.cluster
    taken: dict[tuple[str, int], Address] = {}
    ports: dict[Address, dict[str, int]] = {}
    plans: dict[str, dict[str, object]] = {}
    for member in cluster.view.members:
        options = await cluster.server_options(member)
        settings = server_settings(cluster.view, member.zone, options)
        given = [settings.rpc_port] if "rpc_port" in options else []
        for port in (settings.mysql_port, *given):
            other = taken.setdefault((member.ip, port), member.address)
            if other != member.address:
                raise errors.ILLEGAL_ARGUMENT(
                    name="mysql_port, rpc_port",
                    reason=f"{member.address} and {other} would share port {port}; "
                    "set them apart with observer/config, or let one join with other ports",
                )
        ports[member.address] = {
            "mysql_port": settings.mysql_port,
            "rpc_port": settings.rpc_port,
        }
        plans[str(member.address)] = settings.model_dump()
        run.log(f"{member.address} zone {member.zone}: SQL port {settings.mysql_port}")
    await cluster.change(
        lambda view: view.with_members(
            m.model_copy(update=ports.get(m.address, {})) for m in view.members
        )
    )
    run.publish(servers=plans)


def server_settings(view: ClusterView, zone: str, options: dict[str, str]) -> ServerSettings:
    """How a server of that zone is deployed; the rpc port follows the SQL port unless given."""
    rest = dict(options)
    mysql_port = int(rest.pop("mysql_port", DEFAULT_MYSQL_PORT))
    return ServerSettings(
        mysql_port=mysql_port,
        rpc_port=int(rest.pop("rpc_port", mysql_port + 1)),
        **{name: rest.pop(name, None) for name in _PLACES},
        log_level=rest.pop("syslog_level", None),
        zone=zone,
        cluster=view.cluster_name,
        cluster_id=view.cluster_id,
        parameters=rest,
    )


async def _undo_server(run: Run, making: Making) -> None:
    """Remove a server that was made in vain."""
    patience = run.deadline.within(run.site.settings.stop_timeout_s)
    await _ask(run, server.destroy, Nothing(), patience)


@stage("Create observer workdir", Ability.BOTH_WAYS, undo=_undo_server)
async def create_workdir(run: Run, making: Making) -> None:
    """Make the directories of one server."""
    settings = ServerSettings.model_validate(run.data["servers"][str(run.agent)])
    await _ask(run, server.deploy, settings, _short(run))


@stage("Start observer", Ability.BOTH_WAYS)
async def start_observer(run: Run, making: Making) -> None:
    """Start one server for the first time."""
    run.log(f"Start the server of {run.agent}")
    patience = run.deadline.within(run.site.settings.start_timeout_s)
    await _ask(run, server.start, Nothing(), patience)


@stage("Cluster boostrap", Ability.BOTH_WAYS)
async def see_it_serve(run: Run, making: Making) -> None:
    """See that one server serves; each is whole by itself and needs no more to be born."""
    patience = _short(run)
    status = await run.site.peers.call(run.agent, server.status, Nothing(), patience, again=True)
    if status.state is not ObState.CONNECTION_AVAILABLE:
        raise errors.SERVER_UNAVAILABLE(reason=f"{run.agent}: obState {int(status.state)}")
    run.log(f"{run.agent} serves, version {status.version}")


@stage("Modify password", Ability.BOTH_WAYS)
async def modify_password(run: Run, making: Making) -> None:
    """Give root its password on one server."""
    new = Password(password=run.site.cluster.passwords.root or "")
    await _ask(run, server.set_password, new, _short(run))


@stage("Create user: proxyro", Ability.BOTH_WAYS)
async def create_proxyro(run: Run, making: Making) -> None:
    """Make the user by which an obproxy reads."""
    password = run.site.vault.open_text(making.sealed_proxyro_password or "")
    await _ask(run, server.create_proxyro, Password(password=password), _short(run))


# --- becoming a cluster --------------------------------------------------------------------------


@stage("Convert follower to cluster agent", _CONVERSION)
async def convert_followers(run: Run, making: Making) -> None:
    """From here on the followers are members of a cluster; there is no way back."""
    await _convert(run, Identity.FOLLOWER)


@stage("Convert master to cluster agent", _CONVERSION)
async def convert_master(run: Run, making: Making) -> None:
    """The master becomes a member like any other."""
    await _convert(run, Identity.MASTER)
    if run.site.ocs is not None:
        await run.site.ocs.write_members(run.site.cluster.view.members)


async def synchronize_one(run: Run, making: Making) -> None:
    """Give one agent the list of members and the root password."""
    await run.site.peers.call(run.agent, learn, _knowledge(run.site), _short(run))
    run.log(f"{run.agent} knows the cluster")


synchronize = stage("Synchronize agent from cluster", _CONVERSION, key="init.synchronize")(
    synchronize_one
)
synchronize_all = stage("Synchronize agent from cluster", _CONVERSION, key="init.synchronize_all")(
    synchronize_one
)


async def _convert(run: Run, identity: Identity) -> None:
    converted = {"identity": Identity.CLUSTER_AGENT}

    def convert(view: ClusterView) -> ClusterView:
        whole = view.with_members(
            m.model_copy(update=converted) if m.identity is identity else m for m in view.members
        )
        return whole.model_copy(update=converted) if view.identity is identity else whole

    await run.site.cluster.change(convert)
    if run.site.ocs is not None:
        await run.site.ocs.write_members(run.site.cluster.view.members)
    run.log(f"Every {identity} is a {Identity.CLUSTER_AGENT} now")


def _short(run: Run) -> Deadline:
    return Deadline.after(run.site.settings.rpc_timeout_s)


async def _ask(
    run: Run, asked: Procedure[Site, Req, Nothing], request: Req, patience: Deadline
) -> None:
    """Have the agent of this sub task do what may be done twice, and log what it says."""
    log = run.log_from(run.agent)
    await run.site.peers.call(run.agent, asked, request, patience, log, again=True)


# --- what a member is told -----------------------------------------------------------------------


class Knowledge(BaseModel):
    """What every member knows of the cluster."""

    cluster_id: int
    cluster_name: str
    members: tuple[Member, ...]
    root_password: str | None


def _knowledge(site: Site) -> Knowledge:
    view = site.cluster.view
    return Knowledge(
        cluster_id=view.cluster_id,
        cluster_name=view.cluster_name,
        members=view.members,
        root_password=site.cluster.passwords.root,
    )


@procedure("agent/learn")
async def learn(site: Site, caller: Caller, knowledge: Knowledge) -> Nothing:
    """Learn the list of members, what this agent is among them, and the root password."""
    me = next((m for m in knowledge.members if m.address == site.own), None)
    if me is None:
        raise errors.AGENT_NOT_EXIST(agent=site.own)
    view = ClusterView(
        own=site.own,
        identity=me.identity,
        cluster_id=knowledge.cluster_id,
        cluster_name=knowledge.cluster_name,
        members=knowledge.members,
    )
    root = knowledge.root_password
    await site.cluster.save(view, lambda known: known.with_root(root))
    if knowledge.root_password is not None:
        site.engine.use_password(knowledge.root_password)
    if site.ocs is not None and me.identity is Identity.CLUSTER_AGENT:
        site.ocs.open()
    return Nothing()


STAGES = (
    integrate_config,
    create_workdir,
    start_observer,
    see_it_serve,
    modify_password,
    create_proxyro,
    convert_followers,
    synchronize,
    convert_master,
    synchronize_all,
)
PROCEDURES = (learn,)
