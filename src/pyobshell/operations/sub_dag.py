"""A member's part of an operation that all agents do together: a sub DAG, and its lock.

The sub DAG waits twice for the coordinator (``operations.together``): before its work, until all
are ready, and after it, so that the lock is held until the whole ends.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Literal

import structlog
from pydantic import BaseModel

from pyobshell import errors
from pyobshell.cluster.procedures import Caller, Nothing, procedure
from pyobshell.deadline import Deadline
from pyobshell.errors import OBShellError
from pyobshell.operations.line import Claimant, rank
from pyobshell.operations.majority import Leaving
from pyobshell.operations.release import LIFE, begin, is_needed, is_sub_dag, release
from pyobshell.operations.site import Run, Site, refusal
from pyobshell.tasks.ids import GenericId
from pyobshell.tasks.locks import MaintenanceConflictError
from pyobshell.tasks.model import (
    Ability,
    Dag,
    DagPlan,
    Maintenance,
    MaintenanceType,
    NodePlan,
    Operator,
    State,
)
from pyobshell.tasks.stage import Stage, stage
from pyobshell.undivided import done_unless
from pyobshell.wire import NANOSECONDS

_log = structlog.get_logger(__name__)
ADVANCE, END = "advance", "end"
_LOCK = Maintenance(MaintenanceType.GLOBAL)
FRESH_S = 5.0  # half of what a server that is lost stays ACTIVE
_LOOK_S = 2.0


class Part(BaseModel):
    """Parameters of a sub DAG: one member's part of an undertaking.

    ``leaving`` is what the cluster of servers has to spare for it; none: it is not asked.
    ``attempt`` grows when the main DAG begins anew; ``age_s`` is how long ago it was ordered, or
    ordered anew, when this was asked: clocks of hosts differ.
    """

    main_dag_id: str
    work: Literal["start", "stop", "restart"]
    mode: str
    works: bool
    leaving: Leaving | None = None
    force_pass: list[str]
    attempt: int = 1
    age_s: float = 0.0


class SubDag(BaseModel):
    """The sub DAG of a member, by its generic id."""

    id: str


class Prepared(SubDag):
    """A sub DAG that holds its agent's lock.

    ``alone_s`` is how long ago that agent, if it has work to do, was given an order alone.
    """

    alone_s: float | None = None


class GoAhead(SubDag):
    """A sub DAG that is to begin its work.

    ``looked_at`` (Unix seconds) is when the cluster of servers was seen to have it to spare.
    """

    looked_at: float | None = None


class Watching(SubDag):
    """A sub DAG to be watched, and how many lines of its log are known already."""

    seen_lines: int = 0


class Progress(BaseModel):
    """How the work of a sub DAG ended; ``failure`` says why it is not done, if so."""

    failure: str | None = None


# --- its first and its last stage ----------------------------------------------------------------


@stage("Start preparations", Ability.CONTINUE | Ability.PASS | Ability.CANCEL | Ability.RETRY)
async def start_preparations(run: Run, part: Part) -> None:
    """Hold the lock, and wait until the coordinator has everybody together."""
    run.log(f"This agent is locked for DAG {part.main_dag_id}; waiting to be told to go on")
    if run.continuing:  # what was told before may have been told long ago
        run.publish(continued=True)
    await run.signal(ADVANCE)


@stage("Wait for task to end", Ability.CONTINUE | Ability.PASS | Ability.CANCEL)
async def wait_for_task_to_end(run: Run, part: Part) -> None:
    """Keep the lock until the coordinator ends the task."""
    run.log(f"The part of this agent is done; waiting for DAG {part.main_dag_id} to end")
    await run.signal(END)


def sub_dag_plan(name: str, part: Part, work: Sequence[Stage[Site, Part]], life: str) -> DagPlan:
    """A member's sub DAG: its lock, held around its work for this life of its coordinator."""
    stages = [start_preparations, *(work if part.works else ()), wait_for_task_to_end]
    return DagPlan(
        name,
        [NodePlan(one) for one in stages],
        part,
        _LOCK,
        {"main_dag_id": part.main_dag_id, LIFE: life},
    )


# --- what the coordinator asks of a member -------------------------------------------------------


class Wanting(BaseModel):
    """A lock that is wanted, even at the cost of these main DAGs."""

    force_pass: list[str] = []


@procedure("sub_dag/ready")
async def ready(site: Site, caller: Caller, wanting: Wanting) -> Nothing:
    """See that this agent's lock could be taken now; raises as ``prepare`` would, at once."""
    holder = await site.tasks.lock_holder(_LOCK)
    if holder is not None and holder.data.get("main_dag_id") not in wanting.force_pass:
        raise refusal(site.own, holder)
    await site.tasks.prove_writable()
    return Nothing()


