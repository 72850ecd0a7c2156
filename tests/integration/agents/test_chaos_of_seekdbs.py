"""A few rounds of the chaos suite on real servers; ``make chaos ENGINE=seekdb`` plays more."""

from __future__ import annotations

import asyncio

import pytest

from chaos.report import Report
from chaos.seekdbs import Seekdbs
from chaos.suite import run
from support.running import RunningCluster

SEED, ROUNDS = 685, (4,)


@pytest.mark.timeout(240)
def test_no_row_is_lost_and_nothing_is_violated_however_much_goes_wrong(
    serving: RunningCluster,
) -> None:
    seekdbs = Seekdbs(serving, zones=3)
    report = Report(SEED, seekdbs.scene)
    asyncio.run(run(seekdbs, SEED, ROUNDS, report))
    assert report.violations == []
