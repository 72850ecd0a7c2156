"""How every agent is brought to do its part of one operation, and is released afterwards.

The agent that took the request (the coordinator) runs the main DAG, ``Stop OB`` or ``Start OB``.
Each member takes its maintenance lock by recording a sub DAG of its own, and holds it until it is
told to end. The sub DAG waits twice for the coordinator: before its work, and after it.

    coordinator   inform all ── all ready? ── advance ───────── wait for all ──────── end all
                      │ prepare                  │ advance         │ watch              │ end
    member        Start preparations ··········· the work ───── Wait for task to end ··········

A target that cannot be reached, or fails, fails alone: the others go on, and the verdict of the
last stage names it. A member that is no target and cannot be reached is left out with a warning.
Whatever ends the task, the agents are released; RETRY begins it anew, for what is left to do.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Mapping
from typing import Literal, TypeVar

import structlog
from pydantic import BaseModel

from pyobshell import errors
from pyobshell.address import Address
from pyobshell.cluster.procedures import Nothing, Procedure
from pyobshell.deadline import Deadline
from pyobshell.errors import OBShellError
from pyobshell.operations.held import ask_until_done
from pyobshell.operations.line import Claimant
from pyobshell.operations.majority import Leaving
from pyobshell.operations.ordered import has_just_begun, prepared
from pyobshell.operations.reached import is_lost, pointing
from pyobshell.operations.release import is_over
from pyobshell.operations.site import Run, Site
from pyobshell.operations.sub_dag import (
    GoAhead,
    Part,
    Progress,
    SubDag,
    Watching,
    advance,
    end,
    holds,
    leave_line,
    watch,
)
from pyobshell.tasks.model import Ability, Dag, State
from pyobshell.undivided import done_unless

Req = TypeVar("Req", bound=BaseModel)
Res = TypeVar("Res", bound=BaseModel)

# What the coordinator asks may be asked twice, so that it goes on where it was killed. Failed or
# cancelled, it has released the agents: RETRY brings them together again.
COORDINATION = Ability.CONTINUE | Ability.CANCEL | Ability.RETRY | Ability.PASS | Ability.ANEW

_log = structlog.get_logger(__name__)
_RELEASE_TIMEOUT_S = 300.0


class Undertaking(BaseModel):
    """Parameters of a main DAG: what is to be done to which members.

    ``scope`` is its type, ``zones`` those that are meant as a whole. ``leaving`` is what the
    servers' cluster has to spare; none: it is not asked. ``in_sql`` alone, nobody has work.
    With ``all_or_none`` no work is begun while a target cannot be reached.
    """

    work: Literal["start", "stop", "restart"]
    mode: str = ""
    scope: str = ""
    targets: list[Address]
    zones: list[str] = []
    leaving: Leaving | None = None
    in_sql: bool = False
    force_pass: list[str]
    all_or_none: bool = False

    def works(self, agent: Address) -> bool:
        """Whether an agent has something to do to its server."""
        return agent in self.targets and not self.in_sql


Task = TypeVar("Task", bound=Undertaking)


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
        works=task.works(run.agent),
        leaving=task.leaving,
        force_pass=task.force_pass,
        attempt=run.attempt,
    )
    patience_s = _RELEASE_TIMEOUT_S if task.force_pass else _prompt(run)
    refused = run.site.refused.setdefault(run.dag_id, asyncio.Event())
    asking = asyncio.create_task(prepared(run, part, patience_s))
    try:
        if not await done_unless(asking, refused):
            await _no_longer_wanted(run)  # then it is answered at once
        made = await asking
    except OBShellError as refusal:
        error = pointing(run.site.cluster.view, run.agent, refusal)
        run.log(f"{run.agent} {error.logged()}")
        unreachable = is_lost(error) or error.code is errors.ORDER_SUPERSEDED
        run.publish(**{"unreachable" if unreachable else "refused": {str(run.agent): str(error)}})
        if not unreachable:
            refused.set()
    else:
        run.log(f"{run.agent} has prepared: sub DAG {made.id}")
        run.publish(sub_dags={str(run.agent): made.id})
    finally:
        asking.cancel()


async def _no_longer_wanted(run: Run) -> None:
    """Have an agent not wait for its lock any longer: another one has refused."""
    claimant = Claimant(main_dag_id=run.generic_id, attempt=run.attempt)
    try:
        await run.site.peers.call(run.agent, leave_line, claimant, Deadline.after(_prompt(run)))
    except OBShellError as error:
        run.log(f"{run.agent} could not be told that another agent has refused: {error}")


Body = Callable[[Run, Task], Awaitable[None]]


def releasing(body: Body[Task]) -> Body[Task]:
    """A stage that ends the task when it fails or is cancelled: before that all are released."""

    @functools.wraps(body)
    async def stage_body(run: Run, task: Task) -> None:
        async def release_all() -> None:
            await _end_all(run, Shared.model_validate(run.data).sub_dags)

        try:
            await body(run, task)
        except Exception:
            await run.site.releasing.do(run.dag_id, release_all)
            raise
        except asyncio.CancelledError:
            if run.cancelled() or run.deadline.has_rung():  # else the agent goes down
                await run.site.releasing.do(run.dag_id, release_all)
            raise

    return stage_body


@releasing
async def make_sure_all_are_ready(run: Run, task: Undertaking) -> None:
    """Go on if every agent that matters holds its lock; else release the others and fail."""
    shared = Shared.model_validate(run.data)
    lost = {agent: why for agent, why in shared.unreachable.items() if _works(agent, task)}
    for agent, why in shared.unreachable.items():
        if agent not in lost:
            run.log(f"WARNING: {agent} is left out, it has nothing to do: {why}")
    too_many = lost and (task.all_or_none or len(lost) == len(task.targets))
    if shared.refused or too_many:
        for agent, why in {**shared.refused, **lost}.items():
            run.log(f"{agent} is not ready: {why}")
        raise errors.SUB_DAG_NOT_ALL_CREATED(agents=_listed({**shared.refused, **lost}))
    run.publish(failures=lost)
    for agent in shared.sub_dags:
        run.log(f"{agent} is ready")


@releasing
async def advance_all(run: Run, task: Undertaking) -> None:
    """Let every agent begin its work."""
    await advance_all_after(run, task)


async def advance_all_after(
    run: Run, task: Undertaking, looked_at: float | None = None, *, checked: bool = False
) -> None:
    """Let every agent begin that has not failed; ``looked_at`` as in :class:`GoAhead`.

    Not if the task has been given up meanwhile: that is ``checked``, or it has just begun.
    """
    if not checked and (run.continuing or not has_just_begun(run)):
        await require_locks(run)
    shared = Shared.model_validate(run.data)
    ready = {one: sub_dag for one, sub_dag in shared.sub_dags.items() if one not in shared.failures}
    for agent, answer in (await go_ahead(run, ready, looked_at)).items():
        if not isinstance(answer, OBShellError):
            run.log(f"{agent} goes on")
        elif is_lost(answer) and not task.works(agent):
            run.log(f"WARNING: {agent} is left out, it has nothing to do: {answer}")
            run.publish(unreachable={str(agent): str(answer)})
        else:
            run.log(f"{agent} could not be told to go on: {answer}")
            run.publish(failures={str(agent): str(answer)})


@releasing
async def wait_for_one(run: Run, task: Undertaking) -> None:
    """Wait until one agent's part is done, for better or worse; the verdict comes later."""
    shared = Shared.model_validate(run.data)
    sub_dag = shared.sub_dags.get(str(run.agent))
    if sub_dag is None or str(run.agent) in (*shared.failures, *shared.unreachable):
        run.log(f"{run.agent} takes no part")
        return
    run.log(f"Wait for {run.agent}")
    if task.works(run.agent):
        progress = await watch_agent(run, SubDag(id=sub_dag))
    else:
        progress = await _see_idle_agent(run, SubDag(id=sub_dag))
    if progress.failure is None:
        run.log(f"{run.agent} succeeded")
    else:
        run.log(f"{run.agent} failed: {progress.failure}")
        run.publish(failures={str(run.agent): progress.failure})


