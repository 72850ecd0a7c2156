"""What is told while rounds are played, and in the end."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from pathlib import Path

from chaos.box import Box
from chaos.coverage import Coverage
from chaos.plans import Kind, Plan, Scene
from chaos.rounds import Outcome


class Report:
    """Prints as it goes; ``keep`` is where logs are copied to when something is violated."""

    def __init__(self, seed: int, scene: Scene, keep: Path | None = None) -> None:
        self.coverage = Coverage(scene)
        self._seed = seed
        self._keep = keep
        self._begun = time.monotonic()
        self._rounds = 0
        self._faults: Counter[Kind] = Counter()
        self._outcomes: Counter[str] = Counter()
        self._resolutions: Counter[str] = Counter()
        self._rows = 0
        self.violations: list[str] = []

    def begins(self, plan: Plan) -> None:
        """A round begins."""
        print(f"round {plan.number}: {plan}", flush=True)

    def ended(self, outcome: Outcome, box: Box) -> None:
        """A round has ended."""
        self._rounds += 1
        self._faults.update(outcome.faults)
        self._resolutions.update(outcome.resolutions)
        self._rows = box.rows
        self._outcomes.update(outcome.ways)
        print(
            f"   {', '.join(outcome.ways)}; {outcome.faults.total()} faults; "
            f"{outcome.seconds:.1f} s; {self._rows} rows",
            flush=True,
        )
        for failure in outcome.failures:
            print(f"   {failure[:400]}", flush=True)
        for order in outcome.afterwards[:-1]:
            print(f"   afterwards {order}: {order.why[:400]}", flush=True)
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
            f"{self._faults.total()} faults, {self._rows} rows written, "
            f"{len(self.violations)} violations"
        ]
        lines += [f"  {count:5} {kind}" for kind, count in self._faults.most_common()]
        lines += [f"  {count:5} operations {way}" for way, count in self._outcomes.most_common()]
        lines += [f"  {count:5} failures: {way}" for way, count in self._resolutions.most_common()]
        lines += self.coverage.table()
        lines += [f"  VIOLATION {one}" for one in self.violations]
        return "\n".join(lines)

    def _copy_logs(self, number: int, box: Box) -> None:
        assert self._keep is not None
        directory = self._keep / f"seed{self._seed}-round{number}"
        directory.mkdir(parents=True, exist_ok=True)
        for file in box.cluster.files():
            shutil.copy(file, directory / f"{file.parent.parent.name}-{file.name}")
