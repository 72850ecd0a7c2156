"""What a cluster asks of an agent that it takes in, and what the agent does if it is asked no more.

It is told step by step by the coordinator (``operations.scale_out``):

    coordinator  begin ── advance: deploy ──── advance: start ── ADD SERVER … ── advance: finish
    new agent     Be scaling agent ─ Create observer workdir ─ Start observer ─ Sync from observer

Should the coordinator be lost, the agent asks the cluster what became of it, and goes the rest of
the way, forward or back, by itself.
"""

from __future__ import annotations

import hmac
from collections import Counter

import structlog
from pydantic import BaseModel

from pyobshell import errors
from pyobshell.cluster.model import Identity, Member
from pyobshell.cluster.procedures import Caller, Nothing, procedure
from pyobshell.deadline import Deadline
from pyobshell.engines.base import Log
from pyobshell.errors import OBShellError
from pyobshell.operations import server
from pyobshell.operations.join import (
    LOCKED,
    own_member,
    prove_each_other,
    require_empty_home,
    verify_address,
)
from pyobshell.operations.keeper import ServerSettings
from pyobshell.operations.local_scale_out import (
    FINISH,
    READY,
    ScalingOut,
    plan,
)
from pyobshell.operations.remove import forget_cluster
from pyobshell.operations.site import Site, refusal
from pyobshell.tasks.ids import GenericId
from pyobshell.tasks.model import Dag, DagPlan, Operator, State

_log = structlog.get_logger(__name__)
_UNDO_S = 300.0
_FIRST_LOOK_S, _LONGEST_PAUSE_S = 1.0, 60.0


# --- what the coordinator asks -------------------------------------------------------------------


class Knock(BaseModel):
    """A cluster wants this agent, and proves that it knows its agent password, if it has one."""

    proof: str


class Candidate(BaseModel):
    """What this agent would be as a member, and its own proof that it knows its password.

    ``ticket`` is for the invitation, in place of the password: only this agent can read it, so it
    can lie in the cluster's database. It is good as long as the password is not changed.
    """

    member: Member
    proof: str
    ticket: str


class Invitation(BaseModel):
    """What this agent must know to become a member: of the cluster, and of its server to be."""

    ticket: str
    cluster_dag_id: str
    cluster_id: int
    cluster_name: str
    members: tuple[Member, ...]
    server: ServerSettings
    root_password: str | None


class Begun(BaseModel):
    """The DAG ``Local scale out``, by its generic id."""

    id: str


class Step(BaseModel):
    """A step of the DAG that belongs to a cluster's DAG: give it a signal, wait for a stage.

    ``seen_lines`` of what it has logged are known already.
    """

    cluster_dag_id: str
    signal: str | None = None
    until_stage: int
    seen_lines: int = 0


class Undoing(BaseModel):
    """Of which of the cluster's DAGs the part is to be undone."""

    cluster_dag_id: str


@procedure("scale_out/probe", for_guests=True)
async def probe(site: Site, caller: Caller, knock: Knock) -> Candidate:
    """What this agent would be as a member; raises if it cannot become one. Nothing is changed."""
    site.cluster.view.require(Identity.SINGLE)
    try:
        proof = await prove_each_other(site, caller, knock.proof)
    except OBShellError as error:
        if error.code is not errors.INCORRECT_AGENT_PASSWORD:
            raise
        raise _not_the_password(site) from None
    await verify_address(site, caller.address, caller.public_key)
    if await site.tasks.lock_holder(LOCKED) is not None:
        raise errors.AGENT_UNDER_MAINTENANCE(agent=site.own)
    require_empty_home(site)
    password = site.cluster.passwords.agent
    return Candidate(
        member=await own_member(site, Identity.CLUSTER_AGENT, ""),
        proof=proof,
        ticket="" if password is None else site.vault.seal(password),
    )


async def _check(site: Site, caller: Caller, ticket: str) -> None:
    """Let a cluster in whose agent is what answers at its address, and has a ticket."""
    site.cluster.view.require(Identity.SINGLE)
    if not _is_good(site, ticket):
        raise _not_the_password(site)
    await verify_address(site, caller.address, caller.public_key)