async def _see_idle_agent(run: Run, sub_dag: SubDag) -> Progress:
    """How it went with an agent that has nothing to do; if it is lost nobody waits for it."""
    watching, patience = Watching(id=sub_dag.id), Deadline.after(_prompt(run))
    try:
        call = run.site.peers.call
        return await call(run.agent, watch, watching, patience, again=True, if_there=True)
    except OBShellError as error:
        if not is_lost(error):
            return Progress(failure=str(error))
        run.log(f"WARNING: {run.agent} is lost, but has nothing to do: {error}")
        return Progress()


async def end_all(run: Run, task: Undertaking) -> None:
    """Release every agent, then say how the whole ended."""
    failures = Shared.model_validate(run.data).failures
    unreleased, released_before = await _end_all(run, run.data.get("sub_dags", {}))
    failures = {**released_before, **failures}
    for agent, why in failures.items():
        run.log(f"{agent} did not succeed: {why}")
    if failures:
        raise errors.SUB_DAG_NOT_ALL_SUCCEED(agents=_listed(failures))
    for agent in [one for one in unreleased if not _works(one, task)]:
        run.log(f"WARNING: {agent} lets itself go, when it sees that this task has ended")
        del unreleased[agent]
    if unreleased:
        raise errors.SUB_DAG_NOT_ALL_PASSED(agents=_listed(unreleased))
    run.log("All agents succeeded")


