"""One real database for all tests here, empty before each; agents that share it."""

from __future__ import annotations

import contextlib
import shutil

import pytest

from support.hosting import hosts, keys
from support.ocs import Line, running_seekdb
from support.scripted import SCRIPT, known_stages
from support.sharing import maintainer_of, sharing

__all__ = ["hosts", "keys"]


@pytest.fixture(scope="package")
def seekdb(tmp_path_factory):
    home = tmp_path_factory.mktemp("ocs")
    with running_seekdb(home / "seekdb") as seekdb:
        yield seekdb
    shutil.rmtree(home)


@pytest.fixture
def ocs(seekdb):
    """The database, without a task, a member or a maintainer."""
    seekdb.empty()
    return seekdb


@pytest.fixture
def line(ocs):
    return Line(ocs)


@pytest.fixture(autouse=True)
def script():
    """What scripted stages do in this test."""
    yield SCRIPT
    SCRIPT.clear()


@pytest.fixture(scope="module")
async def agents(anyio_backend, hosts, seekdb):
    """Three agents of a cluster, all of which are left as they are."""
    seekdb.empty()
    with known_stages():
        async with sharing(hosts, seekdb, 3, lease_s=10, lease_renewal_s=1) as agents:
            await maintainer_of(agents)
            yield agents


@pytest.fixture
async def start_cluster(anyio_backend, hosts, ocs):
    """Start agents of a cluster of their own."""
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(known_stages())

        async def start(count=3, **settings):
            return await stack.enter_async_context(sharing(hosts, ocs, count, **settings))

        yield start
