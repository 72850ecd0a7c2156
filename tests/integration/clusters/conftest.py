"""A cluster of six stand-in observers in three zones, with their agents, for all tests here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.observer_clusters import SixServers, bring_up, take_down
from support.running import LOOPBACK
from support.scaling import Spare, ended, servers
from support.standin_clusters import Node, eventually, free_ports


@pytest.fixture(scope="package")
def six(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SixServers]:
    """Six servers, two in each of three zones."""
    made = bring_up(tmp_path_factory.mktemp("six") / "box", 6, 3)
    yield made
    take_down(made)


@pytest.fixture
def cluster(six: SixServers) -> Iterator[SixServers]:
    """The six, of which all is well before and after a test."""
    yield six
    six.restore()


@pytest.fixture(scope="package")
def newcomer(six: SixServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Spare]:
    """An agent, started once for all tests."""
    home = tmp_path_factory.mktemp("spare")
    port, sql_port, rpc_port = free_ports(3)
    node = Node(home, "zone1", sql_port, rpc_port, password=six.password)
    spare = Spare(LOOPBACK, port, sql_port, home, node=node, password=six.password)
    spare.start()
    yield spare
    spare.end()


@pytest.fixture
def spare(six: SixServers, newcomer: Spare) -> Iterator[Spare]:
    """That agent, which belongs to nothing before and after a test, as the six alone belong."""
    yield newcomer
    for member in six.members:
        member.node.faults.clear()
    six.knobs.clear()
    assert six.sdk.get_unfinished_dags() == []
    if newcomer.identity() != "SINGLE":
        assert ended(six, six.sdk.scale_in(newcomer.ip, newcomer.port)).state == "SUCCEED"
        newcomer.remove_files()
    assert newcomer.is_clean()
    assert servers(six) == {member.server: member.zone for member in six.members}
    eventually(six.all_well)
