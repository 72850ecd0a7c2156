"""The last thing an agent does for a cluster it has been struck off: it ends its server and parts.

``Kill observer`` is a DAG of its own, with the agent's lock, so that it is finished also by an
agent that is killed in the middle. An agent that was out of reach at the time finds out at its next
start that it is no member any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import random

import structlog
from pydantic import BaseModel

from pyobshell import errors
from pyobshell.address import Address
from pyobshell.cluster.model import Identity, Member
from pyobshell.cluster.procedures import Caller, Nothing, procedure
from pyobshell.deadline import Deadline
from pyobshell.errors import OBShellError
from pyobshell.operations import server
from pyobshell.operations.join import LOCKED
from pyobshell.operations.release import is_sub_dag, release
from pyobshell.operations.remove import forget_cluster
from pyobshell.operations.site import Run, Site, refusal, require_cluster
from pyobshell.tasks.locks import MaintenanceConflictError
from pyobshell.tasks.model import Ability, Dag, DagPlan, NodePlan, Operator, State
from pyobshell.tasks.stage import stage

_log = structlog.get_logger(__name__)
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0
_UNDER_WAY_S = 10.0
SCALE_OUT, SCALE_IN, DELETE_ZONE = "Cluster scale out", "Cluster scale in", "Delete zone"
_ASKED = 3  # a cluster may be large, and all of its agents in doubt at once
_ABLE = Ability.CONTINUE | Ability.RETRY


class Retiring(BaseModel):
    """Parameters of ``Kill observer``: which task of the cluster wants it, and what is to go."""

    cluster_dag_id: str
    remove_data: bool = False


# --- the stages ----------------------------------------------------------------------------------


@stage("Kill observer", _ABLE)
async def kill_observer(run: Run, retiring: Retiring) -> None:
    """End the server, and remove its files if that is wanted."""
    site = run.site
    if retiring.remove_data:
        await server.remove(site, run.log, run.deadline)
    elif site.keeper.deployed:
        patience = run.deadline.within(site.settings.stop_timeout_s)
        await site.keeper.kill(run.log, patience)
        await site.cluster.remember_server(None)
        run.log(f"its files stay in {site.engine.home}")


@stage("Be single agent", _ABLE)
async def be_single(run: Run, retiring: Retiring) -> None:
    """Forget the cluster."""
    await forget_cluster(run.site)
    run.log(f"{run.site.own} is {Identity.SINGLE}")


def plan(retiring: Retiring) -> DagPlan:
    """The stages of ``Kill observer``."""
    return DagPlan(
        "Kill observer", [NodePlan(kill_observer), NodePlan(be_single)], retiring, LOCKED
    )


# --- asked by the cluster ------------------------------------------------------------------------


@procedure("agent/retire")
async def retire(site: Site, caller: Caller, retiring: Retiring) -> Nothing:
    """End the server here and part from the cluster; asked again, it goes on.

    Raises ``Agent.Identify.NotSupportOperation`` unless this agent is SCALING IN, and
    ``Agent.UnderMaintenance`` or ``Agent.UnderMaintenanceDag`` when something else has its lock.
    """
    site.cluster.view.require(Identity.SCALING_IN)
    dag = await _begin(site, retiring, caller.deadline)
    ended = await site.tasks.wait_end(dag.id, caller.deadline)
    tasks = [task for node in (await site.tasks.dag(dag.id)).nodes for task in node.sub_tasks]
    lines = [line for task in tasks for line in task.logs]
    for line in lines:
        caller.log(line)
    if ended.state is State.FAILED:
        raise errors.SUB_DAG_NOT_ALL_SUCCEED(agents=f"{site.own}: {lines[-1]}")
    return Nothing()


async def _begin(site: Site, retiring: Retiring, deadline: Deadline) -> Dag:
    while True:
        try:
            return await site.tasks.submit(plan(retiring))
        except MaintenanceConflictError as conflict:
            holder = await site.tasks.dag(conflict.dag_id)
        if holder.nodes[0].stage_key == kill_observer.key:
            break
        await _let_go(site, holder, deadline)
    if holder.state is State.FAILED:
        await site.tasks.operate(holder.id, Operator.RETRY)
    return holder


async def _let_go(site: Site, holder: Dag, deadline: Deadline) -> None:
    """Free the lock from a part in the cluster's operations: this agent has no part in them now."""
    if not is_sub_dag(holder):
        raise refusal(site.own, holder)
    with contextlib.suppress(TimeoutError):  # what is under way may end in the ordinary way
        await site.tasks.wait_end(holder.id, deadline.within(_UNDER_WAY_S))
    await release(site, holder.id, deadline)


