"""What a cluster to be is told before it is initialized: its name, password and server options."""

from __future__ import annotations

import re

from pydantic import BaseModel

from pyobshell import errors
from pyobshell.address import parse_port
from pyobshell.cluster.model import ClusterView, Identity
from pyobshell.operations.join import LOCKED
from pyobshell.operations.names import require_plain
from pyobshell.operations.scope import ScopeType, resolve
from pyobshell.operations.site import Run, Site
from pyobshell.requests import ObclusterConfigRequest, ObserverConfigRequest
from pyobshell.security.hybrid import decrypt_password
from pyobshell.tasks.model import Ability, Dag, DagPlan, NodePlan
from pyobshell.tasks.stage import stage

_FORBIDDEN = {
    "cluster_id",
    "cluster",
    "rootPwd",
    "rootservice_list",
    "zone",
    "local_ip",
    "devname",
}
_OLD_SPELLINGS = {"mysqlPort": "mysql_port", "rpcPort": "rpc_port"}
_PORTS = ("mysql_port", "rpc_port")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LARGEST_ID = 2**32 - 1
_WORDS = ("syslog_level",)  # words of their own in the command of a server
_CIPHERTEXT_CHARS = 172  # base64 of one RSA block of 1024 bits


class ClusterSettings(BaseModel):
    """Parameters of ``Update cluster config``; the password as sealed by the vault."""

    cluster_id: int
    cluster_name: str
    sealed_password: str


class ServerOptions(BaseModel):
    """Parameters of ``Update observer config``."""

    scope: ScopeType
    targets: list[str]
    options: dict[str, str]


async def configure_cluster(site: Site, request: ObclusterConfigRequest) -> Dag:
    """Begin to set the cluster's id, name and root password; only a MASTER can."""
    if not 0 < request.clusterId <= _LARGEST_ID:
        raise errors.CLUSTER_ID_INVALID(id=request.clusterId)
    if not request.clusterName.strip():
        raise errors.CLUSTER_NAME_EMPTY()
    require_plain("clusterName", request.clusterName)
    _require_master(site.cluster.view)
    password = request.rootPwd
    if len(password) >= _CIPHERTEXT_CHARS:
        password = decrypt_password(site.key, password)
    settings = ClusterSettings(
        cluster_id=request.clusterId,
        cluster_name=request.clusterName,
        sealed_password=site.vault.seal(password),
    )
    nodes = [NodePlan(update_cluster_config)]
    return await site.submit(DagPlan("Update cluster config", nodes, settings, LOCKED))


async def configure_servers(site: Site, request: ObserverConfigRequest) -> Dag:
    """Begin to set options of the servers in a scope; only a MASTER can."""
    if not request.observerConfig:
        raise errors.ILLEGAL_ARGUMENT(name="observerConfig", reason="it is empty")
    options = checked_options(request.observerConfig)
    view = site.cluster.view
    _require_master(view)
    targets = resolve(request.scope, view)
    named: list[str] = []
    if targets.type is ScopeType.ZONE:
        named = list(targets.zones)
    elif targets.type is ScopeType.SERVER:
        named = [str(agent) for agent in targets.agents]
    params = ServerOptions(scope=targets.type, targets=named, options=options)
    nodes = [NodePlan(update_observer_config)]
    return await site.submit(DagPlan("Update observer config", nodes, params, LOCKED))


def _require_master(view: ClusterView) -> None:
    if view.identity is Identity.CLUSTER_AGENT:
        raise errors.CLUSTER_ALREADY_INITIALIZED()
    view.require(Identity.MASTER)


def checked_options(given: dict[str, str]) -> dict[str, str]:
    """Server options under their present names; each a plain name, each value one line."""
    options: dict[str, str] = {}
    for spelled, value in given.items():
        name = _OLD_SPELLINGS.get(spelled, spelled)
        if name in _FORBIDDEN:
            raise errors.ILLEGAL_ARGUMENT(name=spelled, reason="it cannot be set here")
        if not _NAME.fullmatch(name):
            raise errors.ILLEGAL_ARGUMENT(name=spelled, reason="it is not the name of an option")
        if name in _PORTS:
            parse_port(value)
        require_plain(spelled, value)
        if value.startswith("-") and name in _WORDS:
            raise errors.ILLEGAL_ARGUMENT(name=spelled, reason="it would be taken for an option")
        if options.setdefault(name, value) != value:
            raise errors.ILLEGAL_ARGUMENT(name=spelled, reason="it is given twice, differently")
    return options


@stage("Update cluster config", Ability.CONTINUE | Ability.RETRY)
async def update_cluster_config(run: Run, settings: ClusterSettings) -> None:
    """Keep the cluster's id, name and password."""
    cluster = run.site.cluster
    named = {"cluster_id": settings.cluster_id, "cluster_name": settings.cluster_name}
    root = run.site.vault.open_text(settings.sealed_password)
    await cluster.change(
        lambda view: view.model_copy(update=named), lambda known: known.with_root(root)
    )
    run.log(f"The cluster is '{settings.cluster_name}', id {settings.cluster_id}")


@stage("Update observer config", Ability.CONTINUE | Ability.RETRY)
async def update_observer_config(run: Run, params: ServerOptions) -> None:
    """Keep the options until the servers are made."""
    await run.site.cluster.add_server_options(params.scope, params.targets, params.options)
    run.log(f"{len(params.options)} options kept for {params.scope} {' '.join(params.targets)}")


STAGES = (update_cluster_config, update_observer_config)
