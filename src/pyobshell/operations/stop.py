"""StopCluster: stop servers by scope, at once (force), flushed (terminate) or gently (neither)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from pyobshell import errors
from pyobshell.address import Address
from pyobshell.cluster.model import ClusterView, Identity
from pyobshell.cluster.procedures import Nothing
from pyobshell.deadline import Deadline
from pyobshell.engines.base import ObState
from pyobshell.errors import OBShellError
from pyobshell.operations import in_sql, majority, server, together, views
from pyobshell.operations.held import ask_until_done
from pyobshell.operations.majority import Leaving
from pyobshell.operations.reached import is_lost
from pyobshell.operations.scope import ScopeType, Targets, resolve
from pyobshell.operations.site import Run, Site
from pyobshell.operations.sub_dag import Part
from pyobshell.operations.together import COORDINATION, Undertaking
from pyobshell.operations.views import Reading
from pyobshell.requests import StopRequest
from pyobshell.tasks.model import Ability, Dag, DagPlan, NodePlan
from pyobshell.tasks.stage import stage

NAME = "Stop OB"
_READING_S = 30.0
_TRANSACTIONS_S = 15.0


class Mode(StrEnum):
    """How servers are stopped."""

    FORCE = "force"  # SIGKILL
    TERMINATE = "terminate"  # minor freeze, verified, then SIGKILL
    GENTLE = "gentle"  # no statement is cut; never SIGKILL. In a cluster: STOP, in SQL


@dataclass(frozen=True, slots=True)
class Order:
    """A stop as it was asked for: which servers, and how."""

    targets: Targets
    mode: Mode
    force_pass: list[str]

    @classmethod
    def of(cls, request: StopRequest, view: ClusterView) -> Self:
        """Read a request; raises the errors of a scope, of identity, and of flags in conflict."""
        targets = resolve(request.scope, view)
        view.require(Identity.CLUSTER_AGENT)
        return cls(targets, _mode(request), request.forcePassDag.id)


def _mode(request: StopRequest) -> Mode:
    if request.force and request.terminate:
        raise errors.STOP_MODE_CONFLICT()
    if request.force:
        return Mode.FORCE
    return Mode.TERMINATE if request.terminate else Mode.GENTLE


async def stop_cluster(site: Site, request: StopRequest) -> Dag:
    """Validate a stop against the cluster as it is, and begin it.

    Raises the errors of validation in OBShell's order; nothing is recorded then. A lock held by
    an agent is not an error here: the DAG meets it and fails, naming what to release.
    """
    order = Order.of(request, site.cluster.view)
    async for objection in objections(site, order):
        raise objection
    return await site.submit(plan(site, order))


async def objections(site: Site, order: Order) -> AsyncIterator[OBShellError]:
    """Every reason not to begin a stop now, in OBShell's order."""
    targets, mode = order.targets, order.mode
    if mode is Mode.GENTLE and targets.type is ScopeType.GLOBAL:
        yield errors.FORCE_STOP_OR_TERMINATE_REQUIRED()
        return
    needs_connection = mode is not Mode.FORCE or targets.type is ScopeType.ZONE
    if needs_connection and await site.engine.state() is not ObState.CONNECTION_AVAILABLE:
        yield errors.FORCE_STOP_REQUIRED()
    leaving = _to_spare(site, order)
    if leaving is not None:
        async for objection in spared(site, leaving):
            yield objection
    elif mode is Mode.GENTLE:
        async for objection in _servers_elsewhere(site, targets):
            yield objection


async def spared(site: Site, leaving: Leaving) -> AsyncIterator[OBShellError]:
    """Every reason for which the cluster cannot spare what is to leave, as it is now."""
    patience = Deadline.after(site.settings.rpc_timeout_s)
    try:
        seen = await views.look(site, Reading(), patience)
    except OBShellError as error:
        yield majority.unchecked(error)
    else:
        for objection in majority.objections(seen, leaving):
            yield objection


def leaving_of(site: Site, order: Order) -> Leaving:
    """What would leave a cluster of servers: in SQL whole zones, else the servers of targets."""
    targets = order.targets
    if order.mode is Mode.GENTLE and targets.type is ScopeType.ZONE:
        return Leaving(zones=list(targets.zones), alone=True)
    members = site.cluster.view.members
    servers = [member.server for member in members if member.address in targets.agents]
    return Leaving(servers=servers, alone=order.mode is Mode.GENTLE)


