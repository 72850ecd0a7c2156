"""Answers questions about tasks, asking the agent that a task belongs to.

Tasks in the cluster's own store are asked for here, and if the database cannot be used from here
then at the other agents in turn.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any, TypeVar

import structlog
from pydantic import BaseModel

from pyobshell import errors
from pyobshell.address import Address
from pyobshell.cluster.model import Identity
from pyobshell.cluster.procedures import Caller, Nothing, Procedure, procedure
from pyobshell.deadline import Deadline
from pyobshell.errors import OBShellError
from pyobshell.operations.cluster_tasks import ClusterTasks
from pyobshell.operations.reached import pointing, unreachable
from pyobshell.operations.site import Site
from pyobshell.operations.task_dto import dag_dto, log_dto, node_dto, sub_task_dto
from pyobshell.tasks.engine import TaskEngine
from pyobshell.tasks.ids import GenericId
from pyobshell.tasks.model import Dag
from pyobshell.tasks.operators import parse_operator
from pyobshell.wire import (
    DagDetailDTO,
    DagsOfAgents,
    NodeDetailDTO,
    TaskDetailDTO,
    TaskLogDTO,
)

_log = structlog.get_logger(__name__)
_NOT_FROM_THERE = (errors.SERVER_UNAVAILABLE, errors.RPC_REQUEST_FAILED)

Req = TypeVar("Req", bound=BaseModel)
Res = TypeVar("Res", bound=BaseModel)


class Question(BaseModel):
    """A task by its number in its store, and how the answer is to be.

    ``shared``: in the cluster's own store and not in that of the agent that is asked.
    The answer about a DAG that runs is held back up to ``hold_ms``, until the DAG ends or leaves
    the stage ``seen_stage``.
    """

    number: int
    shared: bool = False
    details: bool = True
    hold_ms: int = 0
    seen_stage: int | None = None


class Order(BaseModel):
    """An operator for a task."""

    number: int
    operator: str
    shared: bool = False


class Dags(BaseModel):
    """Some DAGs."""

    dags: list[DagDetailDTO]


class Lines(BaseModel):
    """What a sub task logged."""

    lines: list[TaskLogDTO]


# --- by generic id -------------------------------------------------------------------------------


async def get_dag(
    site: Site, task_id: str, *, details: bool, hold_ms: int = 0, seen_stage: int | None = None
) -> DagDetailDTO:
    """A DAG, wherever it is; raises ``Task.GenericID.Invalid`` or ``Task.NotFound``."""
    where = _locate(site, task_id)
    question = _question(where, details=details, hold_ms=hold_ms, seen_stage=seen_stage)
    return await _ask(site, where, answer_dag, question, hold_ms / 1000)


async def get_node(site: Site, task_id: str, *, details: bool) -> NodeDetailDTO:
    """A node, wherever it is."""
    where = _locate(site, task_id)
    return await _ask(site, where, answer_node, _question(where, details=details))


async def get_sub_task(site: Site, task_id: str) -> TaskDetailDTO:
    """A sub task, wherever it is."""
    where = _locate(site, task_id)
    return await _ask(site, where, answer_sub_task, _question(where))


async def get_log(site: Site, task_id: str) -> list[TaskLogDTO]:
    """What a sub task logged in all of its executions, wherever it is."""
    where = _locate(site, task_id)
    return (await _ask(site, where, answer_log, _question(where))).lines


async def operate_dag(site: Site, task_id: str, operator: str) -> None:
    """Apply an operator to a DAG, wherever it is."""
    parse_operator(operator)
    where = _locate(site, task_id)
    await _ask(site, where, order_dag, _order(where, operator))


async def operate_node(site: Site, task_id: str, operator: str) -> None:
    """Pass a node, wherever it is."""
    where = _locate(site, task_id)
    await _ask(site, where, order_node, _order(where, operator))


# --- lists ---------------------------------------------------------------------------------------


async def unfinished_here(site: Site) -> list[Dag]:
    """This agent's unfinished DAGs."""
    return await site.tasks.dags(unfinished=True)


async def unfinished_everywhere(site: Site, *, details: bool) -> DagsOfAgents:
    """The unfinished DAGs of every agent that can be reached, then those of the cluster.

    While the cluster's database cannot be used it is left out: who starts it needs the others.
    """
    question = Question(number=0, details=details)
    found = await _ask_all(site, answer_unfinished, question)
    try:
        found.contents += await cluster_dags(site, unfinished=True, details=details)
    except OBShellError as error:
        _log.warning("left out", action="task.unfinished", cause=str(error))
    return found


