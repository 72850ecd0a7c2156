"""StopCluster: stop servers by scope, at once (force), flushed (terminate) or gently (neither)."""

from __future__ import annotations

from enum import StrEnum

from pyobshell import errors
from pyobshell.cluster.model import ClusterView, Identity
from pyobshell.cluster.procedures import Nothing
from pyobshell.deadline import Deadline
from pyobshell.engines.base import ObState
from pyobshell.errors import OBShellError
from pyobshell.operations import server, together
from pyobshell.operations.scope import ScopeType, Targets, resolve
from pyobshell.operations.site import Run, Site
from pyobshell.operations.sub_dag import Part
from pyobshell.operations.together import COORDINATION, Undertaking
from pyobshell.tasks.model import Ability, Dag, DagPlan, NodePlan
from pyobshell.tasks.stage import stage
from pyobshell.wire import StopRequest


class Mode(StrEnum):
    """How servers are stopped."""

    FORCE = "force"  # SIGKILL
    TERMINATE = "terminate"  # minor freeze, verified, then SIGKILL
    GENTLE = "gentle"  # no statement is cut; never SIGKILL


async def stop_cluster(site: Site, request: StopRequest) -> Dag:
    """Validate a stop against the cluster as it is, and begin it.

    Raises the errors of validation in OBShell's order; nothing is recorded then. A lock held by
    an agent is not an error here: the DAG meets it and fails, naming what to release.
    """
    view = site.cluster.view
    targets = resolve(request.scope, view)
    view.require(Identity.CLUSTER_AGENT)
    mode = _mode(request, targets)
    needs_connection = mode is not Mode.FORCE or targets.type is ScopeType.ZONE
    if needs_connection and await site.engine.state() is not ObState.CONNECTION_AVAILABLE:
        raise errors.FORCE_STOP_REQUIRED()
    if mode is Mode.GENTLE:
        await _check_one_zone(site, targets)
    return await site.submit(plan(view, targets, mode, request.forcePassDag.id))


def _mode(request: StopRequest, targets: Targets) -> Mode:
    if request.force and request.terminate:
        raise errors.STOP_MODE_CONFLICT()
    if request.force:
        return Mode.FORCE
    if request.terminate:
        return Mode.TERMINATE
    if targets.type is ScopeType.GLOBAL:
        raise errors.FORCE_STOP_OR_TERMINATE_REQUIRED()
    return Mode.GENTLE


async def _check_one_zone(site: Site, targets: Targets) -> None:
    """A gentle stop keeps to one zone, and no server of another zone may be down already."""
    if len(targets.zones) > 1:
        raise errors.SERVER_STOPPED_IN_MULTI_ZONE(detail=", ".join(targets.zones))
    view = site.cluster.view
    elsewhere = [m.address for m in view.members if m.zone not in targets.zones]
    patience = Deadline.after(site.settings.rpc_timeout_s)
    answers = await site.peers.call_all(elsewhere, server.status, Nothing(), patience)
    for agent, answer in answers.items():
        if isinstance(answer, OBShellError):
            detail = f"whether {agent} is up could not be checked ({answer}); 'force' does not ask"
            raise errors.SERVER_STOPPED_IN_MULTI_ZONE(detail=detail)
        if answer.state is ObState.PROCESS_NOT_RUNNING:
            raise errors.SERVER_STOPPED_IN_MULTI_ZONE(detail=f"{agent} is stopped already")


def plan(view: ClusterView, targets: Targets, mode: Mode, force_pass: list[str]) -> DagPlan:
    """The stages of ``Stop OB``; every member takes part, only targets are stopped."""
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
        targets=list(targets.agents),
        force_pass=force_pass,
    )
    return DagPlan("Stop OB", nodes, undertaking)


# --- the stages of Stop OB -----------------------------------------------------------------------

inform = stage("Inform all agents to prepare to stop observer", COORDINATION, key="stop.inform")(
    together.inform
)

make_sure_all_are_ready = stage(
    "Make sure all agents are ready", COORDINATION, key="stop.make_sure_all_are_ready"
)(together.make_sure_all_are_ready)


@stage("Minor freeze before stop server", Ability.ALL)
async def minor_freeze(run: Run, task: Undertaking) -> None:
    """Flush every target; a server that cannot be flushed keeps all of them from being killed."""
    site = run.site
    run.log(f"Minor freeze of {', '.join(map(str, task.targets))}")
    reachable = [agent for agent in task.targets if str(agent) in run.data["sub_dags"]]
    patience = run.deadline.within(site.settings.freeze_timeout_s)
    answers = await site.peers.call_all(reachable, server.freeze, Nothing(), patience, run.log)
    failed = {agent: one for agent, one in answers.items() if isinstance(one, OBShellError)}
    for agent, error in failed.items():
        run.log(f"{agent} {error.logged()}")
    if failed:
        detail = "; ".join(f"{agent}: {error}" for agent, error in failed.items())
        raise errors.SERVER_UNAVAILABLE(
            reason=f"{detail}. The agents stay locked: RETRY this task, or begin a new stop with "
            f"forcePassDag {run.generic_id}"
        )


advance_all = stage("Advance agents to execute the task", COORDINATION, key="stop.advance_all")(
    together.advance_all
)

wait_for_all = stage(
    "Wait for all agents to execute tasks successfully",
    COORDINATION,
    key="stop.wait_for_all",
)(together.wait_for_one)


@stage("Execute stop sql", COORDINATION)
async def execute_stop_sql(run: Run, task: Undertaking) -> None:
    """See that the targets are out of service: these servers have no SQL to stop each other."""
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
    """End the server beside this agent; a server that is down is fine."""
    stop_timeout_s = run.site.settings.stop_timeout_s
    if part.mode != Mode.GENTLE:
        await run.site.keeper.kill(run.log, run.deadline.within(stop_timeout_s))
        return
    if await run.site.engine.state() is not ObState.PROCESS_NOT_RUNNING:
        await _make_idle(run)
        await server.flush(run.site, run.log, run.deadline)
        await _make_idle(run)
    await run.site.keeper.terminate(run.log, run.deadline.within(stop_timeout_s))


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
