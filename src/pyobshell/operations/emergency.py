"""Emergency mode: an agent starts or stops its own server alone, when there is nobody to ask.

It is for orders that came through the agent's own socket and mean its own server and no other: a
start, or a stop by force. They are carried out without a lock, another agent or the database if

    this agent is          and
    no CLUSTER AGENT       there is a server here
    a CLUSTER AGENT        it has fellows, and none of them answers
    a CLUSTER AGENT        start only: its server is one of a cluster, none of which serves SQL, as
                           there is no majority; an ordinary start would wait for one

All other orders go the ordinary way. Nothing here waits for an agent that hangs.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from pydantic import BaseModel

from pyobshell import errors
from pyobshell.address import Address
from pyobshell.cluster.model import Identity
from pyobshell.cluster.procedures import Caller, procedure
from pyobshell.deadline import Deadline
from pyobshell.engines.base import ObState
from pyobshell.errors import Language, OBShellError
from pyobshell.operations.join import LOCKED
from pyobshell.operations.preview import preview_alone, preview_stop
from pyobshell.operations.release import is_needed, is_sub_dag, release
from pyobshell.operations.scope import ScopeType
from pyobshell.operations.site import Run, Site
from pyobshell.operations.start import look_before_start, start_cluster
from pyobshell.operations.stop import stop_cluster
from pyobshell.requests import Scope, StartRequest, StopRequest
from pyobshell.tasks.ids import GenericId
from pyobshell.tasks.model import Ability, Dag, DagPlan, NodePlan
from pyobshell.tasks.stage import stage
from pyobshell.wire import StopPreview

REASON, NOTES = "emergency", "notes"  # in the data of an emergency's task
_LOOK_S = 2.0  # on a host that is busy an agent may take more than one
_FEW = 8
_RELEASE_S = 30.0


class Alone(BaseModel):
    """Parameters of an emergency's task: main DAGs to give up if they have this agent locked."""

    force_pass: list[str] = []


async def start(site: Site, request: StartRequest, *, local: bool) -> Dag:
    """StartCluster, in an emergency by this agent alone; ``local``: it came by its own socket.

    Raises ``OB.Cluster.NotInitialized`` if there is no server, else as ``start_cluster``.
    """
    if not local or not _means_own_server(site, request.scope):
        return await start_cluster(site, request)
    is_member = site.cluster.view.identity is Identity.CLUSTER_AGENT
    if not is_member and not site.keeper.knows_server:
        raise errors.CLUSTER_NOT_INITIALIZED()
    reason = await _emergency(site, starts=True)
    if reason is None:
        return await start_cluster(site, request)
    return await site.submit(_start_plan(request, reason))


async def stop(site: Site, request: StopRequest, *, local: bool) -> Dag:
    """StopCluster, in an emergency by this agent alone.

    Raises ``Agent.Identify.NotSupportOperation`` if it is no member of a running cluster, and has
    no server or is not to kill it; else as ``stop_cluster``.
    """
    reason = await _reason_to_stop_alone(site, request, local)
    if reason is None:
        return await stop_cluster(site, request)
    return await site.submit(_stop_plan(request, reason))


async def preview(
    site: Site, request: StopRequest, language: Language, *, local: bool
) -> StopPreview:
    """What ``stop`` would do now; raises as ``preview_stop``."""
    reason = await _reason_to_stop_alone(site, request, local)
    if reason is None:
        return await preview_stop(site, request, language)
    return await preview_alone(site, _stop_plan(request, reason), reason)


# --- whether it is an emergency ------------------------------------------------------------------


async def _reason_to_stop_alone(site: Site, request: StopRequest, local: bool) -> str | None:
    if not local or not _means_own_server(site, request.scope):
        return None
    by_force = request.force and not request.terminate
    if by_force and site.keeper.knows_server:
        return await _emergency(site, starts=False)
    site.cluster.view.require(Identity.CLUSTER_AGENT)
    return None


def _means_own_server(site: Site, scope: Scope) -> bool:
    if scope.type.upper() != ScopeType.SERVER or len(scope.target) != 1:
        return False
    try:
        return Address.parse(scope.target[0]) == site.own
    except OBShellError:
        return False