async def cluster_dags(site: Site, *, unfinished: bool, details: bool) -> list[DagDetailDTO]:
    """The DAGs in the cluster's own store: none where servers share none."""
    if not _has_store(site):
        return []
    asked = answer_unfinished if unfinished else answer_all
    question = Question(number=0, shared=True, details=details)
    return (await _ask_in_turn(site, asked, question)).dags


async def newest_cluster_maintenance(site: Site, *, details: bool) -> DagDetailDTO | None:
    """The newest maintenance DAG in the cluster's own store, if there ever was one."""
    if not _has_store(site):
        return None
    question = Question(number=0, shared=True, details=details)
    found = await _ask_in_turn(site, answer_newest_maintenance, question)
    return found.dags[0] if found.dags else None


async def newest_maintenance_of(
    site: Site, agent: Address, *, details: bool
) -> DagDetailDTO | None:
    """The newest maintenance DAG of an agent, if it ever had one."""
    question = Question(number=0, details=details)
    patience = Deadline.after(site.settings.rpc_timeout_s)
    found = await site.peers.call(agent, answer_newest_maintenance, question, patience)
    return found.dags[0] if found.dags else None


async def main_dags(site: Site, *, details: bool) -> DagsOfAgents:
    """The main DAGs, ended or not, whose parts at agents that can be reached are unfinished."""
    parts = await _ask_all(site, answer_unfinished, Question(number=0))
    named = [(part.additional_data or {}).get("main_dag_id") for part in parts.contents]
    wanted = dict.fromkeys(one for one in named if one is not None)
    asked = [get_dag(site, task_id, details=details) for task_id in wanted]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    found = DagsOfAgents(contents=[], unreachable=parts.unreachable)
    for answer in answers:
        if isinstance(answer, DagDetailDTO):
            found.contents.append(answer)
        elif not isinstance(answer, OBShellError):  # an agent out of reach, or rebuilt since
            raise answer
    return found


async def newest_maintenance_everywhere(site: Site, *, details: bool) -> DagsOfAgents:
    """For each agent that can be reached and has one, its newest maintenance DAG."""
    return await _ask_all(site, answer_newest_maintenance, Question(number=0, details=details))


# --- what other agents ask -----------------------------------------------------------------------


@procedure("task/dag")
async def answer_dag(site: Site, caller: Caller, question: Question) -> DagDetailDTO:
    """One of this agent's DAGs, or of the cluster's."""
    tasks, store = _tasks(site, question)
    if question.hold_ms:
        await tasks.hold(question.number, question.hold_ms / 1000, question.seen_stage)
    dag = await tasks.dag(question.number, logs=question.details)
    return dag_dto(dag, store, details=question.details)


@procedure("task/node")
async def answer_node(site: Site, caller: Caller, question: Question) -> NodeDetailDTO:
    """One of this agent's nodes, or of the cluster's."""
    tasks, store = _tasks(site, question)
    node = await tasks.node(question.number)
    dto = node_dto(node, store)
    if not question.details:
        return dto.model_copy(update={"sub_tasks": None})
    dag = await tasks.dag(node.dag_id, logs=False)
    return dto.model_copy(update={"additional_data": dag.data})


@procedure("task/sub_task")
async def answer_sub_task(site: Site, caller: Caller, question: Question) -> TaskDetailDTO:
    """One of this agent's sub tasks, or of the cluster's."""
    tasks, store = _tasks(site, question)
    return sub_task_dto(await tasks.sub_task(question.number), store)


@procedure("task/log")
async def answer_log(site: Site, caller: Caller, question: Question) -> Lines:
    """The log of one of this agent's sub tasks, or of the cluster's."""
    tasks, _ = _tasks(site, question)
    return Lines(lines=[log_dto(line) for line in await tasks.log(question.number)])


@procedure("task/operate_dag")
async def order_dag(site: Site, caller: Caller, order: Order) -> Nothing:
    """Apply an operator to one of this agent's DAGs, or of the cluster's."""
    tasks, _ = _tasks(site, order)
    await tasks.operate(order.number, parse_operator(order.operator))
    return Nothing()


