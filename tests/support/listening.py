"""Agents that listen, one by one, and can be looked into meanwhile."""

from __future__ import annotations

import contextlib

import pytest

from pyobshell.agent import Agent
from pyobshell.cluster.model import Identity
from pyobshell.security.verify import Passwords
from support.agents import a_view, free_address


class Seen(Agent):
    """An agent that can be looked into while it listens."""

    async def _assemble(self, database):
        self.site = await super()._assemble(database)
        return self.site


@contextlib.asynccontextmanager
async def listening(hosts, key, identity, members, passwords, address):
    """An agent as a host that has its ``site``."""
    view = a_view(address, identity, members)
    async with hosts.serve(view, hosts.keys[key], passwords, make_agent=Seen) as host:
        host._site = host.agent.site
        host.api.password = passwords.root or ""
        yield host


@pytest.fixture
async def listen(anyio_backend, hosts):
    """Start agents that listen, each with one of the keys; they end with the test."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(
            key,
            identity=Identity.SINGLE,
            members=(),
            passwords=Passwords(),  # noqa: B008 (frozen)
            address=None,
        ):
            own = address or free_address()
            made = listening(hosts, key, identity, members, passwords, own)
            return await stack.enter_async_context(made)

        yield start
