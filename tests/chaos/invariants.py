"""What must hold after a round, however much went wrong in it. Each check gives the violations."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

from chaos.box import PACE_S, Box, Kill
from chaos.orders import ENDED, Order
from chaos.plans import Mode
from chaos.truth import Loss, losses
from pyobshell.wire import DagDetailDTO

_SETTLED_S = 90.0
_KILL_IS_SEEN_S = 5.0
_CLOCKS_S = 0.2
_CAN_BE_RETRIED = ("Minor freeze before stop server", "Start Zone")
_TELLS_OF_LOSSES = "sqlalchemy.pool"  # of each connection that is lost
_LEASE = "select agent_ip, agent_port, epoch, expires > utc_timestamp(6) from ocs.maintainer"


# --- what became of servers ---------------------------------------------------------------------


def judge_losses(box: Box, orders: Sequence[Order]) -> Iterator[str]:
    """No server ends unasked, and none without ``force`` if that takes a majority away."""
    unexplained = list(box.kills)
    for loss in losses(box.journal.news()):
        for server in sorted(loss.servers):
            if loss.killed and _explained(unexplained, server, loss.after.at):
                continue
            yield from _judge(box, orders, loss, server)


def _explained(kills: list[Kill], server: str, at: float) -> bool:
    """Whether we killed that server then; each kill explains one death."""
    for kill in kills:
        if kill.server == server and -_CLOCKS_S <= at - kill.at <= _KILL_IS_SEEN_S:
            kills.remove(kill)
            return True
    return False


def _judge(box: Box, orders: Sequence[Order], loss: Loss, server: str) -> Iterator[str]:
    askers = [
        order
        for order in orders
        if (order.operation.mode.kills if loss.killed else order.operation.mode.stops_in_sql)
        and order.refusal is None
        and server in map(box.server, order.operation.servers)
    ]
    what = "was killed" if loss.killed else "was stopped"
    if not askers:
        yield f"{server} {what} at {loss.after.at:.3f}, for which nobody had asked"
    elif all(order.operation.spares_majorities for order in askers):
        looked = min(order.looked_at(loss.after.at) for order in askers)
        spared = {kill.server for kill in box.kills if kill.at >= looked}
        gone = loss.servers if loss.killed else loss.after.stopped
        lost = loss.after.without_majority(gone, spared)
        if lost:
            streams = ", ".join(map(str, lost))
            yield f"{server} {what} at {loss.after.at:.3f} without force: no majority of {streams}"


def wanted_states(box: Box, orders: Sequence[Order]) -> list[bool | None]:
    """Whether each server shall run; None: either, an operation on it may be half done."""
    wanted: list[bool | None] = [True] * len(box.hosts)
    concerned: set[int] = set()
    for order in orders:
        if order.refusal is not None or order.operation.mode is Mode.GENTLE:
            continue
        for number in order.operation.servers:
            up = order.operation.mode in (Mode.START, Mode.RESTART)
            clear = order.succeeded and (number not in concerned or order.operators)
            wanted[number] = up if clear else None
            concerned.add(number)
    return wanted


async def servers_are_as_wanted(box: Box, orders: Sequence[Order]) -> AsyncIterator[str]:
    """Each server runs, or does not, as the operations on it had it; nobody else's has changed."""
    wanted = wanted_states(box, orders)
    end = time.monotonic() + _SETTLED_S
    while True:
        runs = [host.member.node.runs() for host in box.hosts]
        missing = [n for n, up in enumerate(wanted) if up and not runs[n]]
        if not missing or time.monotonic() > end:
            break
        await asyncio.sleep(PACE_S)
    for number in missing:
        yield f"the server of a{number} is down, and nothing starts it"
    for number, up in enumerate(wanted):
        if up is False and runs[number]:
            yield f"the server of a{number} runs, though it was stopped"


# --- what became of tasks -----------------------------------------------------------------------