def _is_good(site: Site, ticket: str) -> bool:
    """Whether this agent has given that out, for the password it has still; or it has none."""
    password = site.cluster.passwords.agent
    if password is None:
        return True
    try:
        known = site.vault.open_text(ticket)
    except ValueError:
        return False
    return hmac.compare_digest(known.encode(), password.encode())


def _not_the_password(site: Site) -> OBShellError:
    return errors.ILLEGAL_ARGUMENT(
        name="targetAgentPassword", reason=f"it is not the agent password of {site.own}"
    )


@procedure("scale_out/begin", for_guests=True)
async def begin(site: Site, caller: Caller, invitation: Invitation) -> Begun:
    """Take this agent's lock and know the cluster; asked twice, the answer is the same.

    Returns once the members of the cluster are let in.
    """
    made = await _part(site, invitation.cluster_dag_id)
    if made is None or made.state is State.SUCCEED:
        await _check(site, caller, invitation.ticket)
        if not any(_is(caller, member) for member in invitation.members):
            raise errors.INCORRECT_TOKEN(cause=f"{caller.address} is no member of that cluster")
        root = invitation.root_password
        joining = ScalingOut(
            cluster_id=invitation.cluster_id,
            cluster_name=invitation.cluster_name,
            members=invitation.members,
            server=invitation.server,
            sealed_root_password=None if root is None else site.vault.seal(root),
        )
        made = await site.background.do(_begin(site, plan(joining, invitation.cluster_dag_id)))
    await _until(site, made.id, READY, caller.deadline)
    if not site.cluster.knows(caller.address, caller.public_key):
        raise refusal(site.own, made)
    return Begun(id=str(GenericId(made.id, site.own)))


async def _begin(site: Site, wanted: DagPlan) -> Dag:
    """Record it and look after it: neither without the other, if the asker hangs up."""
    made = await site.submit(wanted)
    look_after(site, made)
    return made


def _is(caller: Caller, member: Member) -> bool:
    return (member.address, member.public_key) == (caller.address, caller.public_key)


@procedure("scale_out/advance")
async def advance(site: Site, caller: Caller, step: Step) -> Nothing:
    """Take a step, also one that failed before; returns when it is done, and logs what it logs."""
    dag = await _require_part(site, step.cluster_dag_id)
    if dag.state is State.FAILED:
        await site.tasks.operate(dag.id, Operator.RETRY)
    if step.signal is not None:
        await site.tasks.signal(dag.id, step.signal)
    try:
        await _until(site, dag.id, step.until_stage, caller.deadline)
    finally:
        for line in _lines(await site.tasks.dag(dag.id))[step.seen_lines :]:
            caller.log(line)
    return Nothing()


async def _until(site: Site, number: int, stage: int, deadline: Deadline) -> None:
    """Wait until a stage is reached (beyond the last: the end); raises if the DAG fails before."""

    def reached(dag: Dag) -> Dag | None:
        return dag if dag.state.ended or dag.stage >= stage else None

    dag = await site.tasks.wait(number, reached, deadline)
    if dag.state is State.FAILED or (dag.state.ended and dag.operator is Operator.ROLLBACK):
        raise errors.SUB_DAG_NOT_ALL_SUCCEED(
            agents=f"{site.own}: {_why(await site.tasks.dag(number))}"
        )


def _why(dag: Dag) -> str:
    if dag.state is State.SUCCEED:
        return "its part has been rolled back"
    last = [task.logs[-1] for task in dag.current.sub_tasks if task.logs]
    return f"'{dag.current.name}': {'; '.join(last) or dag.state}"


def _lines(dag: Dag) -> list[str]:
    return [line for node in dag.nodes for line in node.lines]


@procedure("scale_out/undo")
async def undo(site: Site, caller: Caller, undoing: Undoing) -> Nothing:
    """Undo this agent's part: its server is removed, and it is SINGLE again."""
    dag = await _part(site, undoing.cluster_dag_id)
    if dag is not None:
        await _roll_back(site, dag, caller.log, caller.deadline)
    return Nothing()