async def _emergency(site: Site, *, starts: bool) -> str | None:
    """Why this agent is to act alone, in words; none: it is not."""
    view = site.cluster.view
    if not site.keeper.knows_server:
        return None
    if view.identity is not Identity.CLUSTER_AGENT:
        return f"this agent is {view.identity}"
    if not view.others:
        return None
    needs_majority = starts and site.engine.cluster is not None
    answered, served = await asyncio.gather(
        _any([partial(_answers, site, agent) for agent in view.others]),
        _any(_serving(site) if needs_majority else []),
    )
    if not answered:
        return "no other agent of the cluster answers"
    if needs_majority and not served:
        return "no server of the cluster serves SQL"
    return None


_Question = Callable[[], Awaitable[bool]]


async def _any(questions: Sequence[_Question]) -> bool:
    """Whether one of them is answered with yes, before long.

    At first only a few are asked: of a large cluster mostly some answer, and all would be busy.
    """
    mixed = random.sample(questions, len(questions))
    return await _any_at_once(mixed[:_FEW]) or await _any_at_once(mixed[_FEW:])


async def _any_at_once(questions: Sequence[_Question]) -> bool:
    asked = [asyncio.ensure_future(question()) for question in questions]
    try:
        for answered in asyncio.as_completed(asked, timeout=_LOOK_S):
            if await answered:
                return True
    except TimeoutError:
        return False
    finally:
        for question in asked:
            question.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
    return False


async def _answers(site: Site, agent: Address) -> bool:
    try:
        await site.peers.call(agent, hail, Hail(), Deadline.after(_LOOK_S))
    except OBShellError as error:
        return error.code is not errors.RPC_REQUEST_FAILED
    return True


def _serving(site: Site) -> list[_Question]:
    others = [partial(_serves, site, agent) for agent in site.cluster.view.others]
    return [partial(_serves_here, site), *others]


async def _serves_here(site: Site) -> bool:
    return await site.engine.state() is ObState.CONNECTION_AVAILABLE


async def _serves(site: Site, agent: Address) -> bool:
    try:
        answer = await site.peers.call(agent, hail, Hail(sql=True), Deadline.after(_LOOK_S))
    except OBShellError:
        return False
    return answer.serves


class Hail(BaseModel):
    """A call to an agent to see whether it is there; with ``sql``, whether its server serves."""

    sql: bool = False


class Here(BaseModel):
    """The answer to a hail."""

    serves: bool = False


@procedure("emergency/hail")
async def hail(site: Site, caller: Caller, call: Hail) -> Here:
    """Say that this agent is there: at once, unless its server is asked for as well."""
    return Here(serves=call.sql and await _serves_here(site))


# --- what it does then ---------------------------------------------------------------------------


def _start_plan(request: StartRequest, reason: str) -> DagPlan:
    stages = (check_process_and_config, start_observer, get_connection)
    nodes = [NodePlan(one) for one in stages]
    task = Alone(force_pass=request.forcePassDag.id)
    return DagPlan("Start local observer", nodes, task, data={REASON: reason})


def _stop_plan(request: StopRequest, reason: str) -> DagPlan:
    task = Alone(force_pass=request.forcePassDag.id)
    return DagPlan("Stop local observer", [NodePlan(stop_observer)], task, data={REASON: reason})


_WITHOUT_ROLLBACK = Ability.CONTINUE | Ability.PASS | Ability.CANCEL


@stage("Check ob process and config", _WITHOUT_ROLLBACK, key="emergency.check_process_and_config")
async def check_process_and_config(run: Run, task: Alone) -> None:
    """See whether there is something to start, and whether a start can succeed."""
    await _mind_lock(run, task)
    await look_before_start(run)


@stage("Start observer", Ability.ALL, key="emergency.start_observer")
async def start_observer(run: Run, task: Alone) -> None:
    """Start the server beside this agent and wait until it answers; it is kept running then."""
    if run.attempt > 1:  # RETRY is a newer order
        await _mind_lock(run, task)
    await run.site.keeper.start(run.log, run.deadline.within(run.site.settings.start_timeout_s))


