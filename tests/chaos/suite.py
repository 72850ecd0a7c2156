"""Rounds one after the other on one cluster."""

from __future__ import annotations

from chaos.box import Box
from chaos.invariants import Logs
from chaos.plans import draw
from chaos.report import Report
from chaos.rounds import play
from support.observer_clusters import SixServers


async def run(cluster: SixServers, seed: int, first: int, rounds: int, report: Report) -> None:
    """Play so many rounds of a seed, on a cluster of which all is well, unless one breaks it."""
    box = Box(cluster)
    logs = Logs(box.log_files())
    async with box.in_use():
        for number in range(first, first + rounds):
            plan = draw(seed, number, box.zones)
            report.begins(plan)
            outcome = await play(box, logs, plan)
            report.ended(outcome, box)
            if outcome.beyond_repair:
                break
