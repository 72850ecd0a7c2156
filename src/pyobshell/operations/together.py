"""How every agent is brought to do its part of one operation, and is released afterwards.

The agent that took the request (the coordinator) runs the main DAG, ``Stop OB`` or ``Start OB``.
Each member takes its maintenance lock by recording a sub DAG of its own, and holds it until it is
told to end. The sub DAG waits twice for the coordinator: before its work, and after it.

    coordinator   inform all ── all ready? ── advance ───────── wait for all ──────── end all
                      │ prepare                  │ advance         │ watch              │ end
    member        Start preparations ··········· the work ───── Wait for task to end ··········

A target that cannot be reached, or fails, fails alone: the others go on, and the verdict of the
last stage names it. A member that is no target and cannot be reached is left out with a warning.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel

from pyobshell import errors
from pyobshell.address import Address
from pyobshell.cluster.procedures import Caller, Nothing, procedure
from pyobshell.deadline import Deadline
from pyobshell.errors import OBShellError
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

ADVANCE, END = "advance", "end"
_RELEASE_TIMEOUT_S = 300.0
_LONGEST_WAIT_S = 3600.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 2.0


class Undertaking(BaseModel):
    """Parameters of a main DAG: what is to be done to which members."""

    work: Literal["start", "stop"]
    mode: str = ""
    scope: str
    members: list[Address]
    targets: list[Address]
    zones: list[str]
    force_pass: list[str]


class Part(BaseModel):
    """Parameters of a sub DAG: one member's part of an undertaking."""

    main_dag_id: str
    work: Literal["start", "stop"]
    mode: str
    works: bool
    force_pass: list[str]


class SubDag(BaseModel):
    """The sub DAG of a member, by its generic id."""

    id: str


class Watching(SubDag):
    """A sub DAG to be watched, and how many lines of its log are known already."""

    seen_lines: int = 0


class Progress(BaseModel):
    """How the work of a sub DAG ended; ``failure`` says why it is not done, if so."""

    failure: str | None = None


class Shared(BaseModel):
    """What the stages of a main DAG tell each other (its ``additional_data``)."""

    sub_dags: dict[str, str] = {}
    refused: dict[str, str] = {}
    unreachable: dict[str, str] = {}
    failures: dict[str, str] = {}


# --- the stages of the main DAG ------------------------------------------------------------------


async def inform(run: Run, task: Undertaking) -> None:
    """Have one agent take its lock and record its sub DAG."""
    run.log(f"Inform {run.agent} to prepare to {task.work} its observer")
    part = Part(
        main_dag_id=run.generic_id,
        work=task.work,
        mode=task.mode,
        works=run.agent in task.targets,
        force_pass=task.force_pass,
    )
    patience = Deadline.after(_RELEASE_TIMEOUT_S if task.force_pass else _prompt(run))
    try:
        made = await run.site.peers.call(run.agent, prepare, part, patience)
    except OBShellError as error:
        run.log(f"{run.agent} {error.logged()}")
        unreachable = error.code is errors.RPC_REQUEST_FAILED
        run.publish(**{"unreachable" if unreachable else "refused": {str(run.agent): str(error)}})
    else:
        run.log(f"{run.agent} has prepared: sub DAG {made.id}")
        run.publish(sub_dags={str(run.agent): made.id})


async def make_sure_all_are_ready(run: Run, task: Undertaking) -> None:
    """Go on if every agent that matters holds its lock; else release the others and fail."""
    shared = Shared.model_validate(run.data)
    lost = {agent: why for agent, why in shared.unreachable.items() if _is_target(agent, task)}
    for agent, why in shared.unreachable.items():
        if agent not in lost:
            run.log(f"WARNING: {agent} is left out, it is no target: {why}")
    if shared.refused or (lost and len(lost) == len(task.targets)):
        for agent, why in {**shared.refused, **lost}.items():
            run.log(f"{agent} is not ready: {why}")
        await _end_all(run, shared.sub_dags)
        raise errors.SUB_DAG_NOT_ALL_CREATED(agents=_listed({**shared.refused, **lost}))
    run.publish(failures=lost)
    for agent in shared.sub_dags:
        run.log(f"{agent} is ready")


async def advance_all(run: Run, task: Undertaking) -> None:
    """Let every agent begin its work."""
    shared = Shared.model_validate(run.data)
    for agent, answer in (await _call_all(run, shared.sub_dags, advance)).items():
        if isinstance(answer, OBShellError):
            run.log(f"{agent} could not be told to go on: {answer}")
            run.publish(failures={str(agent): str(answer)})
        else:
            run.log(f"{agent} goes on")


