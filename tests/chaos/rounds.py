"""One round: a situation, operations, what goes wrong meanwhile, and whether all holds."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from chaos import invariants
from chaos.box import Box, start_agents
from chaos.faults import strike
from chaos.invariants import Logs
from chaos.orders import Order
from chaos.plans import Kind, Mode, Operation, Plan, Situation
from support.standin_clusters import eventually

_WRONG_S = 8.0  # nothing goes wrong for longer, so that what waits for it may go on
_RESTORED_S = 90.0


@dataclass
class Outcome:
    """What became of a round."""

    plan: Plan
    orders: list[Order] = field(default_factory=list)
    faults: dict[Kind, int] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)
    seconds: float = 0.0
    beyond_repair: bool = False

    def struck(self, kind: Kind) -> None:
        """Something went wrong as planned."""
        self.faults[kind] = self.faults.get(kind, 0) + 1

    async def note(self, violations: AsyncIterator[str]) -> None:
        """Keep what a check has found."""
        async for one in violations:
            self.violations.append(one)


async def play(box: Box, logs: Logs, plan: Plan) -> Outcome:
    """Play a round on a cluster of which all is well, and have all well again."""
    begun, outcome = time.monotonic(), Outcome(plan)
    box.kills.clear()
    over = asyncio.Event()
    try:
        held = await _bring_about(box, plan, outcome, over)
        await _go_wrong(box, plan, outcome, over)
        await held
        await _settle(box, plan, outcome)
    except Exception as error:  # whatever it is, the cluster is to go on, and the round is told
        outcome.violations.append(f"the round came to grief: {type(error).__name__}: {error}")
    over.set()
    await _restore(box, outcome)
    outcome.violations += logs.violations()
    outcome.seconds = time.monotonic() - begun
    return outcome


# --- before --------------------------------------------------------------------------------------


async def _bring_about(
    box: Box, plan: Plan, outcome: Outcome, over: asyncio.Event
) -> asyncio.Future[object]:
    """Have the situation; what is returned ends when nothing of it is held up any more."""
    knobs: dict[str, object] = dict(plan.knobs)
    servers = [box.server(number) for number in plan.members]
    held: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    if plan.situation is Situation.OUT_OF_SYNC:
        knobs["out_of_sync"] = servers
    box.cluster.knobs.set(**knobs)
    if plan.situation is Situation.HOST_KILLED:
        down = asyncio.Event()
        held = asyncio.ensure_future(_host_is_down(box, plan.members[0], down, over))
        await down.wait()
        return held
    if plan.situation is Situation.SERVER_KILLED:
        await box.kill_server(plan.members[0])
    elif plan.situation is Situation.FORCED:
        asked = next(n for n in range(len(box.hosts)) if n not in plan.members)
        operation = Operation(Mode.FORCE, "SERVER", plan.members, (), asked)
        await _must_succeed(box, operation, outcome)
    elif plan.situation is Situation.SERVER_STOPPED:
        box.sql(f"ALTER SYSTEM STOP SERVER '{servers[0]}'")
    elif plan.situation is Situation.ZONE_STOPPED:
        box.sql(f"ALTER SYSTEM STOP ZONE '{box.zones[plan.members[0]]}'")
    elif plan.situation is Situation.OUT_OF_SYNC:
        await asyncio.to_thread(eventually, lambda: _behind(box).issuperset(servers))
    if plan.situation in (Situation.SERVER_STOPPED, Situation.ZONE_STOPPED):
        box.journal.news()  # that was us
    held.set_result(None)
    return held


async def _host_is_down(box: Box, number: int, down: asyncio.Event, over: asyncio.Event) -> None:
    """As when a machine fails, and comes back."""
    host = box.hosts[number]
    async with host.lock:
        await host.kill_agent()
        await box.kill_server(number)
        down.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_WRONG_S):
                await over.wait()
        await start_agents([host])


def _behind(box: Box) -> set[str]:
    return {server for stream in box.journal.now().streams for server in stream.behind}


# --- meanwhile -----------------------------------------------------------------------------------


async def _go_wrong(box: Box, plan: Plan, outcome: Outcome, over: asyncio.Event) -> None:
    """Ask for the operations while things go wrong; afterwards nothing does, and all have ended."""
    orders = [Order(box, operation) for operation in plan.operations]
    outcome.orders += orders
    asking = asyncio.gather(*(_ask(order) for order in orders))

    async def struck(number: int) -> None:
        fault = plan.faults[number]
        if await strike(box, fault, orders[fault.operation]):
            outcome.struck(fault.kind)

    striking = asyncio.gather(*(struck(number) for number in range(len(plan.faults))))
    await asyncio.wait((asking, striking), timeout=_WRONG_S)
    over.set()
    box.cluster.knobs.clear()
    await striking
    await box.all_back()
    await asking
    for order in orders:
        await order.find()
        await order.follow()


async def _ask(order: Order) -> None:
    await asyncio.sleep(order.operation.after_s)
    await order.ask()


# --- afterwards ----------------------------------------------------------------------------------


async def _settle(box: Box, plan: Plan, outcome: Outcome) -> None:
    """What holds once all agents are back, before anybody mends anything; and operators' work."""
    orders = outcome.orders
    await outcome.note(invariants.all_ended(box))
    for order in orders:
        outcome.violations += invariants.failures_say_why(order)
        if plan.situation is Situation.WELL and not plan.faults and len(plan.operations) == 1:
            outcome.violations += _had_to_succeed(order)
    await outcome.note(invariants.servers_are_as_wanted(box, orders))
    for order in orders:
        if order.outcome == "FAILED" and plan.resolution:
            await order.operate(plan.resolution)
            await order.follow()
            await outcome.note(invariants.all_ended(box))


