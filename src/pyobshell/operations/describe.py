"""Describes the cluster: its agents, its servers, and how each of them is."""

from __future__ import annotations

from pyobshell.cluster.model import ClusterView, Identity, Member
from pyobshell.cluster.procedures import Nothing
from pyobshell.deadline import Deadline
from pyobshell.engines.base import ObState
from pyobshell.errors import OBShellError
from pyobshell.operations import server, views
from pyobshell.operations.reached import unreachable
from pyobshell.operations.site import Site
from pyobshell.operations.views import Reading
from pyobshell.settings import API_VERSION
from pyobshell.wire import AgentInstance, ObclusterInfo, ObInfo, ServerInfo, UnreachableAgent

_PATIENCE_S = 5.0


async def ob_info(site: Site) -> ObInfo:
    """The cluster as it is now.

    Where each server is whole by itself, one whose agent cannot be reached is INACTIVE: nobody
    knows better. Such agents are ``unreachable``.
    """
    view = site.cluster.view
    if view.identity in (Identity.SINGLE, Identity.UNIDENTIFIED):
        alone = AgentInstance(
            ip=site.own.ip, port=site.own.port, zone="", identity=view.identity, version=API_VERSION
        )
        return ObInfo(agent_info=[alone], obcluster_info=ObclusterInfo(id=0, name="", version=""))
    agents = [_agent(member) for member in view.members]
    cluster, silent = await _servers(site)
    return ObInfo(agent_info=agents, obcluster_info=cluster, unreachable=silent)


def _agent(member: Member) -> AgentInstance:
    return AgentInstance(
        ip=member.ip,
        port=member.port,
        zone=member.zone,
        identity=member.identity,
        version=member.version,
    )


async def _servers(site: Site) -> tuple[ObclusterInfo, list[UnreachableAgent]]:
    view: ClusterView = site.cluster.view
    version = await site.engine.version()
    topology: dict[str, list[ServerInfo]] | None = None
    silent: list[UnreachableAgent] = []
    if view.identity is Identity.CLUSTER_AGENT:
        deadline = Deadline.after(2 * _PATIENCE_S)
        topology = await _by_the_cluster(site, deadline)
        if not topology:
            topology, silent = await _by_the_agents(site, deadline)
    info = ObclusterInfo(
        id=view.cluster_id, name=view.cluster_name, version=version, topology=topology
    )
    return info, silent


async def _by_the_cluster(site: Site, deadline: Deadline) -> dict[str, list[ServerInfo]] | None:
    """What the servers' own cluster tells; none if they form none, or nobody can be asked."""
    if site.engine.cluster is None:
        return None
    try:
        patience = deadline.within(_PATIENCE_S)
        seen = await views.look(site, Reading(log_streams=False), patience)
    except OBShellError:
        return None
    agents = {member.server: member.port for member in site.cluster.view.members}
    topology: dict[str, list[ServerInfo]] = {zone.name: [] for zone in seen.zones}
    for row in seen.servers:
        info = ServerInfo(
            svr_ip=row.address.ip,
            svr_port=row.address.port,
            sql_port=row.sql_port,
            agent_port=agents.get(row.address, 0),
            with_rootserver="YES" if row.with_rootserver else "NO",
            status=seen.status_of(row),
            build_version=_release(row.build_version),
        )
        topology.setdefault(row.zone, []).append(info)
    return topology


async def _by_the_agents(
    site: Site, deadline: Deadline
) -> tuple[dict[str, list[ServerInfo]], list[UnreachableAgent]]:
    view = site.cluster.view
    topology: dict[str, list[ServerInfo]] = {zone: [] for zone in view.zones}
    answers = await site.peers.call_all(
        view.addresses, server.status, Nothing(), deadline, if_there=True
    )
    for member in view.members:
        topology[member.zone].append(_server(member, answers[member.address]))
    return topology, unreachable(view, answers)


def _server(member: Member, answer: server.ServerStatus | OBShellError) -> ServerInfo:
    serves = not isinstance(answer, OBShellError) and answer.state is ObState.CONNECTION_AVAILABLE
    return ServerInfo(
        svr_ip=member.ip,
        svr_port=member.rpc_port,
        sql_port=member.mysql_port,
        agent_port=member.port,
        with_rootserver="NO",
        status="ACTIVE" if serves else "INACTIVE",
        build_version=_release(member.server_version),
    )


def _release(version: str) -> str:
    return version.partition("-")[0]
