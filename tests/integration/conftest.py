"""Clusters of stand-ins, none of which outlives its tests."""

from __future__ import annotations

import pytest

from support.standin_clusters import CLUSTER_ID, Cluster, eventually, start_all


@pytest.fixture(scope="session")
def make_cluster(tmp_path_factory):
    """Make clusters of servers in these zones, neither started nor bootstrapped."""
    made: list[Cluster] = []

    def make(*zones: str, cluster_id: int = CLUSTER_ID) -> Cluster:
        cluster = Cluster(tmp_path_factory.mktemp("c"), cluster_id=cluster_id)
        made.append(cluster)
        for zone in zones:
            cluster.add(zone)
        return cluster

    yield make
    for cluster in made:
        cluster.destroy()


@pytest.fixture(scope="session")
def make_running(make_cluster):
    """Make clusters that serve."""

    def make(*zones: str, cluster_id: int = CLUSTER_ID) -> Cluster:
        cluster = make_cluster(*zones, cluster_id=cluster_id)
        start_all(cluster.nodes)
        cluster.bootstrap()
        eventually(cluster.all_well)
        return cluster

    return make


@pytest.fixture(scope="session")
def six(make_running):
    """Six servers in three zones, which the tests of a worker share."""
    return make_running("zone1", "zone2", "zone3", "zone1", "zone2", "zone3")


@pytest.fixture
def cluster(six):
    """The six, of which all is well before and after a test."""
    yield six
    six.restore()