async def wait_for_one(run: Run, task: Undertaking) -> None:
    """Wait until one agent's part is done, for better or worse; the verdict comes later."""
    shared = Shared.model_validate(run.data)
    sub_dag = shared.sub_dags.get(str(run.agent))
    if sub_dag is None or str(run.agent) in shared.failures:
        run.log(f"{run.agent} takes no part")
        return
    run.log(f"Wait for {run.agent}")
    progress = await _watch(run, SubDag(id=sub_dag))
    if progress.failure is None:
        run.log(f"{run.agent} succeeded")
    else:
        run.log(f"{run.agent} failed: {progress.failure}")
        run.publish(failures={str(run.agent): progress.failure})


async def end_all(run: Run, task: Undertaking) -> None:
    """Release every agent, then say how the whole ended."""
    failures = Shared.model_validate(run.data).failures
    unreleased, released_before = await _end_all(run, run.data.get("sub_dags", {}))
    failures = {**released_before, **failures}
    for agent, why in failures.items():
        run.log(f"{agent} did not succeed: {why}")
    if failures:
        raise errors.SUB_DAG_NOT_ALL_SUCCEED(agents=_listed(failures))
    if unreleased:
        raise errors.SUB_DAG_NOT_ALL_PASSED(agents=_listed(unreleased))
    run.log("All agents succeeded")


