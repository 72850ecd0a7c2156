"""A few rounds of the chaos suite; ``make chaos`` plays as many as one likes."""

from __future__ import annotations

import asyncio

import pytest

from chaos.observers import Observers
from chaos.report import Report
from chaos.suite import run
from support.observer_clusters import SixServers

SEED, ROUNDS = 20, (5,)


@pytest.mark.timeout(240)
@pytest.mark.long
def test_nothing_is_violated_however_much_goes_wrong(cluster: SixServers) -> None:
    observers = Observers(cluster)
    report = Report(SEED, observers.scene)
    asyncio.run(run(observers, SEED, ROUNDS, report))
    assert report.violations == []
