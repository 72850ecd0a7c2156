"""Answers questions about tasks, asking the agent that a task belongs to."""

from __future__ import annotations

import contextlib
from typing import TypeVar

from pydantic import BaseModel

from pyobshell import errors
from pyobshell.address import Address
from pyobshell.cluster.model import Identity
from pyobshell.cluster.procedures import Caller, Nothing, Procedure, procedure
from pyobshell.deadline import Deadline
from pyobshell.errors import OBShellError
from pyobshell.operations.site import Site
from pyobshell.tasks.engine import GoingDownError
from pyobshell.tasks.ids import GenericId
from pyobshell.tasks.model import Dag, Node, State, SubTask
from pyobshell.tasks.operators import parse_operator
from pyobshell.wire import DagDetailDTO, ExecuteAgent, NodeDetailDTO, TaskDetailDTO

Req = TypeVar("Req", bound=BaseModel)
Res = TypeVar("Res", bound=BaseModel)


class Question(BaseModel):
    """A task by its number in its agent's store, and how the answer is to be.

    The answer about a DAG that runs is held back up to ``hold_ms``, until the DAG ends or leaves
    the stage ``seen_stage``.
    """

    number: int
    details: bool = True
    hold_ms: int = 0
    seen_stage: int | None = None


class Order(BaseModel):
    """An operator for a task."""

    number: int
    operator: str


class Dags(BaseModel):
    """Some DAGs."""

    dags: list[DagDetailDTO]


# --- by generic id -------------------------------------------------------------------------------


async def get_dag(
    site: Site, task_id: str, *, details: bool, hold_ms: int = 0, seen_stage: int | None = None
) -> DagDetailDTO:
    """A DAG, wherever it is; raises ``Task.GenericID.Invalid`` or ``Task.NotFound``."""
    where = _locate(site, task_id)
    question = Question(
        number=where.number, details=details, hold_ms=hold_ms, seen_stage=seen_stage
    )
    return await _ask(site, where, answer_dag, question, hold_ms / 1000)


async def get_node(site: Site, task_id: str, *, details: bool) -> NodeDetailDTO:
    """A node, wherever it is."""
    where = _locate(site, task_id)
    return await _ask(site, where, answer_node, Question(number=where.number, details=details))


async def get_sub_task(site: Site, task_id: str) -> TaskDetailDTO:
    """A sub task, wherever it is."""
    where = _locate(site, task_id)
    return await _ask(site, where, answer_sub_task, Question(number=where.number))


async def operate_dag(site: Site, task_id: str, operator: str) -> None:
    """Apply an operator to a DAG, wherever it is."""
    parse_operator(operator)
    where = _locate(site, task_id)
    await _ask(site, where, order_dag, Order(number=where.number, operator=operator))


async def operate_node(site: Site, task_id: str, operator: str) -> None:
    """Pass a node, wherever it is."""
    where = _locate(site, task_id)
    await _ask(site, where, order_node, Order(number=where.number, operator=operator))


# --- lists ---------------------------------------------------------------------------------------


async def unfinished_here(site: Site) -> list[Dag]:
    """This agent's unfinished DAGs."""
    return await site.tasks.dags(unfinished=True)


async def unfinished_everywhere(site: Site, *, details: bool) -> list[DagDetailDTO]:
    """The unfinished DAGs of every agent that can be reached."""
    return await _ask_all(site, answer_unfinished, Question(number=0, details=details))


async def newest_maintenance_of(
    site: Site, agent: Address, *, details: bool
) -> DagDetailDTO | None:
    """The newest maintenance DAG of an agent, if it ever had one."""
    question = Question(number=0, details=details)
    patience = Deadline.after(site.settings.rpc_timeout_s)
    found = await site.peers.call(agent, answer_newest_maintenance, question, patience)
    return found.dags[0] if found.dags else None


async def newest_maintenance_everywhere(site: Site, *, details: bool) -> list[DagDetailDTO]:
    """For each agent that can be reached and has one, its newest maintenance DAG."""
    return await _ask_all(site, answer_newest_maintenance, Question(number=0, details=details))


# --- what other agents ask -----------------------------------------------------------------------


@procedure("task/dag")
async def answer_dag(site: Site, caller: Caller, question: Question) -> DagDetailDTO:
    """One of this agent's DAGs."""
    if question.hold_ms:
        await _hold(site, question)
    dag = await site.tasks.dag(question.number, logs=question.details)
    return dag_dto(dag, site.own, details=question.details)


@procedure("task/node")
async def answer_node(site: Site, caller: Caller, question: Question) -> NodeDetailDTO:
    """One of this agent's nodes."""
    node = await site.tasks.node(question.number)
    dto = node_dto(node, site.own)
    if not question.details:
        return dto.model_copy(update={"sub_tasks": None})
    dag = await site.tasks.dag(node.dag_id, logs=False)
    return dto.model_copy(update={"additional_data": dag.data})


@procedure("task/sub_task")
async def answer_sub_task(site: Site, caller: Caller, question: Question) -> TaskDetailDTO:
    """One of this agent's sub tasks."""
    return sub_task_dto(await site.tasks.sub_task(question.number), site.own)


