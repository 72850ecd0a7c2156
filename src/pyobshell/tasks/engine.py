"""Runs DAGs: claims what may run, runs it, records how it ended, and wakes whoever waits.

Nothing here polls. The transaction that ends a stage admits the next one, which starts in the same
breath; waiting for a DAG or for a signal is waiting on an event that every change of that DAG sets.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

import structlog
from sqlalchemy import Connection

from pyobshell import errors
from pyobshell.address import Address
from pyobshell.deadline import Deadline
from pyobshell.store.database import Database, InDoubtError
from pyobshell.tasks import records, transitions
from pyobshell.tasks.ids import GenericId
from pyobshell.tasks.model import Dag, DagPlan, Operator, State
from pyobshell.tasks.operators import check_node_operator, check_operator
from pyobshell.tasks.reader import found
from pyobshell.tasks.stage import Catalogue, Run, Stage, perform
from pyobshell.tasks.transitions import Claim, Outcome
from pyobshell.tasks.watcher import TaskWatcher
from pyobshell.undivided import Undivided

Site = TypeVar("Site")
T = TypeVar("T")
_log = structlog.get_logger(__name__)
_ANSWER_FIRST_S = 0.001
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 5.0


Execute = Callable[[Stage[Any, Any], Claim, Run[Any]], Awaitable[None]]
"""Does what a claim stands for."""


async def in_place(stage: Stage[Any, Any], claim: Claim, run: Run[Any]) -> None:
    """Execute a sub task here, whichever agent it is for."""
    await perform(stage, claim.operator, claim.params, run)


def _nobody_cares(dag: Dag) -> None:
    """What becomes of the end of a DAG that nobody asked to be told of."""


class TaskEngine(TaskWatcher, Generic[Site]):
    """The DAGs of one store, run on one event loop; ``site`` is what their stages work with.

    With ``shared`` the store is the cluster's own and not that of the agent ``own``. ``execute``
    may have another agent do the work. ``ended`` is told of every DAG that has ended.

    What cannot be recorded, as on a full disk, is tried again until it can. Unless there is
    ``failed``: it is told, and the engine is of no use any more until it, or its successor, is
    started again.
    """

    def __init__(
        self,
        database: Database,
        catalogue: Catalogue,
        own: Address,
        site: Site,
        *,
        shared: bool = False,
        execute: Execute = in_place,
        ended: Callable[[Dag], None] = _nobody_cares,
        failed: Callable[[Exception], None] | None = None,
    ) -> None:
        super().__init__(database, own)
        self._catalogue = catalogue
        self._store = None if shared else own
        self._site = site
        self._execute = execute
        self._tell_ended = ended
        self._failed = failed
        self._running: dict[int, dict[int, asyncio.Task[Outcome]]] = {}
        self._cancelling: set[int] = set()
        self._undivided = Undivided()

    # --- life --------------------------------------------------------------------------------

    async def start(self) -> None:
        """Take up again whatever a previous life of this agent left unfinished."""

        def recover(connection: Connection) -> tuple[list[Claim], list[Dag]]:
            claims: list[Claim] = []
            ended: list[Dag] = []
            for dag_id in records.list_dag_ids(connection, unfinished=True):
                before = found(records.read_dag_head(connection, dag_id), dag_id)
                claims += transitions.recover(connection, dag_id, time.time_ns())
                after = found(records.read_dag_head(connection, dag_id), dag_id)
                ended += [after] if after.state.ended and not before.state.ended else []
            return claims, ended

        claims, ended = await self._database.write(recover)
        if claims:
            _log.info("recovered", action="dag.recover", sub_tasks=len(claims))
        self._launch(claims)
        for dag in ended:
            self._tell_ended(dag)

    async def stop(self) -> None:
        """Let go of everything that runs; it stays RUNNING on disk and is recovered at start."""
        self.let_go()
        tasks = [task for running in self._running.values() for task in running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._undivided.settled()

    # --- making and operating DAGs ---------------------------------------------------------------

    async def submit(self, plan: DagPlan) -> Dag:
        """Record a DAG with its lock and start it; returns it as recorded, in state READY.

        Raises MaintenanceConflictError, with nothing recorded, when its lock is held.
        """

        def create(connection: Connection) -> Dag:
            dag_id = transitions.create(connection, plan, self._own, time.time_ns())
            return found(records.read_dag_head(connection, dag_id), dag_id)

        async def begin() -> Dag:
            dag = await self._database.write(create)
            _log.info("begun", action="dag.begin", dag_id=dag.id, name=dag.name)
            self.begin(dag.id)
            return dag

        return await self._undivided.do(begin())

    async def prove_writable(self) -> None:
        """Raise what would keep a DAG from being recorded, such as a full disk."""
        await self._database.prove_writable()

    async def operate(self, dag_id: int, operator: Operator) -> None:
        """Apply an operator, or raise the error that says why it is illegal.

        The change is on disk when this returns. Of concurrent operators each sees the state that
        the one before it left.
        """

        def apply(connection: Connection) -> Dag:
            dag = found(records.read_dag(connection, dag_id), dag_id)
            check_operator(dag, operator)
            now = time.time_ns()
            if operator is Operator.CANCEL:
                transitions.cancel(connection, dag_id, now)
            elif operator is Operator.RETRY:
                transitions.retry(connection, dag_id, now)
            elif operator is Operator.ROLLBACK:
                transitions.roll_back(connection, dag_id)
            else:
                transitions.pass_dag(connection, dag_id, now)
            return found(records.read_dag_head(connection, dag_id), dag_id)

        async def operate() -> None:
            dag = await self._write(apply)
            _log.info("operated", action="dag.operate", dag_id=dag_id, operator=str(operator))
            self._changes.tell(dag_id)
            if dag.state.ended:
                self._tell_ended(dag)
            if operator is Operator.CANCEL:
                self._cancel_running(dag_id)
            elif operator is not Operator.PASS:
                self._cancelling.discard(dag_id)
                self.begin(dag_id)

        await self._undivided.do(operate())

    async def operate_node(self, node_id: int, operator: str) -> None:
        """Pass a FAILED node, so that its DAG goes on with the next stage."""

        def apply(connection: Connection) -> tuple[int, list[Claim]]:
            node = found(records.read_node(connection, node_id), node_id)
            dag = found(records.read_dag(connection, node.dag_id), node.dag_id)
            check_node_operator(dag, node, operator)
            return dag.id, transitions.pass_node(connection, dag.id, node.id, time.time_ns())

        async def operate() -> None:
            dag_id, claims = await self._write(apply)
            self._cancelling.discard(dag_id)
            self._changes.tell(dag_id)
            self._launch(claims)

        await self._undivided.do(operate())

    async def signal(self, dag_id: int, name: str) -> None:
        """Give a DAG a signal; it is recorded, so a stage that waits for it later has it too."""

        async def give() -> None:
            await self._write(lambda c: transitions.give_signal(c, dag_id, name))
            self._changes.tell(dag_id)

        await self._undivided.do(give())

    async def _write(self, work: Callable[[Connection], T]) -> T:
        """Make a change that has consequences here; one in doubt is left to a recovery."""
        try:
            return await self._database.write(work)
        except InDoubtError as error:
            if self._failed is not None:
                self._failed(error)
            raise

    # --- running -------------------------------------------------------------------------------

    async def take_up(self) -> None:
        """Begin the READY DAGs that others have recorded."""
        for dag_id in await self._database.read(records.list_ready_dag_ids):
            self.begin(dag_id)

    def begin(self, dag_id: int) -> None:
        """Claim a READY DAG and run it, without making the caller wait for it.

        The caller has the interpreter to itself for a moment, so that its answer goes out first.
        """

        def claim() -> None:
            if not self._stopping.is_set():  # else its next life claims what is READY on disk
                self._settle(dag_id, lambda c: transitions.claim(c, dag_id, time.time_ns()))

        asyncio.get_running_loop().call_later(_ANSWER_FIRST_S, claim)

    def _settle(self, dag_id: int, transition: Callable[[Connection], list[Claim]]) -> None:
        """Make a transition and launch what it admits."""

        def change(connection: Connection) -> tuple[list[Claim], Dag | None]:
            claims = transition(connection)
            looked_at = self._changes.are_awaited(dag_id) or not claims
            return claims, records.read_dag_head(connection, dag_id) if looked_at else None

        async def settle() -> None:
            try:
                claims, head = await self._record(dag_id, change)
            except Exception as error:
                _log.exception("not recorded", action="dag.unrecorded", dag_id=dag_id)
                if self._failed is not None:
                    self._failed(error)
                return
            self._changes.tell(dag_id, head)
            self._launch(claims)
            if head is not None and head.state.ended:
                _log.info("ended", action="dag.end", dag_id=dag_id, state=str(head.state))
                self._tell_ended(head)

        self._undivided.begin(settle())

    async def _record(self, dag_id: int, change: Callable[[Connection], T]) -> T:
        """Make a change that cannot be given up: if it fails it is tried again, until we end."""
        pause_s = _FIRST_PAUSE_S
        while self._failed is None and not self._stopping.is_set():
            try:
                return await self._database.write(change)
            except Exception as error:
                _log.error("not recorded yet", action="dag.record", dag_id=dag_id, cause=str(error))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._stopping.wait()
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        return await self._database.write(change)

    def _launch(self, claims: Sequence[Claim]) -> None:
        if self._stopping.is_set():
            return
        for claim in claims:
            running = self._running.setdefault(claim.dag_id, {})
            task = asyncio.create_task(self._run(claim), name=f"sub task {claim.sub_task_id}")
            task.add_done_callback(partial(self._ended, claim))
            running[claim.sub_task_id] = task
            if claim.dag_id in self._cancelling:
                task.cancel()

    def _cancel_running(self, dag_id: int) -> None:
        """Cancel what a DAG runs, and what a transition just under way may still launch for it.

        Once: what is asked for again must not cut short what is cleaned up.
        """
        if dag_id in self._cancelling:
            return
        self._cancelling.add(dag_id)
        for task in list(self._running.get(dag_id, {}).values()):
            task.cancel()

    def _ended(self, claim: Claim, task: asyncio.Task[Outcome]) -> None:
        """Record how a sub task ended; called for one that was cancelled before it began too."""
        running = self._running[claim.dag_id]
        del running[claim.sub_task_id]
        if not running:
            del self._running[claim.dag_id]
        if not task.cancelled():
            outcome = task.result()
        elif self._stopping.is_set():
            return
        else:
            outcome = Outcome(State.FAILED, {}, "Cancelled by an operator")
        self._settle(claim.dag_id, lambda c: transitions.finish(c, claim, outcome, time.time_ns()))

    async def _run(self, claim: Claim) -> Outcome:
        """Run the body of a stage; whatever it raises becomes a FAILED outcome with its text."""
        try:
            stage = self._catalogue[claim.stage_key]
            deadline = Deadline.after(stage.timeout_s)
            run = self._hand(claim, deadline)
            try:
                async with asyncio.timeout(stage.timeout_s):
                    await self._execute(stage, claim, run)
            except TimeoutError as error:
                if not deadline.has_rung():
                    raise
                raise errors.DAG_EXECUTE_TIMEOUT(
                    stage=stage.name, seconds=stage.timeout_s
                ) from error
        except Exception as error:
            unforeseen = None if isinstance(error, errors.OBShellError) else error
            failure = errors.coded(error).logged()
            where = {"dag_id": claim.dag_id, "stage": claim.stage_key, "agent": str(claim.agent)}
            _log.warning(failure, action="stage.fail", **where, exc_info=unforeseen)
            return Outcome(State.FAILED, {}, failure)
        return Outcome(State.SUCCEED, run.published)

    def _hand(self, claim: Claim, deadline: Deadline) -> Run[Site]:
        loop = asyncio.get_running_loop()

        def log(content: str) -> None:
            now = time.time_ns()
            _log.info(content, action="stage.log", dag_id=claim.dag_id, stage=claim.stage_key)
            of_task = (claim.sub_task_id, claim.execute_times)
            written = self._database.submit(
                lambda c: transitions.add_log(c, *of_task, content, now)
            )
            if self._changes.are_awaited(claim.dag_id, with_lines=True):
                tell = partial(self._changes.tell, claim.dag_id)
                written.add_done_callback(lambda _: loop.call_soon_threadsafe(tell))

        return Run(
            site=self._site,
            dag_id=claim.dag_id,
            generic_id=str(GenericId(claim.dag_id, self._store)),
            agent=claim.agent,
            data=claim.data,
            deadline=deadline,
            continuing=claim.continuing,
            attempt=claim.execute_times,
            ordered_at=claim.ordered_at,
            log=log,
            _signals=_Signals(self),
            cancelled=lambda: claim.dag_id in self._cancelling,
        )


class _Signals:
    """Gives stages the engine's signals, and no more of it."""

    def __init__(self, engine: TaskEngine[Any]) -> None:
        self._engine = engine

    async def wait(self, dag_id: int, name: str) -> None:
        def given(dag: Dag) -> bool | None:
            return True if name in dag.signals else None

        await self._engine.wait(dag_id, given, Deadline.after(_FOREVER_S))


_FOREVER_S = 10.0 * 365 * 86400  # the stage's own time limit is the nearer one
