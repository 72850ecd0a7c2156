"""What goes wrong, done to a cluster."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Sequence

from chaos.box import Box, Host, start_agents
from chaos.coverage import Coverage
from chaos.orders import Order
from chaos.plans import AT_FAILURE, Fault, Kind, Whom
from chaos.store import Store

_PATIENCE_S = 20.0
_SQL_DELAY_S = 0.3
_A_START_WAITS_S = 10.0  # for a database that is locked


async def strike(box: Box, fault: Fault, order: Order, coverage: Coverage) -> bool:
    """Have something go wrong when an operation is where the plan says, and end it after a while.

    Returns whether it happened: not if the operation is over by then, or all whom it would hit
    are hit by something else. Stages in which agents were killed are added to ``coverage``.
    """
    if fault.stage == AT_FAILURE:
        if not await order.failed(_PATIENCE_S):
            return False
    elif not await order.reached(fault.stage, _PATIENCE_S):
        return False
    if fault.delay_s:
        await asyncio.sleep(fault.delay_s)  # somewhere inside the stage
    hosts = [box.hosts[number] for number in fault.members]
    match fault.kind:
        case Kind.OPERATE:
            return await order.operate(fault.operator, hosts[0].client)
        case Kind.KILL_SERVER:
            return await box.kill_server(fault.members[0])
        case Kind.LOCK_STORE:
            return await _lock_store(hosts[0], fault.for_s)
        case Kind.PAUSE_AGENTS:
            async with _held(hosts) as free:
                await asyncio.gather(*(host.pause_agent(fault.for_s) for host in free))
                return bool(free)
        case Kind.KILL_AGENTS:
            async with _held(hosts) as free:
                await _kill_agents(free, fault.for_s, order, coverage)
                return bool(free)
    for number in fault.members:
        box.cluster.hinder(number, **_sql_fault(fault))
    await asyncio.sleep(fault.for_s)
    box.cluster.unhinder(fault.members)
    return True


async def _kill_agents(
    hosts: Sequence[Host], for_s: float, order: Order, coverage: Coverage
) -> None:
    victims = tuple(host.number for host in hosts)
    stage = order.stage_now()
    for host in hosts:
        host.kill_agent()
    await asyncio.gather(*(host.agent_ended() for host in hosts))
    if victims and order.operation.whom(victims, coverage.scene) is not Whom.OTHERS:
        stage = order.stage_now()  # its coordinator is dead: this is where it was
    if victims and stage is not None:
        coverage.add(order.operation, stage, victims)
    await asyncio.sleep(for_s)
    await start_agents(hosts)


async def _lock_store(host: Host, for_s: float) -> bool:
    store = Store(host.place.agent.base_dir)
    async with contextlib.AsyncExitStack() as stack:
        if for_s > _A_START_WAITS_S and not await stack.enter_async_context(_held([host])):
            return False
        try:
            await stack.enter_async_context(store.locked())
        except sqlite3.OperationalError:  # the agent held it all the time
            return False
        await asyncio.sleep(for_s)
    return True


def _sql_fault(fault: Fault) -> dict[str, object]:
    if fault.kind is Kind.DELAY_SQL:
        return {"delay_s": _SQL_DELAY_S}
    return {"drop" if fault.kind is Kind.DROP_SQL else "fail": fault.pattern}


@contextlib.asynccontextmanager
async def _held(hosts: Sequence[Host]) -> AsyncIterator[list[Host]]:
    """Those hosts that are not hit by something else, for this alone."""
    async with contextlib.AsyncExitStack() as stack:
        free = [host for host in hosts if not host.is_hit]
        for host in free:
            await stack.enter_async_context(host.lock)
        yield free
