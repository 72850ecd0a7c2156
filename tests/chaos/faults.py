"""What goes wrong, done to a cluster."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

from chaos.box import Box, Host, start_agents
from chaos.orders import Order
from chaos.plans import Fault, Kind

_PATIENCE_S = 4.0
_SQL_DELAY_S = 0.3


async def strike(box: Box, fault: Fault, order: Order) -> bool:
    """Have something go wrong when an operation is where the plan says, and end it after a while.

    Returns whether it happened: not if the operation is over by then, or all whom it would hit
    are hit by something else.
    """
    if not await order.reached(fault.stage, _PATIENCE_S):
        return False
    await asyncio.sleep(fault.delay_s)  # somewhere inside the stage
    if fault.kind is Kind.CANCEL:
        await order.operate("CANCEL")
        return "CANCEL" in order.operators
    hosts = [box.hosts[number] for number in fault.members]
    if fault.kind is Kind.KILL_SERVER:
        return await box.kill_server(fault.members[0])
    if fault.kind in (Kind.KILL_AGENTS, Kind.PAUSE_AGENTS):
        async with _held(hosts) as free:
            await _hit_agents(free, fault)
            return bool(free)
    for host in hosts:
        host.member.node.faults.set(**_sql_fault(fault))
    await asyncio.sleep(fault.for_s)
    for host in hosts:
        host.member.node.faults.clear()
    return True


async def _hit_agents(hosts: Sequence[Host], fault: Fault) -> None:
    if fault.kind is Kind.PAUSE_AGENTS:
        await asyncio.gather(*(host.pause_agent(fault.for_s) for host in hosts))
        return
    await asyncio.gather(*(host.kill_agent() for host in hosts))
    await asyncio.sleep(fault.for_s)
    await start_agents(hosts)


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
