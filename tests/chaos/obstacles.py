"""Why an operation may rightly not be carried out, judged from what is so, not from what is said.

Where there is no obstacle and nothing goes wrong, an operation must succeed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from chaos.box import PACE_S, Box
from chaos.orders import Order
from chaos.plans import Mode
from chaos.truth import Moment

_SETTLED_S = 60.0
_LOOK_S = 5.0


async def obstacles(box: Box, order: Order, others: Sequence[Order], *, asked: bool) -> list[str]:
    """What is in the way of an operation now: that is asked for, or else tried again."""
    return await asyncio.to_thread(lambda: list(_obstacles(box, order, others, asked)))


async def see_through(box: Box, order: Order, others: Sequence[Order]) -> None:
    """Follow an operation to its end; a start that can only wait for a majority is cancelled."""
    following = asyncio.ensure_future(order.follow())
    in_vain = 0
    while not (await asyncio.wait([following], timeout=_LOOK_S))[0]:
        in_vain = in_vain + 1 if await _waits_in_vain(box, order, others) else 0
        if in_vain > 1:
            await order.operate("CANCEL")
    await following


async def _waits_in_vain(box: Box, order: Order, others: Sequence[Order]) -> bool:
    at_work = [one for one in others if one is not order and not one.is_over]
    if order.operation.mode is not Mode.START or at_work:
        return False
    return bool(await obstacles(box, order, others, asked=False))


async def settled(box: Box) -> None:
    """Return when each server that runs serves and has caught up, or it is clear that none will."""
    end = time.monotonic() + _SETTLED_S
    while not await asyncio.to_thread(_is_settled, box):
        if time.monotonic() > end:
            break
        await asyncio.sleep(PACE_S)  # servers tell nobody of it


def _is_settled(box: Box) -> bool:
    if box.cluster.journal is not None:
        moment = box.cluster.journal.now()
        if not moment.streams:
            return False
        if any(not stream.has_majority(moment.alive) for stream in moment.streams):
            return True
        if any(stream.behind & moment.alive for stream in moment.streams):
            return False
    return all(host.server_serves for host in box.hosts if host.server_runs)


def _obstacles(box: Box, order: Order, others: Sequence[Order], asked: bool) -> Iterator[str]:
    yield from _held(order, others)
    yield from _of_targets(box, order)
    if asked:
        yield from _to_a_request(box, order)
    if box.cluster.journal is None:
        yield from _elsewhere_down(box, order)
    else:
        yield from _in_cluster(box, order, box.cluster.journal.now())


def _held(order: Order, others: Sequence[Order]) -> Iterator[str]:
    """A rolling restart that has failed in a turn keeps the agents, unless it is given up."""
    for other in others:
        given_up = other.dag is not None and other.dag.id in order.operation.force_pass
        if other is not order and other.keeps_agents and not given_up:
            yield f"'{other.operation}' keeps the agents"


def _of_targets(box: Box, order: Order) -> Iterator[str]:
    flushed = order.operation.mode is Mode.TERMINATE or order.operation.flushed
    for number in order.operation.servers:
        host = box.hosts[number]
        if host.is_hit:
            yield f"a{number}, beside a target, is hit"
        elif flushed and host.server_runs and not host.server_serves:
            yield f"the server of a{number} cannot be flushed, it does not serve"


def _to_a_request(box: Box, order: Order) -> Iterator[str]:
    """What only a request is refused for: the agent that is asked needs its own server."""
    operation = order.operation
    if operation.mode is Mode.GENTLE and operation.scope == "GLOBAL":
        yield "GLOBAL needs more than a gentle stop"
    by_force = operation.mode is Mode.FORCE and operation.scope != "ZONE"
    needs_own = operation.mode in (Mode.GENTLE, Mode.TERMINATE, Mode.FORCE) and not by_force
    if needs_own and not box.hosts[operation.asked].server_serves:
        yield f"the server of a{operation.asked}, which is asked, does not serve"


def _zones(box: Box, order: Order) -> set[str]:
    return {box.scene.zones[number] for number in order.operation.servers}


# --- servers that are each whole -----------------------------------------------------------------


def _elsewhere_down(box: Box, order: Order) -> Iterator[str]:
    """A gentle stop keeps to one zone; a rolling restart wants all others up."""
    if order.operation.mode is Mode.GENTLE:
        zones = _zones(box, order)
        if len(zones) > 1:
            yield "more than one zone would be stopped"
        concerned = [host for host in box.hosts if host.place.zone not in zones]
    elif order.operation.mode is Mode.RESTART:
        begun = order.operation.servers if order.keeps_agents else ()
        concerned = [host for host in box.hosts if host.number not in begun]
    else:
        return
    for host in concerned:
        if not host.server_serves:
            yield f"the server of a{host.number} does not serve"


# --- servers that form a cluster -----------------------------------------------------------------


def _in_cluster(box: Box, order: Order, moment: Moment) -> Iterator[str]:
    operation = order.operation
    targets = {box.server(number) for number in operation.servers}
    if operation.mode in (Mode.GENTLE, Mode.ZONE_ROUTE):
        yield from _stopped_elsewhere(box, order, moment)
    if operation.mode is Mode.RESTART:
        # Where its turn has begun it goes on from what it finds there.
        yield from _unwell(box, moment, targets if order.keeps_agents else set())
    alive = moment.alive.difference(_dead(box))
    if not moment.streams:
        yield "the cluster of servers has only begun"
    if operation.mode is Mode.START:
        for stream in moment.streams:
            if not stream.has_majority(alive.union(targets)):
                yield f"{stream} has no majority, also with those that are started"
    elif operation.spares_majorities:
        for stream in replace(moment, alive=alive).without_majority(targets):
            yield f"{stream} would be left without a majority"
        if not alive:
            yield "no server is alive, so that none can be asked"


def _dead(box: Box) -> set[str]:
    """The journal may not know it yet."""
    return {host.place.server.address for host in box.hosts if not host.server_runs}


def _stopped_elsewhere(box: Box, order: Order, moment: Moment) -> Iterator[str]:
    zones = _zones(box, order)
    if len(zones) > 1:
        yield "more than one zone would be stopped"
    for host in box.hosts:
        if host.place.server.address in moment.stopped and host.place.zone not in zones:
            yield f"the server of a{host.number} is stopped"


def _unwell(box: Box, moment: Moment, begun: set[str]) -> Iterator[str]:
    behind = {server for stream in moment.streams for server in stream.behind}
    for host in box.hosts:
        server = host.place.server.address
        if server in begun:
            continue
        well = server in moment.alive and server not in moment.stopped and host.server_runs
        if not well or server in behind:
            yield f"the server of a{host.number} is not in service, or behind"
