"""``python -m chaos``: brings a cluster up and plays rounds on it; what it prints repeats them."""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import sys
import tempfile
from pathlib import Path

from chaos.report import Report
from chaos.suite import run
from support.observer_clusters import bring_up, take_down


def main() -> int:
    """Returns 0 if nothing was violated."""
    given = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    print(f"seed {given.seed}: bringing six servers in three zones up", flush=True)
    with tempfile.TemporaryDirectory(prefix="chaos-") as directory:
        cluster = bring_up(Path(directory) / "box", 6, 3)
        report = Report(given.seed, keep=Path(given.keep) if given.keep else None)
        try:
            asyncio.run(run(cluster, given.seed, given.first, given.rounds, report))
        except KeyboardInterrupt:
            print("interrupted")
        finally:
            take_down(cluster)
    print(report.summary(), flush=True)
    return 1 if report.violations else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("chaos", description=__doc__)
    parser.add_argument("--rounds", type=int, default=50, help="how many (default %(default)s)")
    parser.add_argument(
        "--seed", type=int, default=random.randrange(1_000_000), help="default: drawn, and printed"
    )
    parser.add_argument("--first", type=int, default=1, metavar="N", help="begin with round N")
    parser.add_argument("--keep", metavar="DIR", help="copy agents' logs there at a violation")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
