"""Two agents that speak with each other."""

from __future__ import annotations

import pytest

from pyobshell.cluster.model import Identity
from pyobshell.security.verify import Passwords
from support.agents import a_member, a_view, free_address


@pytest.fixture(scope="module")
async def two_members(anyio_backend, hosts, keys):
    """A member without sockets, that asks, and its fellow, that is asked."""
    own, other = free_address(), free_address()
    members = [a_member(own, keys[0], "zone1"), a_member(other, keys[1], "zone2")]
    async with (
        hosts.serve(a_view(other, Identity.CLUSTER_AGENT, members), keys[1], Passwords()) as asked,
        hosts.in_process(Identity.CLUSTER_AGENT, members, address=own) as asking,
    ):
        yield asking, asked


@pytest.fixture
async def pair(two_members):
    """These two, with servers that run and have done nothing yet."""
    for host in two_members:
        host.engine.start_afresh()
    return two_members
