"""Frees sub DAGs that nobody ends in the ordinary way, so that no lock outlives its DAG.

A coordinator may give a member up whose ``prepare`` arrives all the same, or die before it could
end its sub DAG. So each member looks after its sub DAGs itself: it asks the coordinator now and
then whether they are still needed, at first after a second, later every quarter of a minute.
"""

from __future__ import annotations

import asyncio

import structlog
from pydantic import BaseModel

from pyobshell import errors
from pyobshell.cluster.procedures import Caller, procedure
from pyobshell.deadline import Deadline
from pyobshell.errors import OBShellError
from pyobshell.operations.site import Site
from pyobshell.tasks.ids import GenericId
from pyobshell.tasks.model import Ability, Dag, DagPlan, Operator, State

_log = structlog.get_logger(__name__)
_FIRST_LOOK_S, _LONGEST_PAUSE_S = 1.0, 15.0
_CANCEL_S = 300.0


LIFE = "coordinator_life"  # in the data of a sub DAG


class MainDag(BaseModel):
    """A main DAG, by its number in one life of its coordinator."""

    number: int
    life: str


class Needed(BaseModel):
    """Whether the coordinator will still speak to the sub DAG of the agent that asks."""

    needed: bool


async def release(site: Site, number: int, deadline: Deadline) -> None:
    """Cancel a sub DAG if it runs, then pass it: its lock is free afterwards.

    Others may do the same at this moment, and it may end by itself: that is as good.
    """
    dag = await site.tasks.dag(number, logs=False)
    while dag.state is not State.SUCCEED:
        operator = Operator.PASS if dag.state is State.FAILED else Operator.CANCEL
        try:
            await site.tasks.operate(number, operator)
        except OBShellError as error:
            if error.code not in (errors.DAG_PASS_NOT_FAILED, errors.DAG_CANCEL_FINISHED):
                raise
        try:
            dag = await site.tasks.wait_end(number, deadline)
        except TimeoutError:
            raise errors.DAG_CANCEL_TIMEOUT(
                id=GenericId(number, site.own), seconds=deadline.seconds
            ) from None


async def look_after_all(site: Site) -> None:
    """Look after every sub DAG that an earlier life of this agent left unfinished."""
    for dag in await site.tasks.dags(unfinished=True):
        look_after(site, dag)


async def begin(site: Site, plan: DagPlan) -> Dag:
    """Record a sub DAG and look after it: neither without the other, if the asker hangs up.

    Raises MaintenanceConflictError when the lock is held.
    """

    async def begun() -> Dag:
        made = await site.tasks.submit(plan)
        look_after(site, made)
        return made

    return await site.background.do(begun())


def is_sub_dag(dag: Dag) -> bool:
    """Whether a DAG is a member's part of what its cluster does together."""
    return LIFE in dag.data


def look_after(site: Site, dag: Dag) -> None:
    """Release a sub DAG once its coordinator no longer needs it; other DAGs are left alone."""
    if is_sub_dag(dag):
        site.background.begin(_look_after(site, dag))


async def _look_after(site: Site, dag: Dag) -> None:
    number, pause_s = dag.id, _FIRST_LOOK_S
    while True:
        try:
            if await _is_released(site, number, Deadline.after(pause_s)):
                return
        except OBShellError as error:
            if error.code is errors.TASK_NOT_FOUND:
                return
            _log.warning("not seen", action="sub_dag.look", dag_id=number, cause=str(error))
            await asyncio.sleep(pause_s)  # the clock is meant: a disk that fails may do so on
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        try:
            if not await is_needed(site, dag, Deadline.after(site.settings.rpc_timeout_s)):
                _log.warning(
                    "its main DAG has ended without it: releasing this agent",
                    action="sub_dag.release",
                    dag_id=number,
                    main_dag_id=dag.data["main_dag_id"],
                )
                await release(site, number, Deadline.after(_CANCEL_S))
        except OBShellError as error:
            _log.info("not known yet", action="sub_dag.look", dag_id=number, cause=str(error))


async def _is_released(site: Site, number: int, deadline: Deadline) -> bool:
    try:
        await site.tasks.wait(
            number, lambda dag: True if dag.state is State.SUCCEED else None, deadline
        )
    except TimeoutError:
        return False
    return True


async def is_needed(site: Site, dag: Dag, deadline: Deadline) -> bool:
    """Whether the coordinator of a sub DAG still needs it; raises if that cannot be learnt."""
    main = GenericId.parse(dag.data["main_dag_id"])
    asked = MainDag(number=main.number, life=dag.data[LIFE])
    return (await site.peers.call(main.agent or site.own, needs, asked, deadline)).needed


@procedure("main_dag/needs")
async def needs(site: Site, caller: Caller, main: MainDag) -> Needed:
    """Whether a main DAG of this agent will still speak to the sub DAG of the caller.

    It will not once it has ended for good, nor if it has gone on without that agent.
    """
    if main.life != site.keyring.life:
        return Needed(needed=False)
    try:
        dag = await site.tasks.dag(main.number, logs=False)
    except OBShellError as error:
        if error.code is not errors.TASK_NOT_FOUND:
            raise
        return Needed(needed=False)
    without = dag.stage > 1 and str(caller.address) not in dag.data.get("sub_dags", {})
    return Needed(needed=not is_over(dag) and not without)


def is_over(main: Dag) -> bool:
    """Whether a main DAG (with nodes) needs no sub DAG any more; after RETRY it makes new ones.

    One that keeps its agents when it fails, to go on from there, still needs them.
    """
    if main.state is State.FAILED:
        return main.stage == main.max_stage or main.current.able(Ability.ANEW)
    return main.state is State.SUCCEED


PROCEDURES = (needs,)
