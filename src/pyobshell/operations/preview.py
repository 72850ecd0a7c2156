"""What a stop would do, and why it would be refused; nothing is recorded or changed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from pyobshell import errors
from pyobshell.address import Address
from pyobshell.cluster.model import Member
from pyobshell.cluster.procedures import Nothing
from pyobshell.deadline import Deadline
from pyobshell.engines.base import ObState
from pyobshell.engines.log_streams import LogStream
from pyobshell.engines.ob_cluster import ACTIVE, INACTIVE
from pyobshell.errors import Language, OBShellError
from pyobshell.operations import server, stop, views
from pyobshell.operations.reached import is_lost, pointing
from pyobshell.operations.scope import ScopeType
from pyobshell.operations.server import ServerLook
from pyobshell.operations.site import Site
from pyobshell.operations.stop import Mode, Order
from pyobshell.operations.sub_dag import Wanting, ready
from pyobshell.operations.together import Undertaking
from pyobshell.operations.views import Reading, Views
from pyobshell.requests import StopRequest
from pyobshell.tasks.model import Dag, DagPlan, Operator, State
from pyobshell.wire import (
    NANOSECONDS,
    PreviewLogStream,
    PreviewRefusal,
    PreviewStage,
    PreviewTarget,
    PreviewTenant,
    StopPreview,
)


async def preview_stop(site: Site, request: StopRequest, language: Language) -> StopPreview:
    """What ``POST /ob/stop`` with this body would do now.

    Raises the errors of a request that makes no sense; every other reason for which it would be
    refused is part of the answer.
    """
    order = Order.of(request, site.cluster.view)
    plan = stop.plan(site, order)
    seen, looks, refusals, locks = await asyncio.gather(
        _views(site), _looks(site, order), _refusals(site, order), _locks(site, order)
    )
    obstacles = [*locks, *_not_to_be_flushed(order, looks)]
    return StopPreview(
        name=plan.name,
        mode=order.mode,
        scope=order.targets.type,
        targets=_targets(site, order, seen, looks),
        stages=_stages(plan),
        majority=_majority(site, order, seen),
        refusals=[_in_words(one, language) for one in refusals],
        obstacles=[_in_words(one, language) for one in obstacles],
        last_duration_ms=await _last_duration_ms(site, order, plan),
    )


async def preview_alone(site: Site, plan: DagPlan, reason: str) -> StopPreview:
    """What a stop by force would do that this agent carries out alone on its own server."""
    config = site.keeper.config
    look = await site.peers.call(site.own, server.look, Nothing(), _patience(site))
    last = await site.tasks.newest(lambda dag: dag.name == plan.name and _succeeded(dag))
    target = PreviewTarget(
        agent=str(site.own),
        svr_ip=config.ip,
        svr_port=config.rpc_port or 0,
        zone=site.cluster.view.zone or config.zone,
        status=ACTIVE if look.state is ObState.CONNECTION_AVAILABLE else INACTIVE,
        obState=int(look.state),
        pid=look.pid,
        sessions=look.sessions,
    )
    return StopPreview(
        name=plan.name,
        mode=Mode.FORCE,
        scope=ScopeType.SERVER,
        targets=[target],
        stages=_stages(plan),
        majority=[] if site.engine.cluster is None else None,
        refusals=[],
        obstacles=[],
        last_duration_ms=None if last is None else _duration_ms(last),
        emergency=reason,
    )


def _stages(plan: DagPlan) -> list[PreviewStage]:
    return [
        PreviewStage(stage=number, name=node.stage.name)
        for number, node in enumerate(plan.nodes, start=1)
    ]


def _in_words(error: OBShellError, language: Language) -> PreviewRefusal:
    return PreviewRefusal(errCode=error.code.name, message=error.text(language))


async def _views(site: Site) -> Views | None:
    """What the servers' cluster tells; none if they form none, or nobody can be asked."""
    if site.engine.cluster is None:
        return None
    try:
        return await views.look(site, Reading(), _patience(site))
    except OBShellError:
        return None


def _patience(site: Site) -> Deadline:
    return Deadline.after(site.settings.rpc_timeout_s)


def _in_sql(site: Site, order: Order) -> bool:
    return order.mode is Mode.GENTLE and site.engine.cluster is not None


# --- what would be stopped -----------------------------------------------------------------------


Looks = Mapping[Address, ServerLook | OBShellError]


async def _looks(site: Site, order: Order) -> Looks:
    """The targets' servers, each as its agent sees it."""
    agents, patience = order.targets.agents, _patience(site)
    return await site.peers.call_all(agents, server.look, Nothing(), patience, if_there=True)


