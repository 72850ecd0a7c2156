"""Reads DAGs, nodes, sub tasks and their logs out of the store."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, TextClause

from pyobshell.address import Address
from pyobshell.tasks import sql
from pyobshell.tasks.model import (
    Ability,
    Dag,
    LogLine,
    Maintenance,
    MaintenanceType,
    Node,
    Operator,
    State,
    SubTask,
)


def read_dag(connection: Connection, dag_id: int, *, logs: bool = False) -> Dag | None:
    """One DAG with its nodes and sub tasks, and their logs if asked for."""
    row = connection.execute(sql.DAG, {"id": dag_id}).first()
    if row is None:
        return None
    sub_tasks: dict[int, list[SubTask]] = defaultdict(list)
    log_query = sql.LOGS_OF_DAG if logs else None
    for task in _sub_tasks(connection, dag_id, sql.SUB_TASKS_OF_DAG, log_query):
        sub_tasks[task.node_id].append(task)
    nodes = connection.execute(sql.NODES_OF_DAG, {"id": dag_id})
    return _dag(row, tuple(_node(node, sub_tasks[node.id]) for node in nodes))


def read_dag_head(connection: Connection, dag_id: int) -> Dag | None:
    """One DAG without its nodes."""
    row = connection.execute(sql.DAG, {"id": dag_id}).first()
    return None if row is None else _dag(row)


def read_node(connection: Connection, node_id: int) -> Node | None:
    """One node with its sub tasks and their logs."""
    row = connection.execute(sql.NODE, {"id": node_id}).first()
    if row is None:
        return None
    tasks = _sub_tasks(connection, node_id, sql.SUB_TASKS_OF_NODE, sql.LOGS_OF_NODE)
    return _node(row, tasks)


def read_sub_task(connection: Connection, sub_task_id: int) -> SubTask | None:
    """One sub task with its logs."""
    tasks = _sub_tasks(connection, sub_task_id, sql.SUB_TASK, sql.LOGS_OF_SUB_TASK)
    return tasks[0] if tasks else None


def read_log(connection: Connection, sub_task_id: int) -> list[LogLine]:
    """What a sub task logged, in all of its executions."""
    return [
        LogLine(
            id=row.id,
            sub_task_id=row.sub_task_id,
            execute_times=row.execute_times,
            content=row.content,
            create_time=row.create_time,
        )
        for row in connection.execute(sql.LOGS_OF_SUB_TASK, {"id": sub_task_id})
    ]


def list_dag_ids(connection: Connection, *, unfinished: bool) -> list[int]:
    """DAGs in order of creation; "unfinished" are the living and the failed that hold a lock."""
    query = sql.UNFINISHED_DAG_IDS if unfinished else sql.DAG_IDS
    return list(connection.execute(query).scalars())


def read_states(connection: Connection, dag_ids: Sequence[int]) -> dict[int, State]:
    """The states of those of some DAGs that exist."""
    rows = connection.execute(sql.DAG_STATES, {"ids": dag_ids})
    return {row.id: State(row.state) for row in rows}


def list_ready_dag_ids(connection: Connection) -> list[int]:
    """DAGs that nobody has claimed, in order of creation."""
    return list(connection.execute(sql.READY_DAG_IDS).scalars())


def newest_maintenance_dag_id(connection: Connection) -> int | None:
    """The DAG created last among those that take a lock, finished or not."""
    return connection.execute(sql.NEWEST_MAINTENANCE_DAG_ID).scalar()


def _sub_tasks(
    connection: Connection, number: int, query: TextClause, log_query: TextClause | None
) -> list[SubTask]:
    rows = connection.execute(query, {"id": number}).all()
    lines: dict[int, list[str]] = defaultdict(list)
    if log_query is not None:
        for line in connection.execute(log_query, {"id": number}):
            lines[line.sub_task_id].append(line.content)
    return [_sub_task(row, lines[row.id]) for row in rows]


def _dag(row: Row[Any], nodes: tuple[Node, ...] = ()) -> Dag:
    return Dag(
        id=row.id,
        name=row.name,
        stage=row.stage,
        max_stage=row.max_stage,
        state=State(row.state),
        operator=Operator(row.operator),
        maintenance=Maintenance(MaintenanceType(row.maintenance_type), row.maintenance_key),
        params=row.params,
        data=json.loads(row.data),
        signals=frozenset(json.loads(row.signals)),
        start_time=row.start_time,
        end_time=row.end_time,
        nodes=nodes,
    )


def _node(row: Row[Any], sub_tasks: Sequence[SubTask]) -> Node:
    return Node(
        id=row.id,
        dag_id=row.dag_id,
        stage=row.stage,
        name=row.name,
        stage_key=row.stage_key,
        state=State(row.state),
        operator=Operator(row.operator),
        start_time=row.start_time,
        end_time=row.end_time,
        sub_tasks=tuple(sub_tasks),
    )


def _sub_task(row: Row[Any], logs: Sequence[str]) -> SubTask:
    return SubTask(
        id=row.id,
        node_id=row.node_id,
        dag_id=row.dag_id,
        name=row.name,
        state=State(row.state),
        operator=Operator(row.operator),
        agent=Address(row.agent_ip, row.agent_port),
        execute_times=row.execute_times,
        abilities=Ability(row.abilities),
        start_time=row.start_time,
        end_time=row.end_time,
        logs=tuple(logs),
    )
