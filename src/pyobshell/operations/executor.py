"""Sub tasks of the cluster's DAGs, executed on the agents that they name.

The maintainer asks the agent and holds the question until the stage has ended there; lines come
back as they are logged. When it hangs up, or another maintainer speaks, the stage is cancelled:
of orders from two epochs only those of the later one are carried out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog
from pydantic import BaseModel

from pyobshell import errors
from pyobshell.cluster.procedures import (
    Caller,
    error_from_wire,
    error_to_wire,
    procedure,
)
from pyobshell.errors import OBShellError
from pyobshell.operations.held import ask_until_done
from pyobshell.operations.site import Run, Site
from pyobshell.tasks.ids import GenericId
from pyobshell.tasks.model import Ability, Operator
from pyobshell.tasks.stage import Catalogue, Signals, Stage, perform
from pyobshell.tasks.transitions import Claim

_log = structlog.get_logger(__name__)


class Order(BaseModel):
    """A sub task to be executed, and the epoch of the maintainer that says so."""

    epoch: int
    dag_id: int
    sub_task_id: int
    stage_key: str
    operator: Operator
    params: str
    data: dict[str, Any]
    continuing: bool


class Done(BaseModel):
    """What a sub task has published, or the error that it failed with."""

    published: dict[str, Any] = {}
    error: dict[str, Any] | None = None


class Executor:
    """The sub tasks of the cluster that this agent executes.

    ``signals`` are those of the cluster's DAGs.
    """

    def __init__(self, site: Site, catalogue: Catalogue, signals: Signals) -> None:
        self._site = site
        self._catalogue = catalogue
        self._signals = signals
        self._epoch = 0
        self._under_way: dict[int, asyncio.Task[None]] = {}

    def saw(self, epoch: int) -> None:
        """Another maintainer may have begun: what an earlier one has ordered is cancelled."""
        if epoch > self._epoch:
            self._epoch = epoch
            for task in self._under_way.values():
                task.cancel()

    async def alone(self, epoch: int, sub_task_id: int, work: Coroutine[Any, Any, None]) -> None:
        """Do the work of a sub task once nothing of an earlier order for it is under way here.

        Raises ``Agent.Maintainer.NotActive`` for an epoch that is over.
        """
        if epoch < self._epoch:
            work.close()
            raise errors.MAINTAINER_NOT_ACTIVE(cause=f"epoch {epoch} is over here")
        self.saw(epoch)
        before = self._under_way.get(sub_task_id)
        if before is not None:
            before.cancel()
        task = asyncio.create_task(_after(before, work))
        self._under_way[sub_task_id] = task
        try:
            await task
        finally:
            if self._under_way.get(sub_task_id) is task:
                del self._under_way[sub_task_id]

    async def carry_out(self, caller: Caller, order: Order) -> Done:
        """Execute a sub task as another agent orders."""
        stage = self._catalogue[order.stage_key]
        run = Run(
            site=self._site,
            dag_id=order.dag_id,
            generic_id=str(GenericId(order.dag_id)),
            agent=self._site.own,
            data=order.data,
            deadline=caller.deadline,
            continuing=order.continuing,
            log=caller.log,
            _signals=self._signals,
        )
        try:
            work = perform(stage, order.operator, order.params, run)
            await self.alone(order.epoch, order.sub_task_id, work)
        except OBShellError as error:
            return Done(error=error_to_wire(error))
        except Exception as error:
            _log.exception("stage failed", action="stage.fail", stage=order.stage_key)
            return Done(error=error_to_wire(errors.coded(error)))
        return Done(published=run.published)

    async def order(self, epoch: int, stage: Stage[Any, Any], claim: Claim, run: Run) -> None:
        """Have the agent of a sub task execute it; ask again while it may be continued there."""
        order = Order(
            epoch=epoch,
            dag_id=claim.dag_id,
            sub_task_id=claim.sub_task_id,
            stage_key=claim.stage_key,
            operator=claim.operator,
            params=claim.params,
            data=claim.data,
            continuing=claim.continuing,
        )
        if Ability.CONTINUE in stage.abilities:

            def continued() -> None:
                order.continuing = True

            done = await ask_until_done(run, run.agent, execute, order, run.log, continued)
        else:
            done = await self._site.peers.call(run.agent, execute, order, run.deadline, run.log)
        if done.error is not None:
            raise error_from_wire(done.error, run.agent, execute.name)
        run.publish(**done.published)


async def _after(before: asyncio.Task[None] | None, work: Coroutine[Any, Any, None]) -> None:
    try:
        if before is not None:
            await asyncio.wait({before})
    except BaseException:
        work.close()
        raise
    await work


@procedure("task/execute")
async def execute(site: Site, caller: Caller, order: Order) -> Done:
    """Execute a sub task of one of the cluster's DAGs."""
    return await site.require_ocs().executor.carry_out(caller, order)


PROCEDURES = (execute,)