def _targets(site: Site, order: Order, seen: Views | None, looks: Looks) -> list[PreviewTarget]:
    members = [one for one in site.cluster.view.members if one.address in order.targets.agents]
    in_sql = _in_sql(site, order)
    return [_target(member, looks[member.address], seen, in_sql) for member in members]


def _target(
    member: Member, look: ServerLook | OBShellError, seen: Views | None, in_sql: bool
) -> PreviewTarget:
    known = None if isinstance(look, OBShellError) else look
    sessions = known and known.sessions
    return PreviewTarget(
        agent=str(member.address),
        svr_ip=member.ip,
        svr_port=member.rpc_port,
        zone=member.zone,
        status=_status(member, known, seen),
        obState=known and int(known.state),
        pid=known and known.pid,
        sessions=0 if in_sql else sessions,  # STOP in SQL cuts none
    )


def _status(member: Member, look: ServerLook | None, seen: Views | None) -> str:
    if seen is not None:
        for row in seen.servers:
            if row.address == member.server:
                return seen.status_of(row)
    serves = look is not None and look.state is ObState.CONNECTION_AVAILABLE
    return ACTIVE if serves else INACTIVE


# --- what would be left --------------------------------------------------------------------------


def _majority(site: Site, order: Order, seen: Views | None) -> list[PreviewTenant] | None:
    """By tenant, what would be left of its log streams without the targets."""
    if seen is None:
        return [] if site.engine.cluster is None else None
    leaving = stop.leaving_of(site, order).found_in(seen)
    tenants: dict[str, list[LogStream]] = {}
    for stream in seen.log_streams:
        tenants.setdefault(stream.tenant, []).append(stream)
    return [
        PreviewTenant(
            tenant_name=tenant,
            kept=all(stream.outlives(leaving) for stream in streams),
            log_streams=[
                PreviewLogStream(
                    ls_id=stream.ls_id,
                    kept=stream.outlives(leaving),
                    in_sync=stream.left(leaving),
                    paxos_replica_num=stream.leader.replica_num if stream.leader else 0,
                )
                for stream in sorted(streams, key=lambda one: one.ls_id)
            ],
        )
        for tenant, streams in sorted(tenants.items())
    ]


# --- what the task would meet --------------------------------------------------------------------


async def _refusals(site: Site, order: Order) -> list[OBShellError]:
    return [one async for one in stop.objections(site, order)]


def _not_to_be_flushed(order: Order, looks: Looks) -> list[OBShellError]:
    """The targets that a freeze would fail at."""
    if order.mode is not Mode.TERMINATE:
        return []
    states = {agent: one.state for agent, one in looks.items() if isinstance(one, ServerLook)}
    fine = (ObState.CONNECTION_AVAILABLE, ObState.PROCESS_NOT_RUNNING)
    found = [(agent, state) for agent, state in states.items() if state not in fine]
    return [
        errors.SERVER_UNAVAILABLE(reason=f"{agent}: {server.not_to_be_flushed(state)}")
        for agent, state in found
    ]


async def _locks(site: Site, order: Order) -> list[OBShellError]:
    """Locks that are held and not to be passed, and targets whose agents cannot be reached."""
    wanting, patience = Wanting(force_pass=order.force_pass), _patience(site)
    answers = await site.peers.call_all(
        site.cluster.view.addresses, ready, wanting, patience, if_there=True
    )
    matters = () if _in_sql(site, order) else order.targets.agents
    return [
        pointing(site.cluster.view, agent, answer)
        for agent, answer in answers.items()
        if isinstance(answer, OBShellError) and (agent in matters or not is_lost(answer))
    ]


# --- how long it took last time ------------------------------------------------------------------


async def _last_duration_ms(site: Site, order: Order, plan: DagPlan) -> int | None:
    """Milliseconds from the beginning to the end of the last such stop that succeeded here."""

    def is_alike(dag: Dag) -> bool:
        if (dag.name, dag.max_stage) != (plan.name, len(plan.nodes)) or not _succeeded(dag):
            return False
        done = Undertaking.model_validate_json(dag.params)
        return (done.mode, done.scope) == (order.mode, order.targets.type)

    last = await site.tasks.newest(is_alike)
    return None if last is None else _duration_ms(last)


def _duration_ms(dag: Dag) -> int:
    return max(0, dag.end_time - dag.start_time) * 1000 // NANOSECONDS


def _succeeded(dag: Dag) -> bool:
    return dag.state is State.SUCCEED and dag.operator is Operator.RUN
