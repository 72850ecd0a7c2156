"""What an operator does about an operation that has failed, when nothing goes wrong any more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Protocol

from chaos.box import Box
from chaos.obstacles import obstacles, see_through, settled
from chaos.orders import Order
from chaos.plans import Resolution


class Orders(Protocol):
    """The operations of a round, and those that were seen to afterwards."""

    afterwards: list[Order]

    @property
    def all_orders(self) -> list[Order]:
        """Each once."""


async def resolve(
    box: Box, order: Order, resolution: Resolution, orders: Orders
) -> AsyncIterator[str]:
    """Deal with a failure in one of the ways; gives what of it should not be."""
    match resolution:
        case Resolution.RETRY:
            async for one in _retry(box, order, orders):
                yield one
        case Resolution.CANCELLED_RETRY:
            await order.operate("RETRY")
            await order.operate("CANCEL")
            await see_through(box, order, orders.all_orders)
            orders.afterwards.append(order)
            if order.outcome == "FAILED":
                async for one in _retry(box, order, orders):
                    yield one
        case Resolution.ASK_AGAIN:
            async for one in _ask_again(box, order, orders):
                yield one
        case Resolution.PASS:
            allowed = order.allows_pass
            if await order.operate("PASS") != allowed:
                yield f"{order}: PASS was {'refused' if allowed else 'accepted'}"
        case Resolution.ROLLBACK:
            if await order.operate("ROLLBACK"):
                yield f"{order}: ROLLBACK was accepted"


async def _retry(box: Box, order: Order, orders: Orders) -> AsyncIterator[str]:
    await settled(box)
    before = await obstacles(box, order, orders.all_orders, asked=False)
    if not await order.operate("RETRY"):
        yield f"{order}: RETRY was refused"
    await see_through(box, order, orders.all_orders)
    orders.afterwards.append(order)
    if order.succeeded:
        return
    if not before and not await obstacles(box, order, orders.all_orders, asked=False):
        yield f"{order} after RETRY, though nothing is in its way any more: {order.why}"


async def _ask_again(box: Box, failed: Order, orders: Orders) -> AsyncIterator[str]:
    given_up = (failed.dag.id,) if failed.keeps_agents and failed.dag else ()
    await settled(box)
    asked = await asyncio.to_thread(_who_can_be_asked, box, failed)
    order = Order(box, replace(failed.operation, asked=asked, force_pass=given_up))
    order.obstacles = await obstacles(box, order, orders.all_orders, asked=True)
    await order.ask()
    await see_through(box, order, orders.all_orders)
    orders.afterwards.append(order)
    failed.is_given_up |= bool(given_up) and order.refusal is None
    if not order.succeeded and not order.obstacles:
        yield f"{order} when asked again, though nothing is in its way: {order.why}"


def _who_can_be_asked(box: Box, failed: Order) -> int:
    """The agent that was asked before, unless its server is down by now, and another's serves."""
    before = box.hosts[failed.operation.asked]
    others = [host for host in box.hosts if host is not before]
    return next((host for host in (before, *others) if host.server_serves), before).number
