"""One round: a situation, operations, what goes wrong meanwhile, and whether all holds."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from chaos import invariants
from chaos.agent_logs import Logs
from chaos.box import Box, start_agents
from chaos.coverage import Coverage
from chaos.faults import strike
from chaos.losses import judge_losses
from chaos.obstacles import obstacles, see_through
from chaos.orders import Order
from chaos.plans import Kind, Mode, Operation, Plan, Situation
from chaos.resolving import resolve
from support.standin_clusters import eventually

_WRONG_S = 8.0  # nothing is held up for longer, so that what waits for it may go on
_RESTORED_S = 90.0


@dataclass
class Outcome:
    """What became of a round.

    ``orders`` were asked for together; ``afterwards`` are those that were seen to one by one, of
    which some are the same.
    """

    plan: Plan
    orders: list[Order] = field(default_factory=list)
    afterwards: list[Order] = field(default_factory=list)
    faults: Counter[Kind] = field(default_factory=Counter)
    resolutions: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    ways: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0
    beyond_repair: bool = False

    @property
    def all_orders(self) -> list[Order]:
        """Each once."""
        return list(dict.fromkeys((*self.orders, *self.afterwards)))

    async def note(self, violations: AsyncIterator[str]) -> None:
        """Keep what a check has found."""
        async for one in violations:
            self.violations.append(one)


async def play(box: Box, logs: Logs, coverage: Coverage, plan: Plan) -> Outcome:
    """Play a round on a cluster of which all is well, and have all well again."""
    begun, outcome = time.monotonic(), Outcome(plan)
    box.kills.clear()
    processes = box.process_ids()
    over = asyncio.Event()
    try:
        held = await _bring_about(box, plan, outcome, over)
        await _go_wrong(box, plan, outcome, coverage, over)
        await held
        await _settle(box, plan, outcome)
    except Exception as error:  # whatever it is, the cluster is to go on, and the round is told
        outcome.violations.append(f"the round came to grief: {type(error).__name__}: {error}")
    over.set()
    await _restore(box, outcome)
    outcome.violations += judge_losses(box, outcome.all_orders, processes)
    outcome.violations += logs.violations()
    for order in outcome.all_orders:
        order.close()
    outcome.seconds = time.monotonic() - begun
    return outcome


# --- before --------------------------------------------------------------------------------------


async def _bring_about(
    box: Box, plan: Plan, outcome: Outcome, over: asyncio.Event
) -> asyncio.Future[object]:
    """Have the situation; what is returned ends when nothing of it is held up any more."""
    cluster = box.cluster
    knobs: dict[str, object] = dict(plan.knobs)
    servers = [box.server(number) for number in plan.members]
    held: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    if plan.situation is Situation.OUT_OF_SYNC:
        knobs["out_of_sync"] = servers
    cluster.turn(**knobs)
    if plan.situation is Situation.HOST_KILLED:
        down = asyncio.Event()
        held = asyncio.ensure_future(_host_is_down(box, plan.members[0], down, over))
        await down.wait()
        return held
    if plan.situation is Situation.SERVER_KILLED:
        await box.kill_server(plan.members[0])
    elif plan.situation is Situation.FORCED:
        asked = next((n for n in box.scene.everybody if n not in plan.members), 0)
        operation = Operation(Mode.FORCE, "SERVER", plan.members, (), asked)
        await _must_succeed(box, operation, outcome.orders, outcome)
    elif plan.situation is Situation.SERVER_STOPPED:
        cluster.sql(f"ALTER SYSTEM STOP SERVER '{servers[0]}'")
    elif plan.situation is Situation.ZONE_STOPPED:
        cluster.sql(f"ALTER SYSTEM STOP ZONE '{box.scene.zones[plan.members[0]]}'")
    elif plan.situation is Situation.OUT_OF_SYNC:
        await asyncio.to_thread(eventually, lambda: _behind(box).issuperset(servers))
    if plan.situation in (Situation.SERVER_STOPPED, Situation.ZONE_STOPPED):
        assert cluster.journal is not None
        cluster.journal.news()  # that was us
    held.set_result(None)
    return held


async def _host_is_down(box: Box, number: int, down: asyncio.Event, over: asyncio.Event) -> None:
    """As when a machine fails, and comes back."""
    host = box.hosts[number]
    async with host.lock:
        host.kill_agent()
        await host.agent_ended()
        await box.kill_server(number)
        down.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_WRONG_S):
                await over.wait()
        await start_agents([host])


def _behind(box: Box) -> set[str]:
    assert box.cluster.journal is not None
    return {server for stream in box.cluster.journal.now().streams for server in stream.behind}


# --- meanwhile -----------------------------------------------------------------------------------


async def _go_wrong(
    box: Box, plan: Plan, outcome: Outcome, coverage: Coverage, over: asyncio.Event
) -> None:
    """Ask for the operations while things go wrong; afterwards nothing does, and all have ended."""
    orders = [Order(box, operation) for operation in plan.operations]
    asking = asyncio.gather(*(_ask(order, outcome.orders) for order in orders))
    outcome.orders += orders

    async def struck(number: int) -> None:
        fault = plan.faults[number]
        if await strike(box, fault, orders[fault.operation], coverage):
            outcome.faults[fault.kind] += 1

    striking = asyncio.gather(*(struck(number) for number in range(len(plan.faults))))
    await asyncio.wait((asking, striking), timeout=_WRONG_S)
    over.set()
    box.cluster.turn()
    await striking
    await box.all_back()
    await asking
    for order in orders:
        await order.find()
        await order.look()
        await see_through(box, order, orders)
        if order.dag is not None and order.dag.max_stage != len(order.operation.stages(box.scene)):
            outcome.violations.append(f"{order} has not the stages that plans take it to have")
    outcome.ways += [order.outcome for order in orders]
    outcome.failures += [f"{order}: {order.why}" for order in orders if not order.succeeded]


async def _ask(order: Order, others: list[Order]) -> None:
    await asyncio.sleep(order.operation.after_s)
    order.obstacles = await obstacles(order.box, order, others, asked=True)
    await order.ask()
    await see_through(order.box, order, others)


# --- afterwards ----------------------------------------------------------------------------------


async def _settle(box: Box, plan: Plan, outcome: Outcome) -> None:
    """What holds once all agents are back, before anybody mends anything; and operators' work."""
    orders = outcome.orders
    await outcome.note(invariants.all_ended(box, orders))
    for order in orders:
        outcome.violations += invariants.failures_say_why(order)
    undisturbed = not plan.faults and len(plan.operations) == 1
    if undisturbed and not orders[-1].obstacles and not orders[-1].succeeded:
        outcome.violations.append(f"{orders[-1]}, though nothing went wrong: {orders[-1].why}")
    await outcome.note(invariants.servers_are_as_wanted(box, orders))
    if len(plan.operations) == 1:
        outcome.violations += invariants.services_are_as_wanted(box, orders[-1])
    for order in orders:
        if order.outcome == "FAILED":
            outcome.resolutions[plan.resolution] += 1
            async for violation in resolve(box, order, plan.resolution, outcome):
                outcome.violations.append(violation)
            await outcome.note(invariants.all_ended(box, outcome.all_orders))
            await outcome.note(invariants.servers_are_as_wanted(box, orders, outcome.afterwards))


