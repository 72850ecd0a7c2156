"""Routes that configure, make, start and stop a cluster."""

from __future__ import annotations

from fastapi import APIRouter, Response

from pyobshell.api.access import AUTHORISED, FOR_MASTER, SiteDep
from pyobshell.api.call import CallDep
from pyobshell.operations.configure import configure_cluster, configure_servers
from pyobshell.operations.init import initialize
from pyobshell.operations.start import start_cluster
from pyobshell.operations.stop import stop_cluster
from pyobshell.operations.task_dto import dag_dto
from pyobshell.wire import (
    DagDetailDTO,
    Envelope,
    InitRequest,
    ObclusterConfigRequest,
    ObserverConfigRequest,
    StartRequest,
    StopRequest,
)

router = APIRouter(tags=["cluster"], dependencies=[AUTHORISED])
_Dag = Envelope[DagDetailDTO]


@router.post("/ob/stop", response_model=_Dag)
async def post_stop(body: StopRequest, call: CallDep, site: SiteDep) -> Response:
    """StopCluster: stop the servers of a scope.

    `force` kills them, `terminate` flushes them first and verifies it, neither stops them gently
    (not for GLOBAL). The answer is the task, in state READY; follow it at `/task/dag/{id}`.
    """
    return call.answer(dag_dto(await stop_cluster(site, body), site.own, details=False))


@router.post("/ob/start", response_model=_Dag)
async def post_start(body: StartRequest, call: CallDep, site: SiteDep) -> Response:
    """StartCluster: start the servers of a scope; those that run are left alone."""
    return call.answer(dag_dto(await start_cluster(site, body), site.own, details=False))


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
