"""Waits for what happens to the DAGs of one store: on events, never by looking again and again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

from pyobshell import errors
from pyobshell.address import Address
from pyobshell.deadline import Deadline
from pyobshell.store.database import Database
from pyobshell.tasks.changes import Changes
from pyobshell.tasks.model import Dag
from pyobshell.tasks.reader import TaskReader

T = TypeVar("T")


class GoingDownError(errors.OBShellError):
    """The engine is stopped; to other agents it is as if this one could not be reached."""

    def __init__(self, own: Address) -> None:
        why: dict[str, object] = {"agent": own, "method": "a wait", "cause": "it is going down"}
        super().__init__(errors.RPC_REQUEST_FAILED, why)


class TaskWatcher(TaskReader):
    """The DAGs of one store, to be read and waited for; ``own`` is the agent that does."""

    def __init__(self, database: Database, own: Address) -> None:
        super().__init__(database)
        self._own = own
        self._changes = Changes()
        self._stopping = asyncio.Event()

    def let_go(self) -> None:
        """Have all waiting end; nothing happens any more."""
        self._stopping.set()
        self._changes.tell_all()

    async def wait(self, dag_id: int, wanted: Callable[[Dag], T | None], deadline: Deadline) -> T:
        """Wait until ``wanted`` gives something for the DAG (without nodes) as it stands.

        Raises TimeoutError if it does not in time, GoingDownError if the engine is stopped first.
        """
        change = self._changes.of(dag_id)
        head: Dag | None = None
        async with asyncio.timeout(deadline.remaining()):
            while True:
                if self._stopping.is_set():
                    raise GoingDownError(self._own)
                answer = wanted(head or await self.head(dag_id))
                if answer is not None:
                    return answer
                await change.wait()
                change, head = change.following, change.head

    async def wait_end(self, dag_id: int, deadline: Deadline) -> Dag:
        """Wait until a DAG has SUCCEEDed or FAILED; TimeoutError if it does not in time."""
        return await self.wait(dag_id, lambda dag: dag if dag.state.ended else None, deadline)

    async def hold(self, dag_id: int, seconds: float, seen_stage: int | None = None) -> None:
        """Wait until a DAG has ended or left the stage ``seen_stage``, or the time is over.

        If the engine is stopped meanwhile, the DAG as it stands is the answer as well.
        """

        def passed(dag: Dag) -> bool | None:
            moved = seen_stage is not None and dag.stage != seen_stage
            return True if dag.state.ended or moved else None

        with contextlib.suppress(TimeoutError, GoingDownError):
            await self.wait(dag_id, passed, Deadline.after(seconds))

    async def follow(self, dag_id: int, deadline: Deadline) -> AsyncIterator[Dag]:
        """A DAG with its logs, now and after each change and line; raises as ``wait``."""
        change = self._changes.of(dag_id)
        while not self._stopping.is_set():
            change.with_lines = True
            yield await self.dag(dag_id)
            async with asyncio.timeout(deadline.remaining()):
                await change.wait()
            change = change.following
        raise GoingDownError(self._own)
