"""Routes by which a running cluster grows and shrinks."""

from __future__ import annotations

from fastapi import APIRouter, Response

from pyobshell.api.access import AUTHORISED, SiteDep
from pyobshell.api.call import CallDep
from pyobshell.operations.delete_zone import delete_zone
from pyobshell.operations.scale_in import scale_in
from pyobshell.operations.scale_out import scale_out
from pyobshell.operations.task_dto import dag_dto
from pyobshell.requests import ScaleInRequest, ScaleOutRequest
from pyobshell.wire import API_PREFIX, DagDetailDTO, Envelope

router = APIRouter(prefix=API_PREFIX, tags=["cluster"], dependencies=[AUTHORISED])
_Dag = Envelope[DagDetailDTO]


@router.post("/ob/scale_out", response_model=_Dag)
async def post_scale_out(body: ScaleOutRequest, call: CallDep, site: SiteDep) -> Response:
    """Take a SINGLE agent into the cluster: its server is made, started and added to the zone.

    A zone that does not exist is made. ROLLBACK undoes all of it.
    """
    return call.answer(dag_dto(await scale_out(site, body), None, details=False))


@router.post(
    "/ob/scale_in",
    response_model=_Dag,
    responses={204: {"description": "There is no such server"}},
)
@router.delete("/observer", response_model=_Dag, include_in_schema=False)
async def post_scale_in(body: ScaleInRequest, call: CallDep, site: SiteDep) -> Response:
    """Remove a server from the cluster, and its agent; what is on it is moved before.

    CANCEL and ROLLBACK bring the server back as long as it is not gone.
    """
    dag = await scale_in(site, body)
    return call.nothing() if dag is None else call.answer(dag_dto(dag, None, details=False))


@router.delete(
    "/zone/{zone}",
    response_model=_Dag,
    responses={204: {"description": "There is no such zone"}},
)
async def remove_zone(zone: str, call: CallDep, site: SiteDep) -> Response:
    """Remove a zone that has no resource units, with its servers and agents."""
    dag = await delete_zone(site, zone)
    return call.nothing() if dag is None else call.answer(dag_dto(dag, None, details=False))