# --- found out by oneself ------------------------------------------------------------------------


class Standing(BaseModel):
    """What the agent that asks is in the cluster, and whether its server is one of the cluster.

    ``files_go``: it was removed with its server's files, or its scale out was rolled back.
    """

    identity: Identity | None
    has_server: bool
    files_go: bool = False


class Question(BaseModel):
    """About the server of the agent that asks, by its rpc port."""

    rpc_port: int


class _Concerned(BaseModel):
    """Of the parameters of a DAG that removes or adds agents: which; and whether files go."""

    leaving: list[Member] = []
    member: Member | None = None
    remove_data: bool = False

    def has(self, caller: Caller) -> bool:
        """Whether this very agent is one of them, in the life that it lives."""
        members = self.leaving if self.member is None else [self.member]
        asking = (caller.address, caller.public_key)
        return any((one.address, one.public_key) == asking for one in members)


@procedure("agent/standing", for_guests=True)
async def standing(site: Site, caller: Caller, question: Question) -> Standing:
    """What the cluster's own database and views say of the agent that asks."""
    site.cluster.view.require(Identity.CLUSTER_AGENT)
    async with site.guests:
        return await _standing(site, caller, question)


async def _standing(site: Site, caller: Caller, question: Question) -> Standing:
    listed = await site.require_ocs().members()
    me = next((m for m in listed.members if m.address == caller.address), None)
    known = me is not None and (
        me.public_key == caller.public_key or site.cluster.knows(caller.address, caller.public_key)
    )
    rows = await require_cluster(site).servers(caller.deadline)
    server = Address(caller.address.ip, question.rpc_port)
    found = Standing(
        identity=me.identity if me is not None and known else None,
        has_server=any(row.address == server for row in rows),
    )
    if found.identity is None and not found.has_server:
        found.files_go = await _files_go(site, caller)
    return found


async def _files_go(site: Site, caller: Caller) -> bool:
    """Whether the last task of the cluster that concerned an agent lets its server's files go."""

    def concerns(dag: Dag) -> bool:
        return dag.name in (SCALE_OUT, SCALE_IN, DELETE_ZONE) and _Concerned.model_validate_json(
            dag.params
        ).has(caller)

    last = await site.require_ocs().tasks.newest(concerns)
    if last is None or last.state is not State.SUCCEED:
        return False
    undone = last.operator is Operator.ROLLBACK
    if last.name == SCALE_OUT:
        return undone
    return not undone and _Concerned.model_validate_json(last.params).remove_data


def look_whether_parted(site: Site) -> None:
    """Part from a cluster that has removed this agent while it was down or out of reach.

    Begun at the agent's start, and whenever something makes it doubt that it is a member.
    """
    if (
        site.ocs is not None
        and site.cluster.view.identity in (Identity.CLUSTER_AGENT, Identity.SCALING_IN)
        and (site.doubting is None or site.doubting.done())
    ):
        site.doubting = site.background.begin(_look(site))


async def _look(site: Site) -> None:
    """Ask until the answer is clear; it is not as long as the agent is SCALING IN."""
    pause_s = _FIRST_PAUSE_S
    while site.cluster.view.identity in (Identity.CLUSTER_AGENT, Identity.SCALING_IN):
        try:
            found = await _ask(site)
            if found.identity is Identity.CLUSTER_AGENT:
                return
            if found.identity is None and not found.has_server:
                _log.warning("is no member any more: parting", action="standing.none")
                patience = Deadline.after(site.settings.stop_timeout_s)
                retiring = Retiring(cluster_dag_id="", remove_data=found.files_go)
                await _begin(site, retiring, patience)
                return
        except OBShellError as error:
            _log.info("not yet", action="standing.ask", cause=str(error))
        await asyncio.sleep(pause_s)  # nobody tells: the others do not know this agent any more
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


async def _ask(site: Site) -> Standing:
    view = site.cluster.view
    me = view.member(site.own)
    question = Question(rpc_port=me.rpc_port if me else 0)
    some = random.sample(view.others, min(_ASKED, len(view.others)))
    return await site.peers.call_any(some, standing, question, site.settings.rpc_timeout_s)


STAGES = (kill_observer, be_single)
PROCEDURES = (retire, standing)