@procedure("task/operate_dag")
async def order_dag(site: Site, caller: Caller, order: Order) -> Nothing:
    """Apply an operator to one of this agent's DAGs."""
    await site.tasks.operate(order.number, parse_operator(order.operator))
    return Nothing()


@procedure("task/operate_node")
async def order_node(site: Site, caller: Caller, order: Order) -> Nothing:
    """Pass one of this agent's nodes."""
    await site.tasks.operate_node(order.number, order.operator)
    return Nothing()


@procedure("task/unfinished")
async def answer_unfinished(site: Site, caller: Caller, question: Question) -> Dags:
    """This agent's unfinished DAGs."""
    dags = await unfinished_here(site)
    return Dags(dags=[dag_dto(dag, site.own, details=question.details) for dag in dags])


@procedure("task/newest_maintenance")
async def answer_newest_maintenance(site: Site, caller: Caller, question: Question) -> Dags:
    """This agent's newest maintenance DAG, if it ever had one."""
    dag = await site.tasks.newest_maintenance_dag()
    return Dags(dags=[dag_dto(dag, site.own, details=question.details)] if dag else [])


async def _hold(site: Site, question: Question) -> None:
    def passed(dag: Dag) -> bool | None:
        moved = question.seen_stage is not None and dag.stage != question.seen_stage
        return True if dag.state.ended or moved else None

    # If the agent goes down meanwhile, the task as it stands is the answer as well.
    with contextlib.suppress(TimeoutError, GoingDownError):
        await site.tasks.wait(question.number, passed, Deadline.after(question.hold_ms / 1000))


def _locate(site: Site, task_id: str) -> GenericId:
    """Where a task is; a cluster has no store of its own unless its database is distributed."""
    where = GenericId.parse(task_id)
    if where.agent is None or where.obproxy:
        raise errors.TASK_NOT_FOUND(reason=f"no such task {task_id}")
    view = site.cluster.view
    reachable = view.identity is Identity.MASTER or view.member(where.agent) is not None
    if where.agent != site.own and not reachable:
        raise errors.TASK_NOT_FOUND(reason=f"{where.agent} is not a member of this cluster")
    return where


async def _ask(
    site: Site,
    where: GenericId,
    asked: Procedure[Site, Req, Res],
    request: Req,
    extra_s: float = 0,
) -> Res:
    patience = Deadline.after(site.settings.rpc_timeout_s + extra_s)
    try:
        return await site.peers.call(where.agent or site.own, asked, request, patience)
    except OBShellError as error:
        if error.code is errors.TASK_NOT_FOUND:
            raise errors.TASK_NOT_FOUND(reason=f"no such task {where}") from None
        raise


async def _ask_all(
    site: Site, asked: Procedure[Site, Question, Dags], question: Question
) -> list[DagDetailDTO]:
    agents: list[Address] = site.cluster.view.addresses or [site.own]
    patience = Deadline.after(site.settings.rpc_timeout_s)
    answers = await site.peers.call_all(agents, asked, question, patience)
    return [
        dag
        for answer in answers.values()
        if not isinstance(answer, OBShellError)
        for dag in answer.dags
    ]


# --- records as they travel ----------------------------------------------------------------------


def dag_dto(dag: Dag, own: Address, *, details: bool) -> DagDetailDTO:
    """A DAG in OBShell's shape."""
    has_data = bool(dag.data) or dag.max_stage > 1
    return DagDetailDTO(
        id=str(GenericId(dag.id, own)),
        dag_id=dag.id,
        name=dag.name,
        stage=dag.stage,
        max_stage=dag.max_stage,
        maintenance_type=int(dag.maintenance.type),
        maintenance_key=dag.maintenance.key,
        state=dag.state,
        operator=dag.operator,
        start_time=dag.start_time,
        end_time=dag.end_time,
        additional_data=dag.data if details and has_data else None,
        nodes=[node_dto(node, own) for node in dag.nodes] if details else None,
    )


def node_dto(node: Node, own: Address) -> NodeDetailDTO:
    """A node in OBShell's shape."""
    return NodeDetailDTO(
        id=str(GenericId(node.id, own)),
        node_id=node.id,
        name=node.name,
        state=node.state,
        operator=node.operator,
        start_time=node.start_time,
        end_time=node.end_time,
        sub_tasks=[sub_task_dto(task, own) for task in node.sub_tasks],
    )


def sub_task_dto(task: SubTask, own: Address) -> TaskDetailDTO:
    """A sub task in OBShell's shape."""
    begun = task.state not in (State.PENDING, State.READY)
    return TaskDetailDTO(
        id=str(GenericId(task.id, own)),
        task_id=task.id,
        name=task.name,
        state=task.state,
        operator=task.operator,
        start_time=task.start_time,
        end_time=task.end_time,
        execute_times=task.execute_times,
        execute_agent=ExecuteAgent(ip=task.agent.ip, port=task.agent.port),
        task_logs=list(task.logs) if begun else None,
    )


PROCEDURES = (
    answer_dag,
    answer_node,
    answer_sub_task,
    order_dag,
    order_node,
    answer_unfinished,
    answer_newest_maintenance,
)
