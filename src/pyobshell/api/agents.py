"""Routes by which agents come together and part."""

from __future__ import annotations

from fastapi import APIRouter, Response

from pyobshell.api.access import AUTHORISED, ForwardToMaster, SiteDep
from pyobshell.api.call import CallDep
from pyobshell.cluster.model import Identity
from pyobshell.operations.join import join
from pyobshell.operations.remove import remove
from pyobshell.operations.task_dto import dag_dto
from pyobshell.requests import AgentInfo, JoinRequest
from pyobshell.wire import API_PREFIX, DagDetailDTO, Envelope

router = APIRouter(prefix=API_PREFIX, tags=["agents"], dependencies=[AUTHORISED])


@router.post("/agent/join", response_model=Envelope[DagDetailDTO])
@router.post("/agent", response_model=Envelope[DagDetailDTO], include_in_schema=False)
async def post_join(body: JoinRequest, call: CallDep, site: SiteDep) -> Response:
    """Have this agent lead a cluster to be (``agentInfo`` its own), or follow another agent."""
    return call.answer(dag_dto(await join(site, body), site.own, details=False))


@router.post(
    "/agent/remove",
    response_model=Envelope[DagDetailDTO],
    responses={204: {"description": "There is nothing to remove"}},
)
@router.delete("/agent", response_model=Envelope[DagDetailDTO], include_in_schema=False)
async def post_remove(body: AgentInfo, call: CallDep, site: SiteDep) -> Response:
    """Remove an agent from a cluster that is not initialized; its MASTER: all of them."""
    itself = (body.ip, body.port) == tuple(site.own)
    if site.cluster.view.identity is Identity.FOLLOWER and not itself:
        raise ForwardToMaster
    dag = await remove(site, body)
    return call.nothing() if dag is None else call.answer(dag_dto(dag, site.own, details=False))