@procedure("task/operate_node")
async def order_node(site: Site, caller: Caller, order: Order) -> Nothing:
    """Pass one of this agent's nodes, or of the cluster's."""
    tasks, _ = _tasks(site, order)
    await tasks.operate_node(order.number, order.operator)
    return Nothing()


@procedure("task/unfinished")
async def answer_unfinished(site: Site, caller: Caller, question: Question) -> Dags:
    """The unfinished DAGs of this agent, or of the cluster."""
    tasks, store = _tasks(site, question)
    dags = await tasks.dags(unfinished=True)
    return Dags(dags=[dag_dto(dag, store, details=question.details) for dag in dags])


@procedure("task/all")
async def answer_all(site: Site, caller: Caller, question: Question) -> Dags:
    """All DAGs of this agent, or of the cluster."""
    tasks, store = _tasks(site, question)
    dags = await tasks.dags()
    return Dags(dags=[dag_dto(dag, store, details=question.details) for dag in dags])


@procedure("task/newest_maintenance")
async def answer_newest_maintenance(site: Site, caller: Caller, question: Question) -> Dags:
    """The newest maintenance DAG of this agent, or of the cluster, if it ever had one."""
    tasks, store = _tasks(site, question)
    dag = await tasks.newest_maintenance_dag()
    return Dags(dags=[dag_dto(dag, store, details=question.details)] if dag else [])


def _tasks(
    site: Site, asked: Question | Order
) -> tuple[TaskEngine[Site] | ClusterTasks, Address | None]:
    """The tasks that are asked about, and whose store they are in."""
    return (site.require_ocs().tasks, None) if asked.shared else (site.tasks, site.own)


def _has_store(site: Site) -> bool:
    return site.ocs is not None and site.ocs.is_open


def _question(where: GenericId, **how: Any) -> Question:
    return Question(number=where.number, shared=where.agent is None, **how)


def _order(where: GenericId, operator: str) -> Order:
    return Order(number=where.number, operator=operator, shared=where.agent is None)


def _locate(site: Site, task_id: str) -> GenericId:
    """Where a task is; a cluster has no store of its own unless its database is distributed."""
    where = GenericId.parse(task_id)
    if where.obproxy or (where.agent is None and not _has_store(site)):
        raise errors.TASK_NOT_FOUND(reason=f"no such task {task_id}")
    if where.agent is None:
        return where
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
        if where.agent is None:
            return await _ask_in_turn(site, asked, request, extra_s)
        return await site.peers.call(
            where.agent,
            asked,
            request,
            patience,
            if_there=isinstance(request, Question),
            until_met=site.cluster.view.identity is Identity.MASTER,
        )
    except OBShellError as error:
        if error.code is errors.TASK_NOT_FOUND:
            raise errors.TASK_NOT_FOUND(reason=f"no such task {where}") from None
        if where.agent is None:
            raise
        raise pointing(site.cluster.view, where.agent, error) from None


async def _ask_in_turn(
    site: Site, asked: Procedure[Site, Req, Res], request: Req, extra_s: float = 0
) -> Res:
    """Ask this agent, and while the database cannot be used the others."""
    others = site.cluster.view.others
    random.shuffle(others)
    refusals, if_there = [], isinstance(request, Question)
    for agent in (site.own, *others):
        patience = Deadline.after(site.settings.rpc_timeout_s + extra_s)
        try:
            return await site.peers.call(agent, asked, request, patience, if_there=if_there)
        except OBShellError as error:
            if error.code not in _NOT_FROM_THERE:
                raise
            refusals.append(error)
    raise refusals[0]


async def _ask_all(
    site: Site, asked: Procedure[Site, Question, Dags], question: Question
) -> DagsOfAgents:
    agents = site.cluster.view.who_answer
    patience = Deadline.after(site.settings.rpc_timeout_s)
    answers = await site.peers.call_all(agents, asked, question, patience, if_there=True)
    found = DagsOfAgents(contents=[], unreachable=unreachable(site.cluster.view, answers))
    for answer in answers.values():
        if not isinstance(answer, OBShellError):
            found.contents += answer.dags
    return found


PROCEDURES = (
    answer_dag,
    answer_node,
    answer_sub_task,
    answer_log,
    order_dag,
    order_node,
    answer_unfinished,
    answer_all,
    answer_newest_maintenance,
)