def let_go(site: Site, dag: Dag) -> None:
    """Have the agents released, without waiting, that a main DAG held when it failed.

    Most are already. Those that cannot be reached let themselves go (``operations.release``).
    """
    if dag.state is State.FAILED and dag.data.get("sub_dags"):
        site.background.begin(_let_go(site, dag))


async def _let_go(site: Site, dag: Dag) -> None:
    if not is_over(await site.tasks.dag(dag.id, logs=False)):
        return
    sub_dags = Shared.model_validate(dag.data).sub_dags
    patience = Deadline.after(site.settings.rpc_timeout_s)
    answers = await site.peers.call_each(_named(sub_dags), end, patience, again=True)
    for agent, answer in answers.items():
        if isinstance(answer, OBShellError):
            cause = str(answer)
            _log.info("not released yet", action="together.let_go", agent=str(agent), cause=cause)


async def require_locks(run: Run) -> None:
    """Raise if an agent has been released by somebody else, who has thus given this task up.

    One that cannot be asked is no reason: it may be lost.
    """
    shared = Shared.model_validate(run.data)
    answers = await call_all(run, shared.sub_dags, holds)
    require_held({str(agent): _released(answer) for agent, answer in answers.items()})


def _released(answer: Progress | OBShellError) -> str | None:
    if isinstance(answer, OBShellError):
        rebuilt = answer.code is errors.TASK_NOT_FOUND
        return str(answer) if rebuilt else None
    return answer.failure


def require_held(released: Mapping[str, str | None]) -> None:
    """Raise ``Task.SubDag.NotAllAdvanced`` with the agents that were released, and why."""
    gone = {agent: why for agent, why in released.items() if why is not None}
    if gone:
        raise errors.SUB_DAG_NOT_ALL_ADVANCED(agents=_listed(gone))


async def _end_all(run: Run, sub_dags: dict[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """End every sub DAG, whatever its state.

    Returns the agents whose lock may remain, and those that somebody else had released, with why.
    """
    unreleased: dict[str, str] = {}
    released_before: dict[str, str] = {}
    for agent, answer in (await call_all(run, sub_dags, end)).items():
        if isinstance(answer, OBShellError):
            run.log(f"{agent} could not be released: {answer}")
            unreleased[str(agent)] = str(answer)
            continue
        run.log(f"{agent} is released")
        if answer.failure is not None:
            released_before[str(agent)] = answer.failure
    return unreleased, released_before


# --- what they and others have in common ---------------------------------------------------------


async def call_all(
    run: Run, sub_dags: dict[str, str], asked: Procedure[Site, SubDag, Res]
) -> dict[Address, Res | OBShellError]:
    """Call a procedure about each sub DAG on its agent, all at once."""
    return await _call_each(run, _named(sub_dags), asked)


def _named(sub_dags: Mapping[str, str]) -> dict[Address, SubDag]:
    return {Address.parse(agent): SubDag(id=sub_dag) for agent, sub_dag in sub_dags.items()}


async def go_ahead(
    run: Run, sub_dags: dict[str, str], looked_at: float | None = None
) -> dict[Address, Nothing | OBShellError]:
    """Tell agents to begin their work."""
    requests = {
        Address.parse(agent): GoAhead(id=sub_dag, looked_at=looked_at)
        for agent, sub_dag in sub_dags.items()
    }
    return await _call_each(run, requests, advance)


async def _call_each(
    run: Run, requests: Mapping[Address, Req], asked: Procedure[Site, Req, Res]
) -> dict[Address, Res | OBShellError]:
    patience = Deadline.after(_prompt(run))
    return await run.site.peers.call_each(requests, asked, patience, again=True)


async def watch_agent(run: Run, sub_dag: SubDag) -> Progress:
    """Wait until the work of the agent's sub DAG has ended, and log what it logs."""
    watching = Watching(id=sub_dag.id)

    def told(line: str) -> None:
        watching.seen_lines += 1
        run.log(f"{run.agent} {line}")

    try:
        return await ask_until_done(run, run.agent, watch, watching, told)
    except OBShellError as error:
        return Progress(failure=str(pointing(run.site.cluster.view, run.agent, error)))


def _prompt(run: Run) -> float:
    return run.site.settings.rpc_timeout_s


def _works(agent: str, task: Undertaking) -> bool:
    return task.works(Address.parse(agent))


def _listed(reasons: dict[str, str]) -> str:
    return "; ".join(f"{agent}: {reason}" for agent, reason in reasons.items())
