"""``python -m chaos``: brings a cluster up and plays rounds on it; what it prints repeats them."""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chaos.cluster import Cluster
from chaos.observers import Observers
from chaos.report import Report
from chaos.seekdbs import Seekdbs
from chaos.suite import run
from support.observer_clusters import bring_up, take_down
from support.running import running_cluster


def main() -> int:
    """Returns 0 if nothing was violated."""
    given = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    print(f"seed {given.seed}: bringing {given.engine} up", flush=True)
    with _ENGINES[given.engine]() as cluster:
        report = Report(given.seed, cluster.scene, keep=Path(given.keep) if given.keep else None)
        try:
            rounds = range(given.first, given.first + given.rounds)
            asyncio.run(run(cluster, given.seed, rounds, report))
        except (KeyboardInterrupt, SystemExit):
            print("interrupted")
    print(report.summary(), flush=True)
    return 1 if report.violations else 0


@contextmanager
def _observers() -> Iterator[Cluster]:
    """Six stand-ins, two in each of three zones."""
    with tempfile.TemporaryDirectory(prefix="chaos-") as directory:
        six = bring_up(Path(directory) / "box", 6, 3)
        try:
            yield Observers(six)
        finally:
            take_down(six)


@contextmanager
def _seekdbs() -> Iterator[Cluster]:
    """Four servers, in three zones."""
    with running_cluster(4, zones=3) as made:
        yield Seekdbs(made, zones=3)


_ENGINES = {"oceanbase": _observers, "seekdb": _seekdbs}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("chaos", description=__doc__)
    parser.add_argument(
        "--engine", choices=_ENGINES, default="oceanbase", help="what servers (default: stand-ins)"
    )
    parser.add_argument("--rounds", type=int, default=50, help="how many (default %(default)s)")
    parser.add_argument(
        "--seed", type=int, default=random.randrange(1_000_000), help="default: drawn, and printed"
    )
    parser.add_argument("--first", type=int, default=1, metavar="N", help="begin with round N")
    parser.add_argument("--keep", metavar="DIR", help="copy agents' logs there at a violation")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