async def _must_succeed(
    box: Box, operation: Operation, among: list[Order], outcome: Outcome
) -> None:
    order = Order(box, operation)
    among.append(order)
    await order.ask()
    await order.follow()
    if not order.succeeded:
        outcome.violations.append(f"{order}, though nothing goes wrong any more: {order.why}")


async def _restore(box: Box, outcome: Outcome) -> None:
    """Have all well again by an operation of the product; if that cannot be done, by force."""
    box.cluster.unhinder(box.scene.everybody)
    box.cluster.turn()
    try:
        await box.all_back()
        await _start_all(box, outcome)
        await asyncio.to_thread(eventually, box.cluster.all_well, _RESTORED_S)
        await outcome.note(invariants.all_ended(box, []))
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


async def _start_all(box: Box, outcome: Outcome) -> None:
    """START OB GLOBAL, which gives up what keeps agents."""
    kept = [order for order in outcome.all_orders if order.keeps_agents]
    named = tuple(order.dag.id for order in kept if order.dag is not None)
    number = outcome.plan.number % len(box.hosts)
    everybody = box.scene.everybody
    operation = Operation(Mode.START, "GLOBAL", everybody, (), number, force_pass=named)
    await _must_succeed(box, operation, outcome.afterwards, outcome)
    for order in kept:
        order.is_given_up = True