def _to_spare(site: Site, order: Order) -> Leaving | None:
    """What a cluster of servers has to spare; none: it is not asked.

    Who stops the whole cluster wants no majority, and ``force`` does not ask.
    """
    everything = order.targets.type is ScopeType.GLOBAL
    if site.engine.cluster is None or order.mode is Mode.FORCE or everything:
        return None
    return leaving_of(site, order)


async def _servers_elsewhere(site: Site, targets: Targets) -> AsyncIterator[OBShellError]:
    """Where no cluster tells of them: no server of another zone may be down already."""
    if len(targets.zones) > 1:
        yield errors.SERVER_STOPPED_IN_MULTI_ZONE(detail=", ".join(targets.zones))
    view = site.cluster.view
    elsewhere = [m.address for m in view.members if m.zone not in targets.zones]
    patience = Deadline.after(site.settings.rpc_timeout_s)
    answers = await site.peers.call_all(
        elsewhere, server.status, Nothing(), patience, if_there=True
    )
    for agent, answer in answers.items():
        if isinstance(answer, OBShellError):
            detail = f"whether {agent} is up could not be checked ({answer}); 'force' does not ask"
            yield errors.SERVER_STOPPED_IN_MULTI_ZONE(detail=detail)
        elif answer.state is ObState.PROCESS_NOT_RUNNING:
            yield errors.SERVER_STOPPED_IN_MULTI_ZONE(detail=f"{agent} is stopped already")


def plan(site: Site, order: Order) -> DagPlan:
    """The stages of ``Stop OB``; every member takes part, only targets are stopped."""
    view, targets, mode = site.cluster.view, order.targets, order.mode
    nodes = [NodePlan(inform, view.addresses), NodePlan(make_sure_all_are_ready)]
    if mode is Mode.TERMINATE:
        nodes.append(NodePlan(minor_freeze))
    nodes += [NodePlan(advance_all), NodePlan(wait_for_all, view.addresses)]
    if mode is Mode.GENTLE:
        nodes.append(NodePlan(execute_stop_sql))
    nodes.append(NodePlan(end_all))
    undertaking = Undertaking(
        work="stop",
        mode=mode,
        scope=targets.type,
        targets=list(targets.agents),
        leaving=_to_spare(site, order),
        in_sql=mode is Mode.GENTLE and site.engine.cluster is not None,
        force_pass=order.force_pass,
    )
    return DagPlan(NAME, nodes, undertaking)


# --- the stages of Stop OB -----------------------------------------------------------------------

inform = stage("Inform all agents to prepare to stop observer", COORDINATION, key="stop.inform")(
    together.inform
)

make_sure_all_are_ready = stage(
    "Make sure all agents are ready", COORDINATION, key="stop.make_sure_all_are_ready"
)(together.make_sure_all_are_ready)


@stage("Minor freeze before stop server", COORDINATION)
@together.releasing
async def minor_freeze(run: Run, task: Undertaking) -> None:
    """Flush every target; a server that cannot be flushed keeps all of them from being killed.

    An agent that is lost meanwhile fails alone: its server goes on.
    """
    run.log(f"Minor freeze of {', '.join(map(str, task.targets))}")
    failed: dict[str, OBShellError] = {}

    async def flush(agent: Address) -> None:
        try:
            await ask_until_done(run, agent, server.freeze, Nothing(), run.log_from(agent))
        except OBShellError as error:
            run.log(f"{agent} {error.logged()}")
            failed[str(agent)] = error

    reachable = [agent for agent in task.targets if str(agent) in run.data["sub_dags"]]
    await asyncio.gather(*map(flush, reachable))
    lost = {agent for agent, error in failed.items() if is_lost(error)}
    if len(failed) > len(lost) or (lost and len(lost) == len(reachable)):
        unreached = run.data.get("failures", {})
        detail = "; ".join(f"{agent}: {why}" for agent, why in {**failed, **unreached}.items())
        flushed = ",".join(agent for agent in map(str, reachable) if agent not in failed)
        which = f"not flushed: {','.join(failed)}; flushed: {flushed or 'none'}"
        raise errors.SERVER_UNAVAILABLE(reason=f"{detail}. No server was killed; {which}")
    run.publish(failures={agent: str(failed[agent]) for agent in lost})


