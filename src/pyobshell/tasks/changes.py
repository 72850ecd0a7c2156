"""Who waits for a DAG is woken by what happens to it; nobody else is told, and nothing is kept."""

from __future__ import annotations

import asyncio
from weakref import WeakValueDictionary

from pyobshell.tasks.model import Dag


class Change(asyncio.Event):
    """That a DAG has changed, how it stands since if somebody has looked, and the change after."""

    head: Dag | None = None
    with_lines = False  # whether somebody waits for lines of its log, too
    following: Change


class Changes:
    """The next change of each DAG that somebody waits for."""

    def __init__(self) -> None:
        # An event lives as long as somebody waits for it.
        self._next: WeakValueDictionary[int, Change] = WeakValueDictionary()

    def of(self, dag_id: int) -> Change:
        """What to wait for."""
        return self._next.setdefault(dag_id, Change())

    def are_awaited(self, dag_id: int, *, with_lines: bool = False) -> bool:
        """Whether somebody waits for this DAG, or even for its lines."""
        change = self._next.get(dag_id)
        return change is not None and (change.with_lines or not with_lines)

    def tell(self, dag_id: int, head: Dag | None = None) -> None:
        """Wake those who wait for a DAG."""
        change = self._next.get(dag_id)
        if change is not None:
            change.head, change.following = head, Change()
            change.following.with_lines = change.with_lines
            self._next[dag_id] = change.following
            change.set()

    def tell_all(self) -> None:
        """Wake everybody."""
        for dag_id in list(self._next):
            self.tell(dag_id)
