"""Rolling restart: one zone after the other, each back and in sync before the next is touched.

    inform all ── all ready? ──┬─ check ─ stop ─ freeze ─ restart ─ start ─ in sync ─┬── end all
                               └────────────── for each zone, ours last ─────────────┘

Every member holds its lock from the first stage to the last, in a sub DAG ``Restart observer``. The
work in it, to end the server and start it again, begins when it is its zone's turn, and is recorded
there: whoever is killed, coordinator or member, goes on from where it was.

At the first doubt the task fails, and all stays as it is. RETRY goes on from there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pydantic import BaseModel

from pyobshell import errors
from pyobshell.address import Address
from pyobshell.cluster.model import ClusterView, Identity
from pyobshell.cluster.procedures import Nothing
from pyobshell.deadline import Deadline
from pyobshell.engines.base import ObState
from pyobshell.errors import OBShellError
from pyobshell.operations import doubts, in_sql, server, service, together, views
from pyobshell.operations.held import ask_until_done
from pyobshell.operations.in_sql import Entering
from pyobshell.operations.majority import Leaving
from pyobshell.operations.scope import Targets, resolve
from pyobshell.operations.site import Run, Site
from pyobshell.operations.start import start_observer
from pyobshell.operations.stop import Mode
from pyobshell.operations.stop import stop_observer as end_observer
from pyobshell.operations.sub_dag import Part, SubDag, holds, resume
from pyobshell.operations.together import COORDINATION, Shared, Undertaking
from pyobshell.operations.views import Reading, Views
from pyobshell.requests import RestartRequest
from pyobshell.tasks.model import Ability, Dag, DagPlan, NodePlan, Operator
from pyobshell.tasks.stage import Stage, stage

# The agents stay locked when a turn fails: the cluster is halfway, and RETRY goes on from there.
_TURN = Ability.CONTINUE | Ability.CANCEL | Ability.RETRY
_LOOK_S = 30.0
_NEW_LEADERS_S = 60.0  # leaders move in seconds, unless something is wrong
_DAY_S = 86400.0  # how long a wait may last is said by settings


class Turn(BaseModel):
    """The servers of one zone, which are restarted together.

    ``agents`` are those beside them, ``servers`` their names in a cluster. ``whole`` says that they
    are all that the zone has; ``first_stage`` where in the task their turn begins.
    """

    zone: str
    whole: bool
    agents: list[Address]
    servers: list[Address]
    first_stage: int

    @property
    def leaving(self) -> Leaving:
        """What leaves the cluster's service; nothing may be out of it elsewhere."""
        if self.whole:
            return Leaving(zones=[self.zone], alone=True)
        return Leaving(servers=self.servers, alone=True)

    @property
    def entering(self) -> Entering:
        """What is started again."""
        return Entering(zones=[self.zone]) if self.whole else Entering(started=self.servers)

    def __str__(self) -> str:
        return self.zone if self.whole else f"part of {self.zone}"


class Rolling(Undertaking):
    """Parameters of ``Rolling restart``."""

    turns: list[Turn]


async def restart_cluster(site: Site, request: RestartRequest) -> Dag:
    """Validate a restart against the cluster as it is, and begin it.

    Raises the errors of a scope, ``Agent.Identify.NotSupportOperation``, ``Common.IllegalArgument``
    and ``OB.Cluster.RollingRestart.Refused`` for a cluster that is not well; nothing is recorded
    then. A lock held by an agent is not an error here: the DAG meets it and fails.
    """
    view = site.cluster.view
    targets = resolve(request.scope, view)
    view.require(Identity.CLUSTER_AGENT)
    if not request.rolling:
        raise errors.ILLEGAL_ARGUMENT(
            name="rolling", reason="it must be true; to have all down at once, stop and start them"
        )
    stages = stages_of_a_turn(site, flushed=request.terminate)
    turns = turns_of(view, targets, len(stages))
    for turn in turns:
        await _require_well(site, turn, Deadline.after(site.settings.rpc_timeout_s))
    rolling = Rolling(
        work="restart",
        mode=Mode.GENTLE if site.engine.cluster is None else Mode.FORCE,
        targets=list(targets.agents),
        force_pass=request.forcePassDag.id,
        all_or_none=True,
        turns=turns,
    )
    return await site.submit(plan(view, rolling, stages))


# --- the plan ------------------------------------------------------------------------------------

_Stages = list[tuple[str, Stage[Site, Rolling]]]


def turns_of(view: ClusterView, targets: Targets, stages: int) -> list[Turn]:
    """The zones concerned, in their order, each with so many stages.

    That of the coordinator comes last: for all others it has its server to ask.
    """
    zones = [zone for zone in view.zones if zone in targets.zones]
    zones.sort(key=lambda zone: zone == view.zone)
    turns = []
    for number, zone in enumerate(zones):
        there = [member for member in view.members if member.zone == zone]
        members = [member for member in there if member.address in targets.agents]
        turn = Turn(
            zone=zone,
            whole=members == there,
            agents=[member.address for member in members],
            servers=[member.server for member in members],
            first_stage=_STAGES_BEFORE + number * stages + 1,
        )
        turns.append(turn)
    return turns


