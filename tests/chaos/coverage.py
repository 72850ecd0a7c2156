"""Which stages of which operations agents were killed in, or are to be killed in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from chaos.plans import Mode, Operation, Scene, Whom

Cell = tuple[Mode, str, Whom]


def stages_of_modes(scene: Scene) -> Iterator[tuple[Mode, str]]:
    """Every stage that a mode can have, in the order in which they come."""
    for mode in Mode:
        if mode is Mode.ZONE_ROUTE and not scene.clustered:
            continue
        longest = Operation(mode, "ZONE", (0,), (), 0, flushed=True)
        for stage in dict.fromkeys(longest.stages(scene)):
            yield mode, stage


@dataclass
class Coverage:
    """How often each stage of each mode, for each group of agents."""

    scene: Scene
    count: Counter[Cell] = field(default_factory=Counter)

    def add(self, operation: Operation, stage: int, victims: tuple[int, ...]) -> None:
        """Once more, in a stage of an operation (from 1)."""
        self.count[self._cell(operation, stage, operation.whom(victims, self.scene))] += 1

    def of(self, operation: Operation, stage: int, whom: Whom) -> int:
        """How often so far."""
        return self.count[self._cell(operation, stage, whom)]

    def share_of(self, operation: Operation) -> float:
        """How often on the average over all stages of the operation."""
        stages = range(1, len(operation.stages(self.scene)) + 1)
        counts = [self.of(operation, stage, whom) for stage in stages for whom in Whom]
        return sum(counts) / len(counts)

    def table(self) -> list[str]:
        """Lines: each mode with its stages, and the three counts of each."""
        cells = list(stages_of_modes(self.scene))
        hit = sum(1 for cell in cells for whom in Whom if self.count[(*cell, whom)])
        lines = [
            f"agents killed inside stages: {hit} of {len(cells) * len(Whom)} hit; "
            f"how often {' / '.join(Whom)}"
        ]
        for mode in dict.fromkeys(mode for mode, _ in cells):
            stages = [stage for one, stage in cells if one is mode]
            told = [f"{stage} {self._counts(mode, stage)}" for stage in stages]
            lines.append(f"  {mode:17}{'  '.join(told)}")
        return lines

    def _counts(self, mode: Mode, stage: str) -> str:
        return "/".join(str(self.count[mode, stage, whom]) for whom in Whom)

    def _cell(self, operation: Operation, stage: int, whom: Whom) -> Cell:
        return operation.mode, operation.stages(self.scene)[stage - 1], whom
