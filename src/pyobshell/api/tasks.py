"""Routes that show tasks and operate them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from pyobshell import errors
from pyobshell.api.access import AUTHORISED, SiteDep
from pyobshell.api.call import CallDep
from pyobshell.cluster.model import Identity
from pyobshell.operations import inquire
from pyobshell.operations.task_dto import dag_dto
from pyobshell.requests import OperatorRequest
from pyobshell.wire import (
    API_PREFIX,
    Contents,
    DagDetailDTO,
    DagsOfAgents,
    Envelope,
    NodeDetailDTO,
    TaskDetailDTO,
    TaskLogDTO,
)

router = APIRouter(prefix=f"{API_PREFIX}/task", tags=["tasks"], dependencies=[AUTHORISED])

Details = Annotated[bool, Query(alias="show_details", description="with nodes and data")]
_Dags = Envelope[Contents[DagDetailDTO]]
_DagsOfAgents = Envelope[DagsOfAgents]


@router.get("/dag/unfinish", response_model=_DagsOfAgents)
async def get_unfinished(call: CallDep, site: SiteDep, details: Details = True) -> Response:
    """The tasks of all agents and of the cluster that have not ended, or hold a lock still."""
    return call.answer(await inquire.unfinished_everywhere(site, details=details))


@router.get("/dag/ob/unfinish", response_model=_Dags)
async def get_cluster_unfinished(call: CallDep, site: SiteDep, details: Details = True) -> Response:
    """The tasks in the cluster's own store that have not ended, or hold a lock still."""
    site.cluster.view.require(Identity.CLUSTER_AGENT)
    return call.contents(await inquire.cluster_dags(site, unfinished=True, details=details))


@router.get("/dags/ob", response_model=_Dags)
async def get_cluster_dags(call: CallDep, site: SiteDep, details: Details = True) -> Response:
    """The tasks in the cluster's own store; none where servers share none."""
    site.cluster.view.require(Identity.CLUSTER_AGENT)
    return call.contents(await inquire.cluster_dags(site, unfinished=False, details=details))


@router.get("/dag/agent/unfinish", response_model=_Dags)
async def get_agent_unfinished(call: CallDep, site: SiteDep, details: Details = True) -> Response:
    """This agent's tasks that have not ended, or failed and still hold its lock."""
    dags = await inquire.unfinished_here(site)
    return call.contents([dag_dto(dag, site.own, details=details) for dag in dags])


@router.get("/dag/agent/main_dags", response_model=_DagsOfAgents)
async def get_main_dags(call: CallDep, site: SiteDep, details: Details = True) -> Response:
    """The tasks that hold agents: those whose parts at any agent are unfinished."""
    return call.answer(await inquire.main_dags(site, details=details))


@router.get("/dags/agent", response_model=_Dags)
async def get_agent_dags(call: CallDep, site: SiteDep, details: Details = True) -> Response:
    """All tasks of this agent."""
    dags = await site.tasks.dags()
    return call.contents([dag_dto(dag, site.own, details=details) for dag in dags])


@router.get("/dag/maintain/ob", response_model=Envelope[DagDetailDTO])
async def get_newest_cluster_maintenance(
    call: CallDep, site: SiteDep, details: Details = True
) -> Response:
    """The newest maintenance task in the cluster's own store."""
    dag = await inquire.newest_cluster_maintenance(site, details=details)
    if dag is None:
        raise errors.TASK_NOT_FOUND(reason="there was no maintenance task of the cluster yet")
    return call.answer(dag)


@router.get("/dag/maintain/agent", response_model=Envelope[DagDetailDTO])
async def get_newest_agent_maintenance(
    call: CallDep, site: SiteDep, details: Details = True
) -> Response:
    """The newest maintenance task of the agent that was asked, finished or not."""
    agent = call.forwarder or site.own
    dag = await inquire.newest_maintenance_of(site, agent, details=details)
    if dag is None:
        raise errors.TASK_NOT_FOUND(reason=f"{agent} has had no maintenance task yet")
    return call.answer(dag)


@router.get("/dag/maintain/agents", response_model=_DagsOfAgents)
async def get_newest_maintenance(call: CallDep, site: SiteDep, details: Details = True) -> Response:
    """For each agent its newest maintenance task; agents that have none are missing."""
    return call.answer(await inquire.newest_maintenance_everywhere(site, details=details))


@router.get("/dag/{id}", response_model=Envelope[DagDetailDTO])
async def get_dag(
    id: str,
    call: CallDep,
    site: SiteDep,
    details: Details = True,
    hold_ms: Annotated[
        int | None,
        Query(ge=0, le=30_000, description="hold the answer while the task runs; 0: do not"),
    ] = None,
    seen_stage: Annotated[
        int | None, Query(description="let a held answer go once the task has left this stage")
    ] = None,
) -> Response:
    """A task. While it runs, the answer is held for a moment, until it ends (see `hold_ms`)."""
    hold = site.settings.dag_hold_ms if hold_ms is None else hold_ms
    dag = await inquire.get_dag(site, id, details=details, hold_ms=hold, seen_stage=seen_stage)
    return call.answer(dag)


@router.post("/dag/{id}", response_model=Envelope[None])
async def post_dag(id: str, body: OperatorRequest, call: CallDep, site: SiteDep) -> Response:
    """Apply an operator to a task: ROLLBACK, RETRY, CANCEL or PASS."""
    await inquire.operate_dag(site, id, body.operator)
    return call.answer()


@router.get("/node/{id}", response_model=Envelope[NodeDetailDTO])
async def get_node(id: str, call: CallDep, site: SiteDep, details: Details = True) -> Response:
    """A stage of a task."""
    return call.answer(await inquire.get_node(site, id, details=details))


@router.post("/node/{id}", response_model=Envelope[None])
async def post_node(id: str, body: OperatorRequest, call: CallDep, site: SiteDep) -> Response:
    """Pass a failed stage, so that its task goes on with the next."""
    await inquire.operate_node(site, id, body.operator)
    return call.answer()


@router.get("/sub_task/{id}", response_model=Envelope[TaskDetailDTO])
async def get_sub_task(id: str, call: CallDep, site: SiteDep) -> Response:
    """One agent's part of a stage, with its log."""
    return call.answer(await inquire.get_sub_task(site, id))


@router.get("/sub_task/{id}/logs", response_model=Envelope[Contents[TaskLogDTO]])
async def get_sub_task_log(id: str, call: CallDep, site: SiteDep) -> Response:
    """What one agent's part of a stage logged, in all of its executions."""
    return call.contents(await inquire.get_log(site, id))
