"""``make bench``: prints the figures as tables. Compare figures of one run, not of two machines."""

from __future__ import annotations

import asyncio
import sys

import uvloop
from rich.console import Console
from rich.table import Table

from bench import engine, flood, stop
from pyobshell.cli.serve import settle_in

ROUNDS = {1: 5, 3: 5, 10: 3}


def main() -> None:
    """Measure and print."""
    sizes = [int(size) for size in sys.argv[1:]] or list(ROUNDS)
    console = Console()
    settle_in()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # as an agent runs
        serial_ms, per_second = runner.run(engine.measure())
    figures = [stop.measure(size, ROUNDS.get(size, 3)) for size in sizes]
    floods = flood.measure()

    table = Table(title="StopCluster GLOBAL force, real seekdb servers, medians in ms")
    names = ("agents", "POST answered", "last server dead", "SUCCEED", "after last death")
    for name in (*names, "dying alone", "orchestration"):
        table.add_column(name, justify="right")
    for one in figures:
        row = (one.post, one.first_to_last_death, one.total, one.after_last_death)
        rest = (one.dying_alone, one.orchestration)
        table.add_row(str(one.agents), *(f"{value:.1f}" for value in (*row, *rest)))
    console.print(table)

    ratios = Table(title="Ratios")
    for name in ("agents", "SUCCEED / dying alone", "SUCCEED / that of one agent"):
        ratios.add_column(name, justify="right")
    for one in figures:
        of_one = one.total / figures[0].total
        ratios.add_row(str(one.agents), f"{one.total / one.dying_alone:.1f}", f"{of_one:.1f}")
    console.print(ratios)

    table = Table(title=f"A flood of {flood.REQUESTS} headers that nobody can open, in ms")
    names = ("headers", "connections", "a second", "status, longest", "95 % of them")
    for name in (*names, "stop", "grown MiB"):
        table.add_column(name, justify="right")
    for one in floods:
        row = (one.per_second, one.status, one.usual, one.stop, one.grown_mib)
        table.add_row(one.kind, str(one.connections), *(f"{value:.0f}" for value in row))
    console.print(table)

    console.print(f"A DAG of {engine.STAGES} empty stages: {serial_ms:.1f} ms, durable")
    console.print(f"Sub tasks of one agent: {per_second:.0f} a second, durable")


if __name__ == "__main__":
    main()
