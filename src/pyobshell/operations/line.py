"""The line before an agent's lock: of main DAGs that want it at once, whose turn is next.

Each wants the locks of several agents. So that not all lose when they begin at once, the same order
holds at all of them: the lowest id comes first, and nobody takes a lock that it waits for.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pyobshell.tasks.ids import GenericId


def rank(main_dag_id: str) -> tuple[str, int]:
    """The place of a main DAG in the order that all agents keep; the lowest comes first."""
    main = GenericId.parse(main_dag_id)
    return str(main.agent), main.number


class Line:
    """The main DAGs that wait for one agent's lock."""

    def __init__(self) -> None:
        self._waiting: list[str] = []

    @contextmanager
    def waiting(self, main_dag_id: str) -> Iterator[None]:
        """Stand in line while this lasts."""
        self._waiting.append(main_dag_id)
        try:
            yield
        finally:
            self._waiting.remove(main_dag_id)

    def before(self, main_dag_id: str) -> str | None:
        """Who waits and comes before that one, if anybody."""
        first = min(self._waiting, key=rank, default=main_dag_id)
        return first if rank(first) < rank(main_dag_id) else None
