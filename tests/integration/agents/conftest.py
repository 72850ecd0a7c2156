"""A real cluster of three agents, which all tests here share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.running import LOOPBACK, RunningCluster, running_cluster

# The SDK asks for a task that runs every three seconds: have it told of the end when that comes.
_HELD = "dag_hold_ms=10000"


@pytest.fixture(scope="package")
def cluster() -> Iterator[RunningCluster]:
    """Three agents in three zones, each with its server."""
    with running_cluster(3, LOOPBACK, _HELD) as made:
        yield made


@pytest.fixture
def serving(cluster: RunningCluster) -> RunningCluster:
    """The cluster, all of its servers up."""
    if None in cluster.server_pids():
        cluster.sdk.start_sync("GLOBAL", [])
    return cluster
