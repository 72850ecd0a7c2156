"""Routes that configure, make, start and stop a cluster."""

from __future__ import annotations

from fastapi import APIRouter, Response

from pyobshell.api.access import AUTHORISED, FOR_MASTER, SiteDep
from pyobshell.api.call import CallDep
from pyobshell.operations import emergency
from pyobshell.operations.configure import configure_cluster, configure_servers
from pyobshell.operations.init import initialize
from pyobshell.operations.rolling import restart_cluster
from pyobshell.operations.stop_zone import check_stop_zone, stop_zone
from pyobshell.operations.task_dto import dag_dto
from pyobshell.requests import (
    InitRequest,
    ObclusterConfigRequest,
    ObserverConfigRequest,
    RestartRequest,
    StartRequest,
    StopRequest,
    StopZoneRequest,
)
from pyobshell.wire import API_PREFIX, DagDetailDTO, Envelope, StopPreview

router = APIRouter(prefix=API_PREFIX, tags=["cluster"], dependencies=[AUTHORISED])
_Dag = Envelope[DagDetailDTO]


@router.post("/ob/stop", response_model=Envelope[DagDetailDTO | StopPreview])
async def post_stop(body: StopRequest, call: CallDep, site: SiteDep) -> Response:
    """StopCluster: stop the servers of a scope.

    `force` kills them, `terminate` flushes them first and verifies it, neither stops them gently
    (not for GLOBAL). The answer is the task, in state READY; follow it at `/task/dag/{id}`.
    With `dryRun` nothing is done: the answer is what would be, and why it would be refused.
    The own server alone is stopped in emergency mode if that is due.
    """
    if body.dryRun:
        seen = await emergency.preview(site, body, call.language, local=call.local)
        return call.answer(seen)
    dag = await emergency.stop(site, body, local=call.local)
    return call.answer(dag_dto(dag, site.own, details=False))


@router.post("/ob/zone/{zone}/stop", response_model=_Dag)
async def post_stop_zone(
    zone: str, body: StopZoneRequest, call: CallDep, site: SiteDep
) -> Response:
    """Stop a zone of a cluster: out of service by SQL, then its servers are killed.

    `freeze_server` flushes them before, and verifies it.
    """
    return call.answer(dag_dto(await stop_zone(site, zone, body), site.own, details=False))


@router.post("/ob/zone/{zone}/stop/check", response_model=Envelope[None])
async def post_check_stop_zone(
    zone: str, body: StopZoneRequest, call: CallDep, site: SiteDep
) -> Response:
    """Whether a zone could be stopped now; if not, the error says why."""
    await check_stop_zone(site, zone)
    return call.answer()


@router.post("/ob/start", response_model=_Dag)
async def post_start(body: StartRequest, call: CallDep, site: SiteDep) -> Response:
    """StartCluster: start the servers of a scope; those that run are left alone.

    The own server alone is started in emergency mode if that is due.
    """
    dag = await emergency.start(site, body, local=call.local)
    return call.answer(dag_dto(dag, site.own, details=False))


@router.post("/ob/restart", response_model=_Dag)
async def post_restart(body: RestartRequest, call: CallDep, site: SiteDep) -> Response:
    """Restart the servers of a scope, one zone after the other; the rest goes on serving.

    Each zone is back and in sync before the next is touched. At the first doubt the task fails and
    leaves all as it is; RETRY goes on from there.
    """
    return call.answer(dag_dto(await restart_cluster(site, body), site.own, details=False))


@router.post("/obcluster/config", response_model=_Dag, dependencies=[FOR_MASTER])
@router.put(
    "/obcluster/config", response_model=_Dag, dependencies=[FOR_MASTER], include_in_schema=False
)
async def post_obcluster_config(
    body: ObclusterConfigRequest, call: CallDep, site: SiteDep
) -> Response:
    """Set the id, name and root password of a cluster to be."""
    return call.answer(dag_dto(await configure_cluster(site, body), site.own, details=False))


@router.post("/observer/config", response_model=_Dag, dependencies=[FOR_MASTER])
@router.put(
    "/observer/config", response_model=_Dag, dependencies=[FOR_MASTER], include_in_schema=False
)
async def post_observer_config(
    body: ObserverConfigRequest, call: CallDep, site: SiteDep
) -> Response:
    """Set options of the servers to be: `mysql_port`, `data_dir`, any parameter of the server."""
    return call.answer(dag_dto(await configure_servers(site, body), site.own, details=False))


@router.post("/ob/init", response_model=_Dag, dependencies=[FOR_MASTER])
async def post_init(body: InitRequest, call: CallDep, site: SiteDep) -> Response:
    """Make the cluster: deploy and start every server, and set the root password."""
    return call.answer(dag_dto(await initialize(site, body), site.own, details=False))
