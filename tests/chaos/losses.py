"""Whether each server that was lost had been asked for, and could be spared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from chaos.box import Box, Kill
from chaos.orders import Order
from chaos.plans import Mode
from chaos.truth import Journal, Loss, losses

_KILL_IS_SEEN_S = 5.0
_CLOCKS_S = 0.2
_STOP_IN_SQL = (Mode.GENTLE, Mode.ZONE_ROUTE, Mode.RESTART)


def judge_losses(box: Box, orders: Sequence[Order], before: Sequence[int | None]) -> Iterator[str]:
    """No server ends unasked, and none without ``force`` if that takes a majority away.

    Where no journal tells, the processes that ran ``before`` are looked at.
    """
    if box.cluster.journal is None:
        yield from _judge_processes(box, orders, before)
    else:
        yield from _judge_journal(box, orders, box.cluster.journal)


def _judge_processes(
    box: Box, orders: Sequence[Order], before: Sequence[int | None]
) -> Iterator[str]:
    killed = {kill.server for kill in box.kills}
    for host, pid, now in zip(box.hosts, before, box.process_ids(), strict=True):
        if pid is None or pid == now or host.place.server.address in killed:
            continue
        asked = [
            order
            for order in orders
            if order.refusal is None
            and order.operation.ends_servers(box.scene)
            and host.number in order.operation.servers
        ]
        if not asked:
            yield f"the server of a{host.number} has ended, for which nobody had asked"


def _judge_journal(box: Box, orders: Sequence[Order], journal: Journal) -> Iterator[str]:
    unexplained = list(box.kills)
    for loss in losses(journal.news()):
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
        if _asks_for(box, order, loss)
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


def _asks_for(box: Box, order: Order, loss: Loss) -> bool:
    if loss.killed:
        return order.operation.ends_servers(box.scene)
    return order.operation.mode in _STOP_IN_SQL
