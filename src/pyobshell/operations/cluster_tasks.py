"""The DAGs in the cluster's own store, as any agent reads, records and operates them.

What is read, and what is recorded anew, comes from and goes to the database. All else only the
maintainer may do, so it is asked: whoever that is, and whoever becomes it while we ask.
"""

from __future__ import annotations

import asyncio
import time
from typing import TypeVar

import structlog
from pydantic import BaseModel
from sqlalchemy import Connection

from pyobshell import errors
from pyobshell.cluster.procedures import Nothing, Procedure
from pyobshell.deadline import Deadline
from pyobshell.errors import OBShellError
from pyobshell.operations import maintainer
from pyobshell.operations.maintainer import ClusterDag, ClusterOrder, ClusterSignal, Watch
from pyobshell.operations.site import Site
from pyobshell.store.database import Database
from pyobshell.tasks import lease, records, transitions
from pyobshell.tasks.locks import MaintenanceConflictError
from pyobshell.tasks.model import Dag, DagPlan, Maintenance, MaintenanceType, Operator
from pyobshell.tasks.reader import TaskReader, found

Req = TypeVar("Req", bound=BaseModel)

_log = structlog.get_logger(__name__)
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 1.0
_LONGEST_HOLD_S = 600.0
_GRACE_S = 5.0
_ELSEWHERE = (errors.RPC_REQUEST_FAILED, errors.MAINTAINER_NOT_ACTIVE)


class ClusterTasks(TaskReader):
    """The cluster's DAGs; errors of the database are those of the catalogue."""

    def __init__(self, site: Site, database: Database) -> None:
        super().__init__(database)
        self._site = site

    async def submit(self, plan: DagPlan) -> Dag:
        """Record a DAG with its lock and have it begun; returns it in state READY.

        Raises, with nothing recorded, ``OB.Cluster.UnderMaintenanceWithDag`` or, of a lock of the
        same tenant, ``OB.Tenant.UnderMaintenance``.
        """
        made = 0

        def create(connection: Connection) -> Dag:
            nonlocal made
            before = records.read_dag_head(connection, made) if made else None
            if before is not None and before.params == plan.params.model_dump_json():
                return before  # an attempt that seemed lost was not
            executes = lease.read(connection).maintainer or self._site.own
            made = transitions.create(connection, plan, executes, time.time_ns())
            return found(records.read_dag_head(connection, made), made)

        try:
            dag = await self._database.write(create, again=True)
        except MaintenanceConflictError as conflict:
            holder = await self.dag(conflict.dag_id, logs=False)
            raise _refusal(plan.maintenance, holder) from conflict
        _log.info("recorded", action="dag.record", dag_id=dag.id, name=dag.name)
        self._site.background.begin(self._wake(dag.id))
        return dag

    async def operate(self, dag_id: int, operator: Operator) -> None:
        """Apply an operator, or raise the error that says why it is illegal."""
        order = ClusterOrder(number=dag_id, operator=operator)
        await self._ask(maintainer.operate, order, self._patience())

    async def operate_node(self, node_id: int, operator: str) -> None:
        """Pass a FAILED node, so that its DAG goes on with the next stage."""
        order = ClusterOrder(number=node_id, operator=operator)
        await self._ask(maintainer.operate_node, order, self._patience())

    async def signal(self, dag_id: int, name: str) -> None:
        """Give a DAG a signal."""
        given = ClusterSignal(number=dag_id, name=name)
        await self._ask(maintainer.signal, given, self._patience())

    async def wait(self, dag_id: int, name: str) -> None:
        """Return once a DAG has been given a signal, now or before."""
        awaited = ClusterSignal(number=dag_id, name=name)
        while True:
            try:
                await self._ask(maintainer.await_signal, awaited, Deadline.after(_LONGEST_HOLD_S))
            except OBShellError as error:
                if error.code not in _ELSEWHERE:
                    raise
            else:
                return

    async def hold(self, dag_id: int, seconds: float, seen_stage: int | None = None) -> None:
        """Wait until a DAG has ended or left the stage ``seen_stage``, or the time is over."""
        deadline = Deadline.after(seconds)
        while not deadline.passed():
            watched = Watch(number=dag_id, seconds=deadline.remaining(), seen_stage=seen_stage)
            try:
                await self._ask(maintainer.watch, watched, deadline, _GRACE_S)
            except OBShellError as error:
                if error.code not in _ELSEWHERE:
                    raise
            else:
                return

    async def _wake(self, dag_id: int) -> None:
        """Tell the maintainer of a DAG; if that fails it looks for it itself before long."""
        try:
            await self._ask(maintainer.begin, ClusterDag(number=dag_id), self._patience())
        except OBShellError as error:
            _log.warning("not told", action="maintainer.wake", dag_id=dag_id, cause=str(error))

    def _patience(self) -> Deadline:
        settings = self._site.settings
        return Deadline.after(settings.rpc_timeout_s + settings.lease_s)

    async def _ask(
        self,
        asked: Procedure[Site, Req, Nothing],
        request: Req,
        deadline: Deadline,
        grace_s: float = 0.0,
    ) -> None:
        """Ask the maintainer; if there is none, or it is lost, ask the next one.

        An answer may come ``grace_s`` later, if it is itself to come at the deadline.
        """
        pause = _FIRST_PAUSE_S
        while True:
            agent = (await self._database.read(lease.read)).maintainer
            try:
                if agent is None:
                    self._site.require_ocs().maintainer.look()
                    raise errors.MAINTAINER_NOT_ACTIVE(cause="the lease has expired")
                patience = Deadline.after(deadline.remaining() + grace_s)
                await self._site.peers.call(agent, asked, request, patience)
            except OBShellError as error:
                if error.code not in _ELSEWHERE or deadline.passed():
                    raise
            else:
                return
            # Back off: who is the next maintainer only the lease tells.
            await asyncio.sleep(min(pause, deadline.remaining()))
            pause = min(2 * pause, _LONGEST_PAUSE_S)


def _refusal(wanted: Maintenance, holder: Dag) -> OBShellError:
    if holder.maintenance == wanted and wanted.type is MaintenanceType.TENANT:
        return errors.TENANT_UNDER_MAINTENANCE(
            tenant=wanted.key, dag_id=holder.id, dag_name=holder.name
        )
    return errors.CLUSTER_UNDER_MAINTENANCE_DAG(dag_id=holder.id, dag_name=holder.name)
