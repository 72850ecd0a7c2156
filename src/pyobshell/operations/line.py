"""The line before an agent's lock: of main DAGs that want it at once, whose turn is next.

Each wants the locks of several agents. So that not all lose when they begin at once, the same order
holds at all of them: the lowest id comes first, and nobody takes a lock that it waits for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import BaseModel, ConfigDict

from pyobshell.tasks.ids import GenericId

_REMEMBERED = 256


class Claimant(BaseModel):
    """A main DAG that wants the lock, in one of its attempts."""

    model_config = ConfigDict(frozen=True)

    main_dag_id: str
    attempt: int


def rank(main_dag_id: str) -> tuple[str, int]:
    """The place of a main DAG in the order that all agents keep; the lowest comes first."""
    main = GenericId.parse(main_dag_id)
    return str(main.agent), main.number


class Line:
    """The main DAGs that wait for one agent's lock."""

    def __init__(self) -> None:
        self._waiting: dict[Claimant, asyncio.Event] = {}
        self._left: dict[Claimant, None] = {}

    @contextmanager
    def waiting(self, claimant: Claimant) -> Iterator[asyncio.Event]:
        """Stand in line while this lasts; the event is set when the claimant wants it no more."""
        leaves = self._waiting.setdefault(claimant, asyncio.Event())
        if claimant in self._left:
            leaves.set()
        try:
            yield leaves
        finally:
            self._waiting.pop(claimant, None)

    def leave(self, claimant: Claimant) -> None:
        """Have a claimant wait no longer, nor if it comes to wait only after this."""
        self._left[claimant] = None
        if len(self._left) > _REMEMBERED:
            del self._left[next(iter(self._left))]
        if claimant in self._waiting:
            self._waiting[claimant].set()

    def before(self, main_dag_id: str) -> str | None:
        """Who waits and comes before that one, if anybody."""
        waiting = (one.main_dag_id for one in self._waiting)
        first = min(waiting, key=rank, default=main_dag_id)
        return first if rank(first) < rank(main_dag_id) else None
