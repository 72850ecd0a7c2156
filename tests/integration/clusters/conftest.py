"""A cluster of six stand-in observers in three zones, with their agents, for each worker."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.observer_clusters import SixServers, bring_up, take_down


@pytest.fixture(scope="session")
def six(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SixServers]:
    """Six servers, two in each of three zones, which all tests of a worker share."""
    made = bring_up(tmp_path_factory.mktemp("six") / "box", 6, 3)
    yield made
    take_down(made)


@pytest.fixture
def cluster(six: SixServers) -> Iterator[SixServers]:
    """The six, of which all is well before and after a test."""
    yield six
    six.restore()
