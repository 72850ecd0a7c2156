"""Agents that operate fake servers."""

from __future__ import annotations

import pytest

from pyobshell.security.verify import Passwords
from support.agents import ROOT_PASSWORD
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