@procedure("sub_dag/prepare")
async def prepare(site: Site, caller: Caller, part: Part) -> Prepared:
    """Take this agent's lock for a main DAG; asked twice, the answer is the same sub DAG.

    A lock that its own main DAG no longer needs does not count. Raises
    ``Agent.UnderMaintenanceDag`` (the DAG to name in forcePassDag) or ``Agent.UnderMaintenance``
    when something else holds the lock, ``Agent.Order.Superseded`` if this agent, which has work in
    it, was given a newer order in an emergency.
    """
    ordered_at = time.time_ns() - round(part.age_s * NANOSECONDS)
    name, work = site.works[part.work]
    life = caller.life
    plan = sub_dag_plan(name, part, work, life)
    while True:
        if part.works and _is_superseded(site, ordered_at):
            raise errors.ORDER_SUPERSEDED(agent=site.own)
        first = site.line.before(part.main_dag_id)
        if first is not None and first not in part.force_pass:
            raise errors.AGENT_UNDER_MAINTENANCE_DAG(
                agent=site.own, main_dag_id=first, dag_name="a task that comes first"
            )
        try:
            made = await begin(site, plan)
        except MaintenanceConflictError as conflict:
            holder = await site.tasks.dag(conflict.dag_id, logs=False)
        else:
            if part.works and _is_superseded(site, ordered_at):  # just then
                await release(site, made.id, caller.deadline)
                continue
            return _prepared(site, part, made)
        main_dag_id = holder.data.get("main_dag_id")
        same = main_dag_id == part.main_dag_id
        if same and holder.data.get(LIFE) == life:
            attempt = Part.model_validate_json(holder.params).attempt
            if attempt == part.attempt:
                return _prepared(site, part, holder)
            if attempt > part.attempt:  # this was asked long ago
                raise refusal(site.own, holder)
        if not (same or main_dag_id in part.force_pass):
            if await _gives_way(site, holder, part, caller.deadline):
                continue
            if not await _is_left_behind(site, holder, caller.deadline.within(_LOOK_S)):
                raise refusal(site.own, holder)
        await release(site, holder.id, caller.deadline)


def _is_superseded(site: Site, ordered_at: int) -> bool:
    """Whether this agent was given an order alone after that moment (by its own clock)."""
    alone_at, now = site.cluster.acted_alone_at, time.time_ns()
    if alone_at > now:
        _log.warning(
            "the newest order in an emergency lies in the future and counts for nothing: the clock "
            "has been set back",
            action="sub_dag.prepare",
            ahead_s=(alone_at - now) / NANOSECONDS,
        )
        return False
    return ordered_at < alone_at


def _prepared(site: Site, part: Part, dag: Dag) -> Prepared:
    alone_at, now = site.cluster.acted_alone_at, time.time_ns()
    counts = part.works and 0 < alone_at <= now
    alone_s = (now - alone_at) / NANOSECONDS if counts else None
    return Prepared(id=_id(site, dag), alone_s=alone_s)


async def _is_left_behind(site: Site, holder: Dag, deadline: Deadline) -> bool:
    """Whether a lock is of a main DAG that has ended, and could not say so to this agent."""
    if not is_sub_dag(holder):
        return False
    try:
        return not await is_needed(site, holder, deadline)
    except OBShellError:
        return False


async def _gives_way(site: Site, holder: Dag, part: Part, deadline: Deadline) -> bool:
    """Whether a lock that was taken at the same time becomes free.

    Of operations that begin at once, each holding a few agents, one must get all of them. So the
    one that comes first (``operations.line``) waits while another has not begun its work; the
    others do not, fail, and let go. That takes a fraction of a second, if agents are not busy; one
    that has held the lock for half of what a short question may take waits for something else.
    """
    longest_s = site.settings.rpc_timeout_s / 2
    main_dag_id = holder.data.get("main_dag_id")
    if main_dag_id is None or rank(part.main_dag_id) > rank(main_dag_id):
        return False
    if (time.time_ns() - holder.start_time) / NANOSECONDS > longest_s:
        return False

    def decided(dag: Dag) -> bool | None:
        if dag.state is State.SUCCEED:
            return True
        return False if dag.stage > 1 else None

    claimant = Claimant(main_dag_id=part.main_dag_id, attempt=part.attempt)
    with site.line.waiting(claimant) as leaves:
        waiting = asyncio.create_task(
            site.tasks.wait(holder.id, decided, deadline.within(longest_s))
        )
        try:
            return await done_unless(waiting, leaves) and await waiting
        except TimeoutError:
            return False
        finally:
            waiting.cancel()


