"""Stages that do what a test writes down, and DAGs made of them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

from pydantic import BaseModel

from pyobshell.address import Address
from pyobshell.deadline import Deadline
from pyobshell.store.database import Database
from pyobshell.tasks.engine import TaskEngine
from pyobshell.tasks.model import (
    Ability,
    Dag,
    DagPlan,
    Maintenance,
    MaintenanceType,
    NodePlan,
    SubTask,
)
from pyobshell.tasks.stage import Run, Stage, stage
from support.waiting import PATIENCE_S, Gate, soon

OWN = Address("10.0.0.1", 2886)
OTHERS = (Address("10.0.0.2", 2886), Address("10.0.0.3", 2886))
GLOBAL_LOCK = Maintenance(MaintenanceType.GLOBAL)

AnyRun = Run[Any]
Act = Callable[[AnyRun], Awaitable[None]]


class NoParams(BaseModel):
    """A DAG without parameters."""


async def nothing(run: AnyRun) -> None:
    """Do nothing."""


def acts(
    key: str,
    act: Act = nothing,
    *,
    abilities: Ability = Ability.ALL,
    timeout_s: float = 60,
    undo: Act | None = None,
) -> Stage[Any, NoParams]:
    """A stage whose body is ``act``; its key is its name as well."""

    async def body(run: AnyRun, params: NoParams) -> None:
        await act(run)

    async def undo_body(run: AnyRun, params: NoParams) -> None:
        assert undo is not None
        await undo(run)

    return stage(key, abilities, key=key, timeout_s=timeout_s, undo=undo and undo_body)(body)


def plan(
    *nodes: Stage[Any, Any] | NodePlan,
    lock: Maintenance = Maintenance(),  # noqa: B008 (frozen)
    data: dict[str, Any] | None = None,
) -> DagPlan:
    """A DAG of these stages, in order."""
    plans = [one if isinstance(one, NodePlan) else NodePlan(one) for one in nodes]
    return DagPlan("Task", plans, NoParams(), lock, data or {})


async def ended(engine: TaskEngine[Any], dag_id: int) -> Dag:
    """The DAG with its logs, once it has ended."""
    await engine.wait_end(dag_id, Deadline.after(PATIENCE_S))
    return await engine.dag(dag_id)


async def until(engine: TaskEngine[Any], dag_id: int, holds: Callable[[Dag], bool]) -> Dag:
    """The DAG with its logs, once it is as it should be; looked at after each of its changes."""
    while True:
        watched = asyncio.Event()

        def at_the_next_change(_: Dag, watched: asyncio.Event = watched) -> bool | None:
            if watched.is_set():
                return True
            watched.set()
            return None

        waiting = engine.wait(dag_id, at_the_next_change, Deadline.after(PATIENCE_S))
        change = asyncio.create_task(waiting)
        await soon(watched.wait())
        dag = await engine.dag(dag_id)
        if holds(dag):
            change.cancel()
            await asyncio.gather(change, return_exceptions=True)
            return dag
        await change


async def run_dag(engine: TaskEngine[Any], *nodes: Stage[Any, Any] | NodePlan, **more: Any) -> Dag:
    """Submit a DAG and see it to its end."""
    return await ended(engine, (await engine.submit(plan(*nodes, **more))).id)


def only(dag: Dag, stage_number: int) -> SubTask:
    """The one sub task of a stage."""
    (task,) = dag.nodes[stage_number - 1].sub_tasks
    return task


async def fails(run: AnyRun) -> None:
    """Fail."""
    raise ValueError("as it should")


class Flaky:
    """A body and its undoing that fail as long as they are told to, and note when they run."""

    def __init__(self) -> None:
        self.fails: set[str] = set()
        self.seen: list[str] = []

    async def body(self, run: AnyRun) -> None:
        await self._note(run, "do")

    async def undo(self, run: AnyRun) -> None:
        await self._note(run, "undo")

    async def _note(self, run: AnyRun, what: str) -> None:
        deed = f"{what} {run.agent.ip}"
        self.seen.append(deed)
        if deed in self.fails:
            raise ValueError(deed)


def waits_for(
    key: str, signal: str, gate: Gate, *, abilities: Ability = Ability.ALL
) -> Stage[Any, Any]:
    """A stage that waits for a signal; that the gate was reached says that it has begun."""

    async def act(run: AnyRun) -> None:
        gate.open()
        await gate.pass_through()
        await run.signal(signal)

    return acts(key, act, abilities=abilities)


async def turns(number: int) -> None:
    """Let the loop turn so many times."""
    for _ in range(number):
        await asyncio.sleep(0)


async def keep_busy(database: Database) -> threading.Event:
    """Have the writer of a database wait, from now until the event is set."""
    begun, end = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def block(_: object) -> None:
        loop.call_soon_threadsafe(begun.set)
        assert end.wait(PATIENCE_S)

    database.submit(block)
    await soon(begun.wait())
    return end


def states(dag):
    """State and operator of each node."""
    return [(str(node.state), str(node.operator)) for node in dag.nodes]