async def _end_all(run: Run, sub_dags: dict[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """End every sub DAG, whatever its state.

    Returns the agents whose lock may remain, and those that somebody else had released, with why.
    """
    unreleased: dict[str, str] = {}
    released_before: dict[str, str] = {}
    for agent, answer in (await _call_all(run, sub_dags, end)).items():
        if isinstance(answer, OBShellError):
            run.log(f"{agent} could not be released: {answer}")
            unreleased[str(agent)] = str(answer)
            continue
        run.log(f"{agent} is released")
        if answer.failure is not None:
            released_before[str(agent)] = answer.failure
    return unreleased, released_before


async def _call_all(run: Run, sub_dags: dict[str, str], asked: Any) -> dict[Address, Any]:
    """Call a procedure about each sub DAG on its agent, all at once."""

    async def one(agent: Address, sub_dag: str) -> Any:
        answers = await run.site.peers.call_all(
            [agent], asked, SubDag(id=sub_dag), Deadline.after(_prompt(run))
        )
        return answers[agent]

    agents = [Address.parse(agent) for agent in sub_dags]
    answers = await asyncio.gather(*map(one, agents, sub_dags.values()))
    return dict(zip(agents, answers, strict=True))


async def _watch(run: Run, sub_dag: SubDag) -> Progress:
    """Hold a question to an agent until its work has ended; ask again if it is lost meanwhile."""
    lost_since: Deadline | None = None
    pause = _FIRST_PAUSE_S
    watching = Watching(id=sub_dag.id)

    def told(line: str) -> None:
        watching.seen_lines += 1
        run.log(f"{run.agent} {line}")

    while True:
        try:
            patience = run.deadline.within(_LONGEST_WAIT_S)
            return await run.site.peers.call(run.agent, watch, watching, patience, told)
        except OBShellError as error:
            if error.code is not errors.RPC_REQUEST_FAILED:
                return Progress(failure=str(error))
            lost_since = lost_since or Deadline.after(run.site.settings.lost_agent_s)
            if lost_since.passed():
                return Progress(failure=str(error))
            run.log(f"{run.agent} is out of reach, asking again: {error}")
        await asyncio.sleep(pause)  # back off: the peer may be starting
        pause = min(2 * pause, _LONGEST_PAUSE_S)


def _prompt(run: Run) -> float:
    return run.site.settings.rpc_timeout_s


def _is_target(agent: str, task: Undertaking) -> bool:
    return Address.parse(agent) in task.targets


def _listed(reasons: dict[str, str]) -> str:
    return "; ".join(f"{agent}: {reason}" for agent, reason in reasons.items())


# --- the first and the last stage of a sub DAG ---------------------------------------------------


@stage("Start preparations", Ability.CONTINUE | Ability.PASS | Ability.CANCEL | Ability.RETRY)
async def start_preparations(run: Run, part: Part) -> None:
    """Hold the lock, and wait until the coordinator has everybody together."""
    run.log(f"This agent is locked for DAG {part.main_dag_id}; waiting to be told to go on")
    await run.signal(ADVANCE)


@stage("Wait for task to end", Ability.CONTINUE | Ability.PASS | Ability.CANCEL)
async def wait_for_task_to_end(run: Run, part: Part) -> None:
    """Keep the lock until the coordinator ends the task."""
    run.log(f"The part of this agent is done; waiting for DAG {part.main_dag_id} to end")
    await run.signal(END)


def sub_dag_plan(name: str, part: Part, work: Sequence[Stage[Site, Part]]) -> DagPlan:
    """A member's sub DAG: its lock, held around its work."""
    stages = [start_preparations, *(work if part.works else ()), wait_for_task_to_end]
    return DagPlan(
        name,
        [NodePlan(one) for one in stages],
        part,
        Maintenance(MaintenanceType.GLOBAL),
        {"main_dag_id": part.main_dag_id},
    )


# --- what the coordinator asks of a member -------------------------------------------------------


@procedure("sub_dag/prepare")
async def prepare(site: Site, caller: Caller, part: Part) -> SubDag:
    """Take this agent's lock for a main DAG; asked twice, the answer is the same sub DAG.

    Raises ``Agent.UnderMaintenanceDag`` (the DAG to name in forcePassDag) or
    ``Agent.UnderMaintenance`` when something else holds the lock.
    """
    plan = sub_dag_plan(*_named(site, part))
    while True:
        try:
            return SubDag(id=_id(site, await site.tasks.submit(plan)))
        except MaintenanceConflictError as conflict:
            holder = await site.tasks.dag(conflict.dag_id, logs=False)
        main_dag_id = holder.data.get("main_dag_id")
        if main_dag_id == part.main_dag_id:
            return SubDag(id=_id(site, holder))
        if main_dag_id not in part.force_pass:
            raise refusal(site.own, holder)
        await _release(site, holder.id, caller.deadline)


@procedure("sub_dag/advance")
async def advance(site: Site, caller: Caller, sub_dag: SubDag) -> Nothing:
    """Let the work of a sub DAG begin."""
    dag = await site.tasks.dag(_number(sub_dag), logs=False)
    if dag.state.ended:
        raise errors.SUB_DAG_NOT_ALL_ADVANCED(agents=f"{site.own}: {_ended_early(dag)}")
    await site.tasks.signal(dag.id, ADVANCE)
    return Nothing()


@procedure("sub_dag/watch")
async def watch(site: Site, caller: Caller, request: Watching) -> Progress:
    """Log what a sub DAG logs, and answer when its work has ended."""
    number, seen = GenericId.parse(request.id).number, request.seen_lines

    def moved(dag: Dag) -> Dag | None:
        return dag if dag.state.ended or dag.stage != stage_seen else None

    stage_seen = 0
    while True:
        await site.tasks.wait(number, moved, caller.deadline)
        dag = await site.tasks.dag(number)
        lines = _lines(dag)
        for line in lines[seen:]:
            caller.log(line)
        seen, stage_seen = len(lines), dag.stage
        if dag.state.ended:
            return Progress(failure=_ended_early(dag))
        if dag.stage == dag.max_stage:
            return Progress()


def _lines(dag: Dag) -> list[str]:
    """What the stages of a sub DAG logged, without its last stage, which only waits."""
    return [
        f"[{node.name}] {line}"
        for node in dag.nodes[:-1]
        for task in node.sub_tasks
        for line in task.logs
    ]


@procedure("sub_dag/end")
async def end(site: Site, caller: Caller, sub_dag: SubDag) -> Progress:
    """End a sub DAG whatever its state, and with it this agent's lock.

    Answers with a failure if somebody else had ended it before.
    """
    number = _number(sub_dag)
    dag = await site.tasks.dag(number, logs=False)
    if dag.state is State.SUCCEED:
        return Progress(failure=_ended_early(dag) if dag.operator is Operator.PASS else None)
    if dag.state is State.RUNNING and dag.stage == dag.max_stage:
        await site.tasks.signal(number, END)
        await site.tasks.wait_end(number, caller.deadline)
    else:
        await _release(site, number, caller.deadline)
    return Progress()


async def _release(site: Site, number: int, deadline: Deadline) -> None:
    """Cancel a sub DAG if it runs, then pass it: its lock is free afterwards."""
    dag = await site.tasks.dag(number, logs=False)
    if not dag.state.ended:
        with contextlib.suppress(OBShellError):  # it may end by itself at this moment
            await site.tasks.operate(number, Operator.CANCEL)
        try:
            dag = await site.tasks.wait_end(number, deadline)
        except TimeoutError:
            raise errors.DAG_CANCEL_TIMEOUT(id=_id(site, dag), seconds=deadline.seconds) from None
    if dag.state is State.FAILED:
        await site.tasks.operate(number, Operator.PASS)


def _ended_early(dag: Dag) -> str:
    """Why a sub DAG ended before the coordinator ended it."""
    if dag.operator is Operator.PASS:
        return "its sub DAG was passed by an operator, or released by forcePassDag"
    last = [task.logs[-1] for task in dag.current.sub_tasks if task.logs]
    why = "; ".join(last) or f"its sub DAG is {dag.state}"
    return f"'{dag.current.name}': {why}"


def _named(site: Site, part: Part) -> tuple[str, Part, tuple[Stage[Site, Part], ...]]:
    name, stages = site.works[part.work]
    return name, part, stages


def _number(sub_dag: SubDag) -> int:
    return GenericId.parse(sub_dag.id).number


def _id(site: Site, dag: Dag) -> str:
    return str(GenericId(dag.id, site.own))


STAGES = (start_preparations, wait_for_task_to_end)
PROCEDURES = (prepare, advance, watch, end)