async def _roll_back(site: Site, dag: Dag, log: Log, deadline: Deadline) -> None:
    if not dag.state.ended:
        if dag.operator is not Operator.ROLLBACK:
            await site.tasks.operate(dag.id, Operator.CANCEL)
        dag = await site.tasks.wait_end(dag.id, deadline)
    if dag.state is State.FAILED:
        before = Counter(_lines(await site.tasks.dag(dag.id)))
        await site.tasks.operate(dag.id, Operator.ROLLBACK)
        dag = await site.tasks.wait_end(dag.id, deadline)
        for line in Counter(_lines(await site.tasks.dag(dag.id))) - before:
            log(line)
        if dag.state is State.FAILED:
            raise errors.SUB_DAG_NOT_ALL_SUCCEED(
                agents=f"{site.own}: {_why(await site.tasks.dag(dag.id))}"
            )
    elif dag.operator is not Operator.ROLLBACK and not _is_single(site):
        # It had done all of its part when the coordinator was stopped.
        await server.remove(site, log, deadline)
        await forget_cluster(site)


def _is_single(site: Site) -> bool:
    return site.cluster.view.identity is Identity.SINGLE


async def _part(site: Site, cluster_dag_id: str) -> Dag | None:
    """The newest DAG here that belongs to a DAG of the cluster."""
    for dag in reversed(await site.tasks.dags()):
        if dag.data.get("cluster_dag_id") == cluster_dag_id:
            return dag
    return None


async def _require_part(site: Site, cluster_dag_id: str) -> Dag:
    dag = await _part(site, cluster_dag_id)
    if dag is None:
        raise errors.TASK_NOT_FOUND(reason=f"{site.own} has no part in DAG {cluster_dag_id}")
    return dag


# --- if the coordinator is lost ------------------------------------------------------------------


class Fate(BaseModel):
    """What became of a DAG of the cluster, and whether the agent that asks is a member now."""

    ended: bool
    member: bool


@procedure("scale_out/fate", for_guests=True)
async def fate(site: Site, caller: Caller, undoing: Undoing) -> Fate:
    """What became of one of the cluster's DAGs, as its database says."""
    async with site.guests:
        return await _fate(site, caller, undoing)


async def _fate(site: Site, caller: Caller, undoing: Undoing) -> Fate:
    ocs = site.require_ocs()
    listed = await ocs.members()
    member = any(_is(caller, one) for one in listed.members)
    try:
        dag = await ocs.tasks.dag(GenericId.parse(undoing.cluster_dag_id).number, logs=False)
    except OBShellError as error:
        if error.code is not errors.TASK_NOT_FOUND:
            raise
        return Fate(ended=True, member=member)
    return Fate(ended=dag.state is State.SUCCEED, member=member)


async def look_after_all(site: Site) -> None:
    """Look after what an earlier life of this agent left unfinished."""
    for dag in await site.tasks.dags(unfinished=True):
        look_after(site, dag)


def look_after(site: Site, dag: Dag) -> None:
    """See that ``Local scale out`` does not outlive the cluster's DAG; others are left alone."""
    if "cluster_dag_id" in dag.data:
        site.background.begin(_look_after(site, dag))


async def _look_after(site: Site, begun: Dag) -> None:
    undoing = Undoing(cluster_dag_id=begun.data["cluster_dag_id"])
    joining = ScalingOut.model_validate_json(begun.params)
    others = [member.address for member in joining.members if member.address != site.own]
    pause_s = _FIRST_LOOK_S
    while not await _has_succeeded(site, begun.id, Deadline.after(pause_s)):
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        try:
            learned = await site.peers.call_any(others, fate, undoing, site.settings.rpc_timeout_s)
            if not learned.ended:
                continue
            _log.warning("its coordinator is lost", action="scale_out.lost", member=learned.member)
            if learned.member:
                await site.tasks.signal(begun.id, FINISH)
            else:
                dag = await site.tasks.dag(begun.id, logs=False)
                await _roll_back(site, dag, _note, Deadline.after(_UNDO_S))
        except (OBShellError, TimeoutError) as error:
            _log.info("not known yet", action="scale_out.look", cause=str(error))


async def _has_succeeded(site: Site, number: int, deadline: Deadline) -> bool:
    def done(dag: Dag) -> bool | None:
        return True if dag.state is State.SUCCEED else None

    try:
        return await site.tasks.wait(number, done, deadline)
    except TimeoutError:
        return False


def _note(line: str) -> None:
    _log.info(line, action="scale_out.undo")


PROCEDURES = (probe, begin, advance, undo, fate)