async def all_ended(box: Box) -> AsyncIterator[str]:
    """Every task has ended, in a bounded time; parts may wait for a task that may be retried."""
    end = time.monotonic() + _SETTLED_S
    while True:
        unfinished = await box.ask(lambda client: client.unfinished())
        alive = [dag for dag in unfinished if dag.state not in ENDED]
        alive = [dag for dag in alive if not await _waits_for_an_operator(box, dag)]
        if not alive or time.monotonic() > end:
            break
        await asyncio.sleep(PACE_S)
    for dag in alive:
        node = next((one for one in dag.nodes or [] if one.state == "RUNNING"), None)
        where = f" in '{node.name}'" if node else ""
        yield f"'{dag.name}' {dag.id} is {dag.state}{where}, and does not end"


async def _waits_for_an_operator(box: Box, dag: DagDetailDTO) -> bool:
    """Whether it is part of a task that failed where it can be retried, or was cancelled.

    What is cancelled keeps its locks until forcePassDag names it, as in OBShell.
    """
    main_dag_id = (dag.additional_data or {}).get("main_dag_id")
    if main_dag_id is None:
        return False
    main = await box.ask(lambda client: client.dag(main_dag_id))
    current = (main.nodes or [])[main.stage - 1]
    retried = main.name == "Rolling restart" or current.name in _CAN_BE_RETRIED
    return main.state == "FAILED" and (retried or main.operator == "CANCEL")


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


async def nobody_is_locked(box: Box) -> AsyncIterator[str]:
    """No agent is under maintenance, and nothing is unfinished."""
    for host in box.hosts:
        end = time.monotonic() + _SETTLED_S
        while (await host.client.status()).underMaintenance:
            if time.monotonic() > end:
                yield f"a{host.number} is under maintenance, and nothing ends that"
                break
            await asyncio.sleep(PACE_S)
    for dag in await box.ask(lambda client: client.unfinished()):
        yield f"'{dag.name}' {dag.id} is left {dag.state}"


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
    """The lease is held, by a member."""
    members = {(host.member.ip, host.member.port) for host in box.hosts}
    end = time.monotonic() + _SETTLED_S
    while True:
        ((ip, port, epoch, holds),) = await asyncio.to_thread(box.sql, _LEASE)
        if holds and (ip, port) in members:
            return
        if time.monotonic() > end:
            yield f"there is no maintainer: {ip}:{port} in epoch {epoch}"
            return
        await asyncio.sleep(PACE_S)


async def no_row_is_lost(box: Box) -> AsyncIterator[str]:
    """Every row that was acknowledged is there."""
    missing = await asyncio.to_thread(box.writer.missing)
    if missing:
        yield f"{len(missing)} acknowledged rows are lost, {missing[0]} the first"


class Logs:
    """The agents' logs, read on from where they were read to."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._offsets = {file: file.stat().st_size for file in files}
        self._epochs: dict[int, Path] = {}

    def violations(self) -> Iterator[str]:
        """What nobody foresaw, and two maintainers of one epoch."""
        for file, offset in self._offsets.items():
            with file.open("rb") as log:
                log.seek(offset)
                text = log.read()
            self._offsets[file] = offset + len(text)
            for line in text.splitlines():
                yield from self._violation(file, json.loads(line))

    def _violation(self, file: Path, line: dict[str, object]) -> Iterator[str]:
        agent = file.parent.parent.name
        if "exception" in line and not str(line["logger"]).startswith(_TELLS_OF_LOSSES):
            last = str(line["exception"]).strip().splitlines()[-1]
            yield f"agent {agent} did not foresee: {line['event']}: {last}"
        if line.get("action") == "lease.won":
            epoch = int(str(line["epoch"]))
            other = self._epochs.setdefault(epoch, file)
            if other != file:
                yield f"agents {agent} and {other.parent.parent.name} both had epoch {epoch}"
