"""Answers questions about the DAGs of one store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from sqlalchemy import Connection

from pyobshell import errors
from pyobshell.store.database import Database
from pyobshell.tasks import locks, records
from pyobshell.tasks.model import Dag, LogLine, Maintenance, Node, State, SubTask

T = TypeVar("T")


class TaskReader:
    """The DAGs of one store, to be read."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def dag(self, dag_id: int, *, logs: bool = True) -> Dag:
        """A DAG with its nodes; raises ``Task.NotFound``."""
        dag = await self._database.read(lambda c: records.read_dag(c, dag_id, logs=logs))
        return found(dag, dag_id)

    async def head(self, dag_id: int) -> Dag:
        """A DAG without its nodes; raises ``Task.NotFound``."""
        return found(await self._database.read(lambda c: records.read_dag_head(c, dag_id)), dag_id)

    async def node(self, node_id: int) -> Node:
        """A node with its sub tasks; raises ``Task.NotFound``."""
        return found(await self._database.read(lambda c: records.read_node(c, node_id)), node_id)

    async def sub_task(self, sub_task_id: int) -> SubTask:
        """A sub task with its logs; raises ``Task.NotFound``."""
        return found(
            await self._database.read(lambda c: records.read_sub_task(c, sub_task_id)), sub_task_id
        )

    async def log(self, sub_task_id: int) -> list[LogLine]:
        """What a sub task logged, in all of its executions; raises ``Task.NotFound``."""

        def read(connection: Connection) -> list[LogLine]:
            found(records.read_sub_task(connection, sub_task_id), sub_task_id)
            return records.read_log(connection, sub_task_id)

        return await self._database.read(read)

    async def dags(self, *, unfinished: bool = False) -> list[Dag]:
        """DAGs in order of creation, with their nodes."""

        def read(connection: Connection) -> list[Dag]:
            ids = records.list_dag_ids(connection, unfinished=unfinished)
            return [found(records.read_dag(connection, i, logs=True), i) for i in ids]

        return await self._database.read(read)

    async def states(self, dag_ids: Sequence[int]) -> dict[int, State]:
        """The states of DAGs; one that does not exist is missing."""
        return await self._database.read(lambda c: records.read_states(c, dag_ids))

    async def newest(self, wanted: Callable[[Dag], bool]) -> Dag | None:
        """The DAG created last among those wanted, without its nodes; None if there is none."""

        def read(connection: Connection) -> Dag | None:
            ids = records.list_dag_ids(connection, unfinished=False)
            heads = (found(records.read_dag_head(connection, i), i) for i in reversed(ids))
            return next(filter(wanted, heads), None)

        return await self._database.read(read)

    async def newest_maintenance_dag(self) -> Dag | None:
        """The DAG created last among those that take a lock; None when there was never one."""

        def read(connection: Connection) -> Dag | None:
            dag_id = records.newest_maintenance_dag_id(connection)
            return None if dag_id is None else records.read_dag(connection, dag_id, logs=True)

        return await self._database.read(read)

    async def lock_holder(self, wanted: Maintenance) -> Dag | None:
        """The DAG that holds a lock in the way of ``wanted``, if any."""

        def read(connection: Connection) -> Dag | None:
            dag_id = locks.holder(connection, wanted)
            return None if dag_id is None else records.read_dag(connection, dag_id)

        return await self._database.read(read)


def found(record: T | None, number: int) -> T:
    """The record of a task, or the error that there is none."""
    if record is None:
        raise errors.TASK_NOT_FOUND(reason=f"no such task {number}")
    return record