def stages_of_a_turn(site: Site, *, flushed: bool) -> _Stages:
    """What is done to each zone, with titles; a server that is whole by itself needs less."""
    if site.engine.cluster is None:
        return [
            ("Check before restart of", check),
            ("Restart observers of", restart),
            ("Check after restart of", check),
        ]
    return [
        ("Check before restart of", check),
        ("Stop", stop),
        *([("Minor freeze of", freeze)] if flushed else []),
        ("Restart observers of", restart),
        ("Start", start),
        ("Wait until all is in sync after", wait_for_sync),
    ]


def plan(view: ClusterView, rolling: Rolling, stages: _Stages) -> DagPlan:
    """The stages of ``Rolling restart``."""
    nodes = [NodePlan(inform, view.addresses), NodePlan(make_sure_all_are_ready)]
    for turn in rolling.turns:
        for title, one in stages:
            agents = turn.agents if one in (freeze, restart) else None
            nodes.append(NodePlan(one, agents, f"{title} {turn}"))
    nodes.append(NodePlan(end_all))
    return DagPlan("Rolling restart", nodes, rolling)


_STAGES_BEFORE = 2  # inform, make_sure_all_are_ready


# --- the stages before and after -----------------------------------------------------------------

inform = stage("Inform all agents to restart observer", COORDINATION, key="rolling.inform")(
    together.inform
)


@stage("Make sure all agents are ready", COORDINATION, key="rolling.make_sure_all_are_ready")
async def make_sure_all_are_ready(run: Run, task: Rolling) -> None:
    """Go on if every agent that matters holds its lock; those without work only keep it."""
    await together.make_sure_all_are_ready(run, task)
    sub_dags = Shared.model_validate(run.data).sub_dags
    idle = {one: sub_dag for one, sub_dag in sub_dags.items() if not task.works(Address.parse(one))}
    for agent, answer in (await together.go_ahead(run, idle)).items():
        if isinstance(answer, OBShellError):
            run.log(f"WARNING: {agent} could not be told that it has nothing to do: {answer}")


_END = Ability.CONTINUE | Ability.CANCEL | Ability.RETRY | Ability.PASS

end_all = stage("Inform all agents to end the task", _END, key="rolling.end_all")(together.end_all)


# --- the stages of a turn ------------------------------------------------------------------------


@stage("Check before restart", _TURN)
async def check(run: Run, task: Rolling) -> None:
    """See that all is well, so that this zone can be spared; nothing is changed."""
    async with _turn(run, task) as turn:
        await _require_locks(run)
        await _require_well(run.site, turn, run.deadline.within(_LOOK_S))
        run.log(f"All is well, also without {turn}")


@stage("Stop zone", _TURN)
async def stop(run: Run, task: Rolling) -> None:
    """Take the zone out of service, and wait until nothing is led there; its servers go on."""
    async with _turn(run, task) as turn:
        site, patience = run.site, run.deadline.within(_NEW_LEADERS_S)
        if not _is_out(await _look(site, patience), turn):
            await _require_locks(run)  # again: since the check this agent may have been away
            await _require_well(site, turn, patience)
            await in_sql.ask_to_leave(run, turn.leaving, patience)

        async def led_there() -> list[str]:
            seen = await _look(site, patience)
            led = doubts.led_by(seen, doubts.stopped_servers(seen))
            return [f"{stream} is led there" for stream in led]

        await service.until_nothing_is_missing(led_there, "The move of leaders", run.log, patience)
        run.log(f"{turn} is out of service, nothing is led there")


@stage("Minor freeze", _TURN)
async def freeze(run: Run, task: Rolling) -> None:
    """Flush one server, verified, so that its restart has little to read."""
    async with _turn(run, task):
        await ask_until_done(run, run.agent, server.freeze, Nothing(), run.log_from(run.agent))


@stage("Restart observers", _TURN)
async def restart(run: Run, task: Rolling) -> None:
    """Have one agent end its server and start it again, as its sub DAG says; see it through."""
    async with _turn(run, task):
        sub_dag = SubDag(id=run.data["sub_dags"][str(run.agent)])
        await ask_until_done(run, run.agent, resume, sub_dag)
        progress = await together.watch_agent(run, sub_dag)
        if progress.failure is not None:
            raise errors.SUB_DAG_NOT_ALL_SUCCEED(agents=f"{run.agent}: {progress.failure}")
        run.log(f"{run.agent} has its server back")


@stage("Start zone", _TURN)
async def start(run: Run, task: Rolling) -> None:
    """Put the zone back into service."""
    async with _turn(run, task) as turn:
        patience = run.deadline.within(run.site.settings.start_timeout_s)
        await in_sql.ask_to_enter(run, turn.entering, patience)


