"""What is told while rounds are played, and in the end."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from pathlib import Path

from chaos.box import Box
from chaos.plans import Kind, Plan
from chaos.rounds import Outcome


class Report:
    """Prints as it goes; ``keep`` is where logs are copied to when something is violated."""

    def __init__(self, seed: int, keep: Path | None = None) -> None:
        self._seed = seed
        self._keep = keep
        self._begun = time.monotonic()
        self._rounds = 0
        self._faults: Counter[Kind] = Counter()
        self._outcomes: Counter[str] = Counter()
        self._rows = 0
        self.violations: list[str] = []

    def begins(self, plan: Plan) -> None:
        """A round begins."""
        print(f"round {plan.number}: {plan}", flush=True)

    def ended(self, outcome: Outcome, box: Box) -> None:
        """A round has ended."""
        self._rounds += 1
        self._faults.update(outcome.faults)
        self._rows = box.writer.count
        ways = [order.outcome for order in outcome.orders[:-1]]
        self._outcomes.update(ways)
        print(
            f"   {', '.join(ways)}; {sum(outcome.faults.values())} faults; "
            f"{outcome.seconds:.1f} s; {self._rows} rows",
            flush=True,
        )
        for order in outcome.orders[:-1]:
            if not order.succeeded:
                print(f"   {order}: {order.why}", flush=True)
        for one in outcome.violations:
            self.violations.append(f"round {outcome.plan.number}: {one}")
            print(f"   VIOLATION: {one}", flush=True)
        if outcome.violations and self._keep is not None:
            self._copy_logs(outcome.plan.number, box)

    def summary(self) -> str:
        """What to say in the end."""
        seconds = time.monotonic() - self._begun
        lines = [
            f"seed {self._seed}: {self._rounds} rounds in {seconds:.0f} s, "
            f"{sum(self._faults.values())} faults, {self._rows} rows written, "
            f"{len(self.violations)} violations"
        ]
        lines += [f"  {count:5} {kind}" for kind, count in self._faults.most_common()]
        lines += [f"  {count:5} operations {way}" for way, count in self._outcomes.most_common()]
        lines += [f"  VIOLATION {one}" for one in self.violations]
        return "\n".join(lines)

    def _copy_logs(self, number: int, box: Box) -> None:
        assert self._keep is not None
        directory = self._keep / f"seed{self._seed}-round{number}"
        directory.mkdir(parents=True, exist_ok=True)
        for file in (*box.log_files(), box.journal.file):
            shutil.copy(file, directory / f"{file.parent.parent.name}-{file.name}")