@procedure("sub_dag/leave_line")
async def leave_line(site: Site, caller: Caller, claimant: Claimant) -> Nothing:
    """Have a ``prepare`` wait no longer for this agent's lock: it is not wanted any more."""
    site.line.leave(claimant)
    return Nothing()


@procedure("sub_dag/advance")
async def advance(site: Site, caller: Caller, go: GoAhead) -> Nothing:
    """Let the work of a sub DAG begin, unless it is told so late that the cluster may be another.

    An agent that was paused reads what it was told before.
    """
    dag = await _meant(site, caller, go)
    if dag.state.ended:
        raise errors.SUB_DAG_NOT_ALL_ADVANCED(agents=f"{site.own}: {_ended_early(dag)}")
    age_s = 0.0 if go.looked_at is None else abs(time.time() - go.looked_at)
    if dag.stage == 1 and age_s > FRESH_S:
        late = (
            f"it was told {age_s:.1f} s after the cluster was looked at, or the clocks of the "
            "agents differ by that; it has done nothing"
        )
        raise errors.SUB_DAG_NOT_ALL_ADVANCED(agents=f"{site.own}: {late}")
    await site.tasks.signal(dag.id, ADVANCE)
    return Nothing()


@procedure("sub_dag/resume")
async def resume(site: Site, caller: Caller, sub_dag: SubDag) -> Nothing:
    """Let the work of a sub DAG begin, or go on where it failed; else it is left alone."""
    number = (await _meant(site, caller, sub_dag)).id
    await site.tasks.signal(number, ADVANCE)
    dag = await site.tasks.dag(number, logs=False)
    if dag.state is State.FAILED:
        await site.tasks.operate(number, Operator.RETRY)
    return Nothing()


@procedure("sub_dag/holds")
async def holds(site: Site, caller: Caller, sub_dag: SubDag) -> Progress:
    """Whether a sub DAG still has this agent's lock; a failure if not."""
    dag = await _meant(site, caller, sub_dag)
    return Progress(failure=_ended_early(dag) if dag.state is State.SUCCEED else None)


@procedure("sub_dag/watch")
async def watch(site: Site, caller: Caller, request: Watching) -> Progress:
    """Log what a sub DAG logs, as it does, and answer when its work has ended."""
    number, seen = (await _meant(site, caller, request)).id, request.seen_lines
    async for dag in site.tasks.follow(number, caller.deadline):
        lines = _lines(dag)
        for line in lines[seen:]:
            caller.log(line)
        seen = len(lines)
        if dag.state.ended:
            return Progress(failure=_ended_early(dag))
        if dag.stage == dag.max_stage:
            break
    return Progress()


def _lines(dag: Dag) -> list[str]:
    """What the stages of a sub DAG logged, without its last stage, which only waits."""
    return [line for node in dag.nodes[:-1] for line in node.lines]


@procedure("sub_dag/end")
async def end(site: Site, caller: Caller, sub_dag: SubDag) -> Progress:
    """End a sub DAG whatever its state, and with it this agent's lock.

    Answers with a failure if somebody else had ended it before.
    """
    dag = await _meant(site, caller, sub_dag)
    number = dag.id
    if dag.state is State.SUCCEED:
        return Progress(failure=_ended_early(dag) if dag.operator is Operator.PASS else None)
    if dag.state is State.RUNNING and dag.stage == dag.max_stage:
        await site.tasks.signal(number, END)
        await site.tasks.wait_end(number, caller.deadline)
    else:
        await release(site, number, caller.deadline)
    return Progress()


def _ended_early(dag: Dag) -> str:
    """Why a sub DAG ended before the coordinator ended it."""
    if dag.operator is Operator.PASS:
        return (
            "its sub DAG was passed by an operator, or released by forcePassDag or for a newer "
            "order in an emergency"
        )
    last = [task.logs[-1] for task in dag.current.sub_tasks if task.logs]
    why = "; ".join(last) or f"its sub DAG is {dag.state}"
    return f"'{dag.current.name}': {why}"


async def _meant(site: Site, caller: Caller, sub_dag: SubDag) -> Dag:
    """The sub DAG that its coordinator speaks of, not what has its number after a rebuild."""
    dag = await site.tasks.dag(GenericId.parse(sub_dag.id).number, logs=False)
    if dag.data.get(LIFE) != caller.life:
        raise errors.TASK_NOT_FOUND(
            reason=f"{sub_dag.id} is of another life of {site.own} or of {caller.address}"
        )
    return dag


def _id(site: Site, dag: Dag) -> str:
    return str(GenericId(dag.id, site.own))


STAGES = (start_preparations, wait_for_task_to_end)
PROCEDURES = (ready, prepare, leave_line, advance, resume, holds, watch, end)