@stage("Wait until all is in sync", _TURN, timeout_s=_DAY_S)
async def wait_for_sync(run: Run, task: Rolling) -> None:
    """Wait until every log stream of the cluster has all its members in sync again."""
    async with _turn(run, task):
        servers = [member.server for member in run.site.cluster.view.members]
        patience = run.deadline.within(run.site.settings.sync_timeout_s)
        await service.until_in_service(run.site, servers, run.log, patience)


@asynccontextmanager
async def _turn(run: Run, task: Rolling) -> AsyncIterator[Turn]:
    """The turn that a stage belongs to; if it fails its log says how it leaves the cluster."""
    dag = await run.site.tasks.dag(run.dag_id, logs=False)
    turn = [one for one in task.turns if one.first_stage <= dag.stage][-1]
    advice = (
        f"It stopped at {turn}. RETRY of this task goes on from here. To give it up: StartCluster "
        f"of the same scope with forcePassDag {run.generic_id}, which puts all into service"
    )
    try:
        yield turn
    except OBShellError:
        run.log(f"Out of service: {await _what_is_out(run.site)}")
        given_up = await _is_given_up(run)
        run.log("It has been given up: begin a new one" if given_up else advice)
        raise
    except asyncio.CancelledError:
        dag = await run.site.tasks.dag(run.dag_id, logs=False)
        if dag.operator is Operator.CANCEL:  # else it is the agent that ends, and will go on
            run.log(advice)
        raise


async def _is_given_up(run: Run) -> bool:
    try:
        await together.require_locks(run)
    except OBShellError:
        return True
    return False


# --- doubts --------------------------------------------------------------------------------------


async def _require_well(site: Site, turn: Turn, deadline: Deadline) -> None:
    """Raise unless all servers serve, all is in sync, and enough is left without this turn's."""
    found = await _doubts(site, turn, deadline)
    if found:
        raise errors.ROLLING_RESTART_REFUSED(turn=turn, reason="; ".join(found))


async def _doubts(site: Site, turn: Turn, deadline: Deadline) -> list[str]:
    if site.engine.cluster is None:
        return await _not_serving(site, deadline)
    try:
        seen = await _look(site, deadline)
    except OBShellError as error:
        return [f"the cluster cannot be looked at: {error}"]
    return doubts.before_restart(seen, turn.leaving.found_in(seen) | {*turn.servers})


async def _look(site: Site, deadline: Deadline) -> Views:
    return await views.look(site, Reading(settled=True), deadline)


async def _not_serving(site: Site, deadline: Deadline) -> list[str]:
    """The servers that do not serve, each with what is known of it."""
    answers = await site.peers.call_all(
        site.cluster.view.addresses, server.status, Nothing(), deadline
    )
    return [
        str(answer)
        if isinstance(answer, OBShellError)
        else f"the server of {agent} does not serve (obState {int(answer.state)})"
        for agent, answer in answers.items()
        if isinstance(answer, OBShellError) or answer.state is not ObState.CONNECTION_AVAILABLE
    ]


async def _require_locks(run: Run) -> None:
    """Raise if an agent is not locked for this task any more: somebody else may be at work."""

    async def lost(agent: str, sub_dag: str) -> str | None:
        request = SubDag(id=sub_dag)
        return (await ask_until_done(run, Address.parse(agent), holds, request)).failure

    sub_dags = Shared.model_validate(run.data).sub_dags
    found = await asyncio.gather(*(lost(agent, one) for agent, one in sub_dags.items()))
    together.require_held(dict(zip(sub_dags, found, strict=True)))


def _is_out(seen: Views, turn: Turn) -> bool:
    return doubts.stopped_servers(seen) >= set(turn.servers)


async def _what_is_out(site: Site) -> str:
    """What does not serve now, for a person."""
    deadline = Deadline.after(site.settings.rpc_timeout_s)
    if site.engine.cluster is None:
        found = await _not_serving(site, deadline)
    else:
        try:
            found = doubts.unwell(await views.look(site, Reading(), deadline))
        except OBShellError as error:
            return f"not known, as the cluster cannot be looked at ({error})"
    return "; ".join(found) or "nothing"


# --- the work of the sub DAG Restart observer ----------------------------------------------------


@stage("Stop observer", Ability.RETRY | Ability.CONTINUE | Ability.PASS | Ability.CANCEL)
async def stop_observer(run: Run, part: Part) -> None:
    """End the server beside this agent, if its cluster can do without it at this very moment."""
    site = run.site
    if await site.engine.state() is ObState.PROCESS_NOT_RUNNING:
        run.log("The server does not run")
        return
    me = site.cluster.view.member(site.own)
    if site.engine.cluster is not None and me is not None:
        # The one who sent us here looked, too, but we may have been away since.
        seen = await _look(site, run.deadline.within(_LOOK_S))
        found = doubts.before_kill(seen, me.server)
        if found:
            raise errors.ROLLING_RESTART_REFUSED(turn=me.server, reason="; ".join(found))
    await end_observer.body(run, part)


WORK = ("Restart observer", (stop_observer, start_observer))
STAGES = (
    inform,
    make_sure_all_are_ready,
    check,
    stop,
    freeze,
    restart,
    start,
    wait_for_sync,
    end_all,
    stop_observer,
)
