"""Agents of one cluster whose servers share a database."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Any

from pyobshell.agent import Agent
from pyobshell.cluster.model import Identity
from pyobshell.deadline import Deadline
from pyobshell.operations.ocs import Ocs
from pyobshell.operations.site import Site
from pyobshell.security.verify import Passwords
from pyobshell.settings import Settings
from pyobshell.store.database import Database
from pyobshell.tasks.model import Dag, DagPlan
from support.agents import Host, Hosts, a_member, a_view, free_address
from support.ocs import Line, Seekdb
from support.waiting import PATIENCE_S, soon

_NO_PASSWORDS = Passwords(root=None, agent=None)
SHORT_LEASE = {"lease_s": 2.0, "lease_renewal_s": 0.3}


class SharingAgent(Agent):
    """An agent that reaches its cluster's database over ``line``, and whose site can be seen."""

    site: Site

    def __init__(self, line: Line, settings: Settings, make_engine: Any) -> None:
        super().__init__(settings, make_engine, find_ocs=lambda _: line)
        self.line = line

    async def _assemble(self, database: Database) -> Site:
        self.site = await super()._assemble(database)
        return self.site


class Sharer:
    """One such agent, as a test sees it."""

    def __init__(self, host: Host, stack: contextlib.AsyncExitStack) -> None:
        assert isinstance(host.agent, SharingAgent)
        self.host = host
        self.site = host.agent.site
        self.line = host.agent.line
        self.address = host.address
        self._stack = stack

    @property
    def ocs(self) -> Ocs:
        return self.site.require_ocs()

    @property
    def maintains(self) -> bool:
        return self.ocs.maintainer.active.is_set()

    async def stop(self) -> None:
        """End the agent in the ordinary way."""
        await self._stack.aclose()

    async def submit(self, plan: DagPlan) -> Dag:
        return await self.ocs.tasks.submit(plan)

    async def ended(self, dag_id: int) -> Dag:
        """The DAG with its logs, once it has ended; asked for again if its maintainer is lost."""
        deadline = Deadline.after(PATIENCE_S)
        while not deadline.passed():
            await self.ocs.tasks.hold(dag_id, deadline.remaining())
            dag = await self.ocs.tasks.dag(dag_id)
            if dag.state.ended:
                return dag
        raise AssertionError(f"DAG {dag_id} does not end")


@contextlib.asynccontextmanager
async def sharing(
    hosts: Hosts, seekdb: Seekdb, count: int, **settings: Any
) -> AsyncIterator[list[Sharer]]:
    """So many members of a cluster, each in its zone, on one database; the first to be chosen
    is any of them."""
    addresses = [free_address() for _ in range(count)]
    members = [a_member(one, hosts.keys[n], f"zone{n + 1}") for n, one in enumerate(addresses)]
    async with contextlib.AsyncExitStack() as whole:
        sharers = []
        for n, address in enumerate(addresses):
            stack = await whole.enter_async_context(contextlib.AsyncExitStack())
            view = a_view(address, Identity.CLUSTER_AGENT, members)
            serving = hosts.serve(
                view,
                hosts.keys[n],
                _NO_PASSWORDS,
                make_agent=partial(SharingAgent, Line(seekdb)),
                **{**SHORT_LEASE, **settings},
            )
            sharers.append(Sharer(await stack.enter_async_context(serving), stack))
        yield sharers


async def maintainer_of(sharers: Sequence[Sharer]) -> Sharer:
    """The one that maintains the cluster's DAGs, once there is one."""
    waiting = {
        asyncio.create_task(sharer.ocs.maintainer.active.wait()): sharer for sharer in sharers
    }
    try:
        done, _ = await soon(asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED))
        return waiting[done.pop()]
    finally:
        for task in waiting:
            task.cancel()


def others(sharers: Sequence[Sharer], one: Sharer) -> list[Sharer]:
    """The agents without one of them."""
    return [sharer for sharer in sharers if sharer is not one]