@stage("Get connection of observer", _WITHOUT_ROLLBACK, key="emergency.get_connection")
async def get_connection(run: Run, task: Alone) -> None:
    """See that the server can be connected to, and say how far it can be used.

    That it refuses this agent's password is an answer as well; a majority is not waited for.
    """
    site = run.site
    deadline = run.deadline.within(site.settings.start_timeout_s)
    process = await site.engine.process()
    if process is None:
        raise errors.SERVER_PROCESS_NOT_EXIST(detail="it has ended again; its own log may say why")
    found = ""

    async def connects() -> bool:
        nonlocal found
        found = await _found(site)
        return bool(found)

    with process:
        if not await process.until(connects, deadline):
            raise errors.CLUSTER_ASYNC_TIMEOUT(
                operation="Getting a connection of the server", seconds=deadline.seconds
            )
    _note(run, found)


async def _found(site: Site) -> str:
    """How far the server can be used, in words; empty if it gives no answer."""
    state = await site.engine.state()
    if state is ObState.CONNECTION_AVAILABLE:
        return "the server runs and serves SQL"
    if state is ObState.CONNECTION_RESTRICTED and site.engine.cluster is not None:
        return (
            "the server runs; its cluster has no majority of servers yet, so start others, each "
            "at its own agent"
        )
    if state is ObState.CONNECTION_RESTRICTED:
        return "the server runs and takes connections, but has not opened its tables yet"
    try:
        await site.engine.login(site.cluster.passwords.root or "")
    except OBShellError:
        return ""
    return (
        "the server runs and answers; as this agent does not know its password, no more can be told"
    )


@stage(
    "Stop observer",
    Ability.RETRY | Ability.CONTINUE | Ability.PASS | Ability.CANCEL,
    key="emergency.stop_observer",
)
async def stop_observer(run: Run, task: Alone) -> None:
    """Kill the server beside this agent, which stays down then; one that is down is fine."""
    await _mind_lock(run, task)
    await run.site.keeper.kill(run.log, run.deadline.within(run.site.settings.stop_timeout_s))


async def _mind_lock(run: Run, task: Alone) -> None:
    """Give up an older order that has this agent locked, or else name it; no lock is taken.

    One that comes to this agent only later is refused (``sub_dag.prepare``).
    """
    await run.site.cluster.note_acted_alone(run.ordered_at)
    holder = await run.site.tasks.lock_holder(LOCKED)
    if holder is None:
        return
    main_dag_id = holder.data.get("main_dag_id")
    asked_for = main_dag_id is not None and main_dag_id in task.force_pass
    if asked_for or not await _is_pursued(run.site, holder):
        await release(run.site, holder.id, run.deadline.within(_RELEASE_S))
        why = "" if asked_for else ", for this order is the newer one"
        _note(run, f"DAG {main_dag_id} is given up here{why}: its part was '{holder.name}'")
        return
    who = f"'{holder.name}'" + (f" of DAG {main_dag_id}" if main_dag_id else "")
    further = (
        f"; to give it up, ask again with --force-pass-dag {main_dag_id}" if main_dag_id else ""
    )
    _note(run, f"WARNING: this agent is locked by {who}, which may yet act on the server{further}")


async def _is_pursued(site: Site, holder: Dag) -> bool:
    """Whether a task that has this agent locked is more than an older order that nobody minds.

    A part of an operation that this agent coordinates, or an agent that is not there, would be
    carried out later, against the newer order.
    """
    if not is_sub_dag(holder):
        return True
    if GenericId.parse(holder.data["main_dag_id"]).agent == site.own:
        return False
    try:
        return await is_needed(site, holder, Deadline.after(_LOOK_S))
    except OBShellError:
        return False


def _note(run: Run, line: str) -> None:
    """Log what whoever asked for it should be told, too."""
    run.log(line)
    run.publish(**{NOTES: [line]})


STAGES = (check_process_and_config, start_observer, get_connection, stop_observer)
PROCEDURES = (hail,)
