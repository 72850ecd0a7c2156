"""Clusters of stand-ins, none of which outlives its tests."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from pathlib import Path

import pytest

from support.standin_clusters import CLUSTER_ID, Cluster, eventually, start_all

_HOMES = pytest.StashKey[Path]()
_LAST_LINES = 40


@pytest.fixture(scope="session", autouse=True)
def _homes(request, tmp_path_factory):
    request.config.stash[_HOMES] = tmp_path_factory.getbasetemp()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what agents have logged during a test that fails: their homes do not last."""
    report = yield
    homes = item.config.stash.get(_HOMES, None)
    if report.failed and homes is not None:
        for log in homes.rglob("log_obshell/obshell.log"):
            if log.stat().st_mtime >= call.start:
                with log.open(errors="replace") as lines:
                    last = "".join(deque(lines, _LAST_LINES))
                report.sections.append((str(log.relative_to(homes)), last))
    return report


@pytest.fixture(scope="module")
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


@pytest.fixture(scope="module")
def make_running(make_cluster):
    """Make clusters that serve."""

    def make(*zones: str, cluster_id: int = CLUSTER_ID) -> Cluster:
        cluster = make_cluster(*zones, cluster_id=cluster_id)
        start_all(cluster.nodes)
        cluster.bootstrap()
        eventually(cluster.all_well)
        return cluster

    return make


@pytest.fixture(scope="module")
def six(make_running):
    """Six servers in three zones, which the tests of a module share."""
    return make_running("zone1", "zone2", "zone3", "zone1", "zone2", "zone3")


@pytest.fixture
def cluster(six):
    """The six, of which all is well before and after a test."""
    yield six
    six.restore()
