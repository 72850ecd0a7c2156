"""The stages of ``Local scale out``: an agent that a cluster takes in makes and starts its server.

In between its DAG waits for the coordinator, and keeps anybody else from using the agent; who gives
its signals, and what becomes of it without them, is in ``operations.invited``.
"""

from __future__ import annotations

from pydantic import BaseModel

from pyobshell import errors
from pyobshell.cluster.model import ClusterView, Identity, Member
from pyobshell.operations import server
from pyobshell.operations.join import LOCKED
from pyobshell.operations.keeper import ServerSettings
from pyobshell.operations.remove import forget_cluster
from pyobshell.operations.site import Run
from pyobshell.tasks.model import Ability, DagPlan, NodePlan
from pyobshell.tasks.stage import stage

NAME = "Local scale out"
DEPLOY, START, FINISH = "deploy", "start", "finish"
# The stages at which the DAG waits for each of these signals.
READY, DEPLOYED, STARTED, DONE = 2, 4, 6, 8


class ScalingOut(BaseModel):
    """Parameters of ``Local scale out``; root's password as sealed by this agent's vault."""

    cluster_id: int
    cluster_name: str
    members: tuple[Member, ...]
    server: ServerSettings
    sealed_root_password: str | None


# --- the stages ----------------------------------------------------------------------------------


async def _be_single(run: Run, joining: ScalingOut) -> None:
    await forget_cluster(run.site)
    run.log(f"{run.site.own} is SINGLE again")


@stage("Be scaling agent", Ability.BOTH_WAYS, undo=_be_single, retry_undoes=False)
async def be_scaling_agent(run: Run, joining: ScalingOut) -> None:
    """Know the cluster, whose members may now tell this agent what to do."""
    site = run.site
    view = ClusterView(
        own=site.own,
        identity=Identity.SCALING_OUT,
        cluster_id=joining.cluster_id,
        cluster_name=joining.cluster_name,
        members=joining.members,
    )
    sealed = joining.sealed_root_password
    root = None if sealed is None else site.vault.open_text(sealed)
    await site.cluster.save(view, lambda known: known.with_root(root))
    run.log(f"{site.own} is {Identity.SCALING_OUT} into cluster '{joining.cluster_name}'")


async def _await_deploy(run: Run, joining: ScalingOut) -> None:
    run.log("waiting to be told to deploy the server")
    await run.signal(DEPLOY)


async def _await_start(run: Run, joining: ScalingOut) -> None:
    run.log("waiting to be told to start the server")
    await run.signal(START)


prepare_deploy = stage(
    "Start preparations", Ability.BOTH_WAYS, key="local_scale_out.prepare_deploy"
)(_await_deploy)
prepare_start = stage("Start preparations", Ability.BOTH_WAYS, key="local_scale_out.prepare_start")(
    _await_start
)


async def _remove_server(run: Run, joining: ScalingOut) -> None:
    await server.remove(run.site, run.log, run.deadline)


@stage("Create observer workdir", Ability.BOTH_WAYS, undo=_remove_server)
async def create_workdir(run: Run, joining: ScalingOut) -> None:
    """Make the directories of the new server."""
    if not run.site.keeper.deployed:
        await run.site.keeper.deploy(joining.server, run.log)


@stage("Start observer", Ability.BOTH_WAYS)
async def start_observer(run: Run, joining: ScalingOut) -> None:
    """Start the new server; it serves when the cluster has added it."""
    patience = run.deadline.within(run.site.settings.start_timeout_s)
    await run.site.keeper.start(run.log, patience)


@stage("Watch cluster scale_out dag", Ability.BOTH_WAYS)
async def watch_cluster_dag(run: Run, joining: ScalingOut) -> None:
    """Wait until the cluster has the server and this agent as its own."""
    run.log("waiting for the cluster to take the server and this agent in")
    await run.signal(FINISH)


@stage("Sync from observer", Ability.BOTH_WAYS)
async def sync_from_observer(run: Run, joining: ScalingOut) -> None:
    """Read from the cluster itself who its members are, and be one of them."""
    site, ocs = run.site, run.site.require_ocs()
    site.engine.use_password(site.cluster.passwords.root or "")
    await ocs.synchronize()
    if site.cluster.view.identity is not Identity.CLUSTER_AGENT:
        raise errors.AGENT_NOT_EXIST(agent=site.own)
    ocs.open()
    run.log(f"{site.own} is {Identity.CLUSTER_AGENT}")


def plan(joining: ScalingOut, cluster_dag_id: str) -> DagPlan:
    """The stages of ``Local scale out``."""
    stages = (
        *(be_scaling_agent, prepare_deploy, create_workdir, prepare_start),
        *(start_observer, watch_cluster_dag, sync_from_observer),
    )
    nodes = [NodePlan(one) for one in stages]
    return DagPlan(NAME, nodes, joining, LOCKED, {"cluster_dag_id": cluster_dag_id})


STAGES = (
    be_scaling_agent,
    prepare_deploy,
    create_workdir,
    prepare_start,
    start_observer,
    watch_cluster_dag,
    sync_from_observer,
)
