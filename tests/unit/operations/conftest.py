"""Agents that operate fake servers."""

from __future__ import annotations

import pytest

from pyobshell.cluster.model import Identity
from pyobshell.engines.base import ServerConfig
from pyobshell.security.verify import Passwords
from support.agents import ROOT_PASSWORD, SERVER
from support.emergencies import UP, no_majority
from support.undertakings import locked


@pytest.fixture(scope="module")
async def cluster_of_three(anyio_backend, hosts):
    """Three members of a running cluster, one in each zone, that reach each other."""
    async with hosts.serving(3, passwords=Passwords(root=ROOT_PASSWORD)) as made:
        for host in made:
            host.api.password = ROOT_PASSWORD
        yield made


@pytest.fixture(scope="module")
async def cluster_of_two(anyio_backend, hosts):
    """Two members of a running cluster that reach each other."""
    async with hosts.serving(2, passwords=Passwords(root=ROOT_PASSWORD)) as made:
        for host in made:
            host.api.password = ROOT_PASSWORD
        yield made


@pytest.fixture
async def cluster(cluster_of_three):
    """The three; when a test is over no lock is held, and then all is well again."""
    yield cluster_of_three
    assert await locked(cluster_of_three) == [False] * 3
    for host in cluster_of_three:
        host.engine.start_afresh()


@pytest.fixture
async def start_outsider(start_member, start_host, keys):
    """Start an agent that is no member of a running cluster, beside a server that runs."""

    async def start(identity):
        if identity in (Identity.SINGLE, Identity.UNIDENTIFIED):
            host = await start_host(identity=Identity.SINGLE)
            view = host.site.cluster.view
            host.site.cluster.view = view.model_copy(update={"identity": identity})
            host.engine.record = ServerConfig(
                host.engine.home, 2881, rpc_port=2882, ip=host.address.ip, zone="zone7"
            )
        else:
            host = await start_member(identity)
            await host.site.cluster.remember_server(SERVER.model_dump_json())
        host.engine.initialized = True
        host.engine.set_state(UP)
        return host

    return start


@pytest.fixture
async def alone(start_outsider):
    """An agent that knows nothing, beside a server of a cluster."""
    host = await start_outsider(Identity.UNIDENTIFIED)
    no_majority(host)
    return host
