"""StartCluster: start servers by scope, and know that they serve."""

from __future__ import annotations

from pyobshell import errors
from pyobshell.address import Address
from pyobshell.cluster.model import ClusterView, Identity
from pyobshell.cluster.procedures import Nothing
from pyobshell.deadline import Deadline
from pyobshell.engines.base import ObState
from pyobshell.engines.ob_cluster import ACTIVE, ObCluster
from pyobshell.errors import OBShellError
from pyobshell.operations import in_sql, server, service, together
from pyobshell.operations.in_sql import Entering
from pyobshell.operations.scope import ScopeType, Targets, resolve
from pyobshell.operations.site import Run, Site
from pyobshell.operations.sub_dag import Part
from pyobshell.operations.together import COORDINATION, Undertaking
from pyobshell.requests import StartRequest
from pyobshell.tasks.model import Ability, Dag, DagPlan, NodePlan
from pyobshell.tasks.stage import stage


async def start_cluster(site: Site, request: StartRequest) -> Dag:
    """Validate a start in OBShell's order, and begin it; an error leaves nothing recorded."""
    view = site.cluster.view
    targets = resolve(request.scope, view)
    # A member's server whose files are not found is none that was never made.
    if not site.engine.is_initialized() and not site.keeper.knows_server:
        raise errors.CLUSTER_NOT_INITIALIZED()
    view.require(Identity.CLUSTER_AGENT)
    return await site.submit(plan(view, targets, request.forcePassDag.id))


def plan(view: ClusterView, targets: Targets, force_pass: list[str]) -> DagPlan:
    """The stages of ``Start OB``."""
    nodes = [
        NodePlan(inform, view.addresses),
        NodePlan(make_sure_all_are_ready),
        NodePlan(advance_all),
        NodePlan(wait_for_all, view.addresses),
    ]
    if targets.type is not ScopeType.SERVER:
        nodes.append(NodePlan(start_zone))
    nodes.append(NodePlan(end_all))
    undertaking = Undertaking(
        work="start",
        scope=targets.type,
        targets=list(targets.agents),
        zones=[] if targets.type is ScopeType.SERVER else list(targets.zones),
        force_pass=force_pass,
    )
    return DagPlan("Start OB", nodes, undertaking)


# --- the stages of Start OB ----------------------------------------------------------------------

inform = stage("Inform all agents to start observer", COORDINATION, key="start.inform")(
    together.inform
)

make_sure_all_are_ready = stage(
    "Make sure all agents are ready", COORDINATION, key="start.make_sure_all_are_ready"
)(together.make_sure_all_are_ready)

advance_all = stage("Advance agents to execute the task", COORDINATION, key="start.advance_all")(
    together.advance_all
)

wait_for_all = stage(
    "Wait for all agents to execute tasks successfully",
    COORDINATION,
    key="start.wait_for_all",
)(together.wait_for_one)


@stage("Start Zone", COORDINATION)
@together.releasing
async def start_zone(run: Run, task: Undertaking) -> None:
    """START the zones, and see that every server serves, those that were up already included."""
    failures = run.data.get("failures", {})
    expected = [agent for agent in task.targets if str(agent) not in failures]
    if run.site.engine.cluster is None:
        await _see_that_they_serve(run, task, expected)
        return
    members = run.site.cluster.view.members
    servers = [member.server for member in members if member.address in expected]
    entering = Entering(zones=task.zones, servers=servers)
    patience = run.deadline.within(run.site.settings.start_timeout_s)
    try:
        await in_sql.ask_to_enter(run, entering, patience)
    except OBShellError as error:
        run.log(error.logged())
        run.publish(failures={", ".join(task.zones): str(error)})


async def _see_that_they_serve(run: Run, task: Undertaking, expected: list[Address]) -> None:
    patience = Deadline.after(run.site.settings.rpc_timeout_s)
    answers = await run.site.peers.call_all(expected, server.status, Nothing(), patience)
    missing: dict[str, str] = {}
    for agent, answer in answers.items():
        if isinstance(answer, OBShellError):
            missing[str(agent)] = str(answer)
        elif answer.state is not ObState.CONNECTION_AVAILABLE:
            missing[str(agent)] = f"its server does not serve (obState {int(answer.state)})"
    for agent_text, why in missing.items():
        run.log(f"{agent_text}: {why}")
    run.publish(failures=missing)
    run.log(f"{len(expected) - len(missing)} of {len(task.targets)} servers serve")


end_all = stage("Inform all agents to end the task", COORDINATION, key="start.end_all")(
    together.end_all
)


# --- the work of the sub DAG Start observer ------------------------------------------------------

_WITHOUT_ROLLBACK = Ability.CONTINUE | Ability.PASS | Ability.CANCEL


@stage("Check ob process and config", _WITHOUT_ROLLBACK)
async def check_process_and_config(run: Run, part: Part) -> None:
    """See whether there is something to start, and whether a start can succeed."""
    await look_before_start(run)


async def look_before_start(run: Run) -> None:
    """See whether there is something to start here; raises what would keep a start from success."""
    site = run.site
    process = await site.engine.process()
    if process is not None:
        run.log(f"The server runs already, pid {process.pid}")
        process.close()
        return
    await site.keeper.check_start()
    run.log("The server is down and can be started")


@stage("Start observer", Ability.ALL)
async def start_observer(run: Run, part: Part) -> None:
    """Start the server beside this agent and wait until it accepts SQL."""
    await run.site.keeper.start(run.log, run.deadline.within(run.site.settings.start_timeout_s))


@stage("Execute start observer sql", _WITHOUT_ROLLBACK)
async def execute_start_sql(run: Run, part: Part) -> None:
    """See that the server serves the cluster's root user, and START it in its cluster.

    That needs a majority of servers, and then the server's log streams to catch up.
    """
    site, cluster = run.site, run.site.engine.cluster
    if cluster is not None:
        deadline = run.deadline.within(site.settings.start_timeout_s)
        await service.until_usable(site.engine, run.log, deadline)
        await _enter(run, cluster, deadline)
        return
    state = await site.engine.state()
    if state is not ObState.CONNECTION_AVAILABLE:
        raise errors.SERVER_UNAVAILABLE(
            reason=f"it runs, but does not serve this agent's user (obState {int(state)})"
        )
    run.log("The server serves")


async def _enter(run: Run, cluster: ObCluster, deadline: Deadline) -> None:
    me = run.site.cluster.view.member(run.site.own)
    if me is None:
        raise errors.AGENT_NOT_EXIST(agent=run.site.own)
    run.log(f"START SERVER {me.server}")
    await cluster.start_servers([me.server], deadline)
    await service.until_in_service(run.site, [me.server], run.log, deadline, alone=True)
    for zone in await cluster.zones(deadline):
        if zone.name == me.zone and zone.status != ACTIVE:
            run.log(f"WARNING: its zone {me.zone} is {zone.status}, until that is started too")


WORK = ("Start observer", (check_process_and_config, start_observer, execute_start_sql))
STAGES = (
    inform,
    make_sure_all_are_ready,
    advance_all,
    wait_for_all,
    start_zone,
    end_all,
    check_process_and_config,
    start_observer,
    execute_start_sql,
)