@stage("Advance agents to execute the task", COORDINATION)
@together.releasing
async def advance_all(run: Run, task: Undertaking) -> None:
    """Let every agent begin its work, if the cluster can still spare the targets."""
    looked_at = None
    spares = None if task.in_sql else task.leaving
    waited = spares is not None or task.mode == Mode.TERMINATE  # for SQL, for the freeze
    if waited:
        await together.require_locks(run)
    if spares is not None:  # last: what is looked at long before it is told is not done
        await _still_spared(run, spares)
        looked_at = time.time()
    await together.advance_all_after(run, task, looked_at, checked=waited)


async def _still_spared(run: Run, leaving: Leaving) -> None:
    """Raise unless the cluster can spare what is to leave, now that nothing else can begin."""
    run.log(f"Look whether every log stream keeps its majority without {leaving}")
    patience = run.deadline.within(_READING_S)
    try:
        seen = await views.look(run.site, Reading(settled=True), patience, run.log)
    except OBShellError as error:
        raise majority.unchecked(error) from error
    for objection in majority.objections(seen, leaving):
        raise objection


wait_for_all = stage(
    "Wait for all agents to execute tasks successfully",
    COORDINATION,
    key="stop.wait_for_all",
)(together.wait_for_one)


@stage("Execute stop sql", COORDINATION)
@together.releasing
async def execute_stop_sql(run: Run, task: Undertaking) -> None:
    """STOP what is to leave the cluster, looked at once more; or see that the targets are down.

    Whoever serves does it. Servers that form no cluster have no SQL to stop each other.
    """
    if task.leaving is not None:
        patience = run.deadline.within(run.site.settings.stop_timeout_s)
        await in_sql.ask_to_leave(run, task.leaving, patience)
        return
    failures = run.data.get("failures", {})
    expected = [agent for agent in task.targets if str(agent) not in failures]
    patience = Deadline.after(run.site.settings.rpc_timeout_s)
    answers = await run.site.peers.call_all(expected, server.status, Nothing(), patience)
    for agent, answer in answers.items():
        if isinstance(answer, OBShellError):
            run.publish(failures={str(agent): str(answer)})
        elif answer.state is not ObState.PROCESS_NOT_RUNNING:
            run.publish(failures={str(agent): "its server runs again"})
        else:
            run.log(f"{agent} is out of service")


end_all = stage("Inform all agents to end the task", COORDINATION, key="stop.end_all")(
    together.end_all
)


# --- the work of the sub DAG Stop observer -------------------------------------------------------


@stage("Stop observer", Ability.RETRY | Ability.CONTINUE | Ability.PASS | Ability.CANCEL)
async def stop_observer(run: Run, part: Part) -> None:
    """End the server beside this agent; a server that is down is fine.

    An order that was given to an earlier life of this agent may be old: the cluster is asked again.
    """
    stop_timeout_s = run.site.settings.stop_timeout_s
    late = run.continuing or "continued" in run.data
    if part.leaving is not None and late and await _runs(run):
        await _still_spared(run, part.leaving)
    if part.mode == Mode.TERMINATE:
        await _end_transactions_if_possible(run)
    if part.mode != Mode.GENTLE:
        await run.site.keeper.kill(run.log, run.deadline.within(stop_timeout_s))
        return
    if await _runs(run):
        await _make_idle(run)
        await server.flush(run.site, run.log, run.deadline)
        await _make_idle(run)
        await run.site.engine.end_transactions(run.log, run.deadline.within(_TRANSACTIONS_S))
    await run.site.keeper.terminate(run.log, run.deadline.within(stop_timeout_s))


async def _runs(run: Run) -> bool:
    return await run.site.engine.state() is not ObState.PROCESS_NOT_RUNNING


async def _end_transactions_if_possible(run: Run) -> None:
    """Asked for is the end of the server: one that gives no answer is killed all the same."""
    try:
        await run.site.engine.end_transactions(run.log, run.deadline.within(_TRANSACTIONS_S))
    except OBShellError as error:
        run.log(f"WARNING: transactions may be open when the server is killed: {error}")


async def _make_idle(run: Run) -> None:
    """Wait until no statement runs; raises, and the server goes on, if that never comes."""
    patience = run.deadline.within(run.site.settings.drain_timeout_s)
    await run.site.engine.drain(run.log, patience)


WORK = ("Stop observer", (stop_observer,))
STAGES = (
    inform,
    make_sure_all_are_ready,
    minor_freeze,
    advance_all,
    wait_for_all,
    execute_stop_sql,
    end_all,
    stop_observer,
)