def _had_to_succeed(order: Order) -> list[str]:
    """Nothing went wrong: only what can never be done may be refused."""
    operation = order.operation
    zones = {order.box.zones[number] for number in operation.servers}
    gentle = operation.mode is Mode.GENTLE or operation.spares_majorities
    possible = operation.mode is Mode.RESTART or not gentle or len(zones) == 1
    return [] if order.succeeded or not possible else [f"{order}, though nothing went wrong"]


async def _must_succeed(box: Box, operation: Operation, outcome: Outcome) -> Order:
    order = Order(box, operation)
    outcome.orders.append(order)
    await order.ask()
    if not order.succeeded:
        outcome.violations.append(f"{order}, though nothing goes wrong any more: {order.why}")
    return order


async def _restore(box: Box, outcome: Outcome) -> None:
    """Have all well again by an operation of the product; if that cannot be done, by force."""
    for host in box.hosts:
        host.member.node.faults.clear()
    box.cluster.knobs.clear()
    try:
        await box.all_back()
        await _start_all(box, outcome)
        await asyncio.to_thread(eventually, box.cluster.all_well, _RESTORED_S)
        await outcome.note(invariants.nobody_is_locked(box))
        await outcome.note(invariants.members_agree(box))
        await outcome.note(invariants.one_maintainer(box))
        await outcome.note(invariants.no_row_is_lost(box))
    except Exception as error:  # as above: the next round needs a cluster of which all is well
        outcome.violations.append(f"not well again: {type(error).__name__}: {error}")
        try:
            await asyncio.to_thread(box.cluster.restore)
        except Exception as defeat:
            outcome.violations.append(f"beyond repair: {type(defeat).__name__}: {defeat}")
            outcome.beyond_repair = True
    outcome.violations += invariants.judge_losses(box, outcome.orders)


async def _start_all(box: Box, outcome: Outcome) -> None:
    """START OB GLOBAL, which releases what failed."""
    left = []
    for dag in await box.ask(lambda client: client.unfinished()):
        main = (dag.additional_data or {}).get("main_dag_id", dag.id)
        left += [main] if main not in left else []
    number = outcome.plan.number % len(box.hosts)
    everybody = tuple(range(len(box.hosts)))
    operation = Operation(Mode.START, "GLOBAL", everybody, (), number, force_pass=tuple(left))
    await _must_succeed(box, operation, outcome)
