"""Rounds one after the other on one cluster."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from chaos.agent_logs import Logs
from chaos.box import Box
from chaos.cluster import Cluster
from chaos.drawing import plans
from chaos.report import Report
from chaos.rounds import play


async def run(cluster: Cluster, seed: int, rounds: Sequence[int], report: Report) -> None:
    """Play these rounds of a seed, on a cluster of which all is well, unless one breaks it."""
    box = Box(cluster)
    logs = Logs([host.place.agent.base_dir / "log_obshell/obshell.log" for host in box.hosts])
    async with box.in_use():
        for plan in islice(plans(seed, cluster.scene), max(rounds)):
            if plan.number not in rounds:
                continue
            report.begins(plan)
            outcome = await play(box, logs, report.coverage, plan)
            report.ended(outcome, box)
            if outcome.beyond_repair:
                break
