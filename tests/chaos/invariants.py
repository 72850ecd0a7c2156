"""What must hold after a round, however much went wrong in it. Each check gives the violations."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence

from chaos.box import PACE_S, Box
from chaos.orders import ENDED, Order
from chaos.plans import Mode
from pyobshell.wire import DagDetailDTO

_SETTLED_S = 90.0
# A part whose coordinator was out of reach asks again after 15 s at most, and for some seconds.
_LETS_ITSELF_GO_S = 30.0
_LEASE = "select agent_ip, agent_port, epoch, expires > utc_timestamp(6) from ocs.maintainer"


# --- what became of servers ---------------------------------------------------------------------


def wanted_states(
    box: Box, orders: Sequence[Order], afterwards: Sequence[Order]
) -> list[bool | None]:
    """Whether each server shall run; None: either, an operation on it may be half done.

    The ``orders`` were at work together, those ``afterwards`` were seen to one after the other.
    """
    wanted: list[bool | None] = [True] * len(box.hosts)
    concerned: set[int] = set()
    for order in (*orders, *afterwards):
        operation = order.operation
        if order.refusal is not None or operation.is_sql_alone(box.scene):
            continue
        alone = order in afterwards
        for number in operation.servers:
            clear = order.succeeded and (alone or number not in concerned)
            wanted[number] = operation.mode in (Mode.START, Mode.RESTART) if clear else None
            concerned.add(number)
    return wanted


async def servers_are_as_wanted(
    box: Box, orders: Sequence[Order], afterwards: Sequence[Order] = ()
) -> AsyncIterator[str]:
    """Each server runs, or does not, as the operations on it had it; nobody else's has changed."""
    wanted = wanted_states(box, orders, afterwards)
    end = time.monotonic() + _SETTLED_S
    while True:
        runs = [host.server_runs for host in box.hosts]
        missing = [n for n, up in enumerate(wanted) if up and not runs[n]]
        if not missing or time.monotonic() > end:
            break
        await asyncio.sleep(PACE_S)
    for number in missing:
        yield f"the server of a{number} is down, and nothing starts it"
    for number, up in enumerate(wanted):
        if up is False and runs[number]:
            yield f"the server of a{number} runs, though it was stopped"


def services_are_as_wanted(box: Box, order: Order) -> Iterator[str]:
    """What was stopped in SQL is stopped, what was started is not; for what was done alone."""
    if box.cluster.journal is None or not order.succeeded:
        return
    stopped = box.cluster.journal.now().stopped
    operation = order.operation
    for number in operation.servers:
        is_stopped = box.server(number) in stopped
        if operation.mode in (Mode.GENTLE, Mode.ZONE_ROUTE) and not is_stopped:
            yield f"{order}, but the server of a{number} is in service"
        whole = operation.mode is Mode.RESTART or operation.scope != "SERVER"
        if operation.mode in (Mode.START, Mode.RESTART) and whole and is_stopped:
            yield f"{order}, but the server of a{number} is out of service"


# --- what became of tasks -----------------------------------------------------------------------


async def all_ended(box: Box, orders: Sequence[Order]) -> AsyncIterator[str]:
    """Every task has ended in a bounded time, and then lets the agents go.

    Only a rolling restart that has failed in a turn keeps them.
    """
    end = time.monotonic() + _SETTLED_S
    while alive := [dag for dag in await _unfinished(box) if _is_main(dag)]:
        if time.monotonic() > end:
            break
        await asyncio.sleep(PACE_S)
    for dag in alive:
        yield f"{_told(dag)}, and does not end"
    end = time.monotonic() + _LETS_ITSELF_GO_S
    while left := [dag for dag in await _unfinished(box) if not _is_kept(dag, orders)]:
        if time.monotonic() > end:
            break
        await asyncio.sleep(PACE_S)
    for dag in left:
        yield f"{_told(dag)}, though its task has ended"
    if not left and not any(order.keeps_agents for order in orders):
        async for one in _nobody_is_locked(box):
            yield one


async def _unfinished(box: Box) -> list[DagDetailDTO]:
    """What is alive, or failed and holds a lock."""
    return (await box.ask(lambda client: client.unfinished())).contents


def _is_main(dag: DagDetailDTO) -> bool:
    return dag.state not in ENDED and "main_dag_id" not in (dag.additional_data or {})


def _is_kept(dag: DagDetailDTO, orders: Sequence[Order]) -> bool:
    main = (dag.additional_data or {}).get("main_dag_id", dag.id)
    keepers = [order.dag for order in orders if order.keeps_agents]
    return any(one is not None and one.id == main for one in keepers)


def _told(dag: DagDetailDTO) -> str:
    node = next((one for one in dag.nodes or [] if one.state == "RUNNING"), None)
    where = f" in '{node.name}'" if node else ""
    return f"'{dag.name}' {dag.id} is {dag.state}{where}"


async def _nobody_is_locked(box: Box) -> AsyncIterator[str]:
    for host in box.hosts:
        if (await host.client.status()).underMaintenance:
            yield f"a{host.number} is under maintenance, though nothing is unfinished"


def failures_say_why(order: Order) -> Iterator[str]:
    """A task that failed tells the reason in its log."""
    if order.dag is None or order.dag.state != "FAILED":
        return
    failed = [
        task
        for node in order.dag.nodes or []
        for task in node.sub_tasks or []
        if task.state == "FAILED"
    ]
    if not failed:
        yield f"{order} has no sub task that failed"
    for task in failed:
        if not task.task_logs:
            yield f"{order}: '{task.name}' does not say why it failed"


# --- what became of the cluster -----------------------------------------------------------------


async def members_agree(box: Box) -> AsyncIterator[str]:
    """Every agent knows the same members."""
    lists = {}
    for host in box.hosts:
        info = await host.client.ob_info()
        lists[host.number] = sorted((one.ip, one.port, one.zone) for one in info.agent_info or [])
    for number, members in lists.items():
        if members != lists[0] or len(members) != len(box.hosts):
            yield f"a{number} knows other members than a0: {members}"


async def one_maintainer(box: Box) -> AsyncIterator[str]:
    """The lease is held by a member, where the servers share a database."""
    if not box.scene.clustered:
        return
    members = {(host.place.agent.ip, host.place.agent.port) for host in box.hosts}
    end = time.monotonic() + _SETTLED_S
    while True:
        ((ip, port, epoch, holds),) = await asyncio.to_thread(box.cluster.sql, _LEASE)
        if holds and (ip, port) in members:
            return
        if time.monotonic() > end:
            yield f"there is no maintainer: {ip}:{port} in epoch {epoch}"
            return
        await asyncio.sleep(PACE_S)


async def no_row_is_lost(box: Box) -> AsyncIterator[str]:
    """Every row that was acknowledged is there."""
    for writer in box.cluster.writers:
        missing = await asyncio.to_thread(writer.missing)
        if missing:
            yield f"{len(missing)} acknowledged rows are lost, {missing[0]} the first"
