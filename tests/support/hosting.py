"""Fixtures that start agents in front of fake servers, and end them with the test."""

from __future__ import annotations

import contextlib

import pytest

from pyobshell.cluster.model import Identity
from pyobshell.security import proof
from pyobshell.security.verify import Passwords
from support.agents import ROOT_PASSWORD, Hosts, Keys, a_member, free_address

ZONES = ("zone1", "zone2", "zone2")


@pytest.fixture(scope="session")
def keys():
    return Keys()


@pytest.fixture(scope="session")
def hosts(empty_database_file, keys, tmp_path_factory) -> Hosts:
    directory = tmp_path_factory.mktemp("h")  # short: sockets lie in it
    return Hosts(directory, empty_database_file, keys)


@pytest.fixture(autouse=True)
def cheap_proofs(monkeypatch):
    """Let proofs of passwords cost nothing; what they are worth is not tested."""
    monkeypatch.setattr(proof, "_COST", 16)


def starting(hosts, stack):
    """How agents without sockets are started, to end with ``stack``."""

    async def start(identity=Identity.SINGLE, members=(), **more):
        host = await stack.enter_async_context(hosts.in_process(identity, members, **more))
        host.api.password = host.site.cluster.passwords.root or ""
        return host

    return start


def starting_members(start_host, keys):
    """How members of a running cluster of three are started; the others cannot be reached."""

    async def start(identity=Identity.CLUSTER_AGENT, zones=ZONES, address=None, **more):
        own = address or free_address()
        addresses = [own, *(free_address() for _ in zones[1:])]
        members = [
            a_member(one, keys[min(n, 1)], zone, identity if n == 0 else Identity.CLUSTER_AGENT)
            for n, (one, zone) in enumerate(zip(addresses, zones, strict=True))
        ]
        more.setdefault("passwords", Passwords(root=ROOT_PASSWORD))
        return await start_host(identity, members, address=own, **more)

    return start


@pytest.fixture
async def start_host(anyio_backend, hosts):
    async with contextlib.AsyncExitStack() as stack:
        yield starting(hosts, stack)


@pytest.fixture
async def start_member(start_host, keys):
    return starting_members(start_host, keys)


@pytest.fixture
async def member(start_member):
    """A member of a running cluster of three; the two others cannot be reached."""
    return await start_member()


@pytest.fixture(scope="module")
async def start_unchanged(anyio_backend, hosts, keys):
    """Start members for all tests of a module, which change nothing in them."""
    started = []
    async with contextlib.AsyncExitStack() as stack:
        start_member = starting_members(starting(hosts, stack), keys)

        async def start(identity=Identity.CLUSTER_AGENT, zones=ZONES):
            host = await start_member(identity, zones)
            started.append(host)
            return host

        yield start
        for host in started:
            assert await host.site.tasks.dags() == []


@pytest.fixture(scope="module")
async def unchanged_member(start_unchanged):
    """A member as ``member``, for tests that change nothing in it."""
    return await start_unchanged()


@pytest.fixture(scope="module")
async def unchanged_master(start_unchanged):
    """A master without followers, for tests that change nothing in it."""
    return await start_unchanged(Identity.MASTER, ["zone1"])


@pytest.fixture(scope="module")
async def unchanged_single(start_unchanged):
    """An agent of no cluster, for tests that change nothing in it."""
    return await start_unchanged(Identity.SINGLE, ["zone1"])
