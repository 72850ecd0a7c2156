"""Forgets DAGs that ended long ago: which ones, and how they are taken out of the store.

What is unfinished stays, and so does the newest DAG of each kind of lock. What goes takes its
nodes, sub tasks and logs along, in transactions that are small enough to be in nobody's way.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, TextClause, bindparam, text

from pyobshell.tasks.model import MaintenanceType, State

LARGEST_BATCH = 500
"""Lines of logs, or else DAGs, that one transaction takes away."""

_HEADS = text("SELECT id, name, state, maintenance_type, end_time FROM dag ORDER BY id DESC")
# It may have been operated since it was looked at.
_UNCHANGED = text(
    "SELECT 1 FROM dag WHERE id = :id AND state = :state AND end_time = :end_time"
    " AND (state = 'SUCCEED' OR (state = 'FAILED' AND maintenance_type = 1))"
)
_LINES = text(
    "SELECT l.id FROM sub_task_log l JOIN sub_task s ON s.id = l.sub_task_id"
    " WHERE s.dag_id = :id LIMIT :most"
)


def _with_ids(statement: str) -> TextClause:
    return text(statement).bindparams(bindparam("ids", expanding=True))


_DELETE_LINES = _with_ids("DELETE FROM sub_task_log WHERE id IN :ids")
# Explicitly and not by cascades: nothing then depends on how a database was set up.
_DELETE_DAG = (
    text("DELETE FROM sub_task WHERE dag_id = :id"),
    text("DELETE FROM node WHERE dag_id = :id"),
    text("DELETE FROM dag WHERE id = :id"),
)


@dataclass(frozen=True, slots=True)
class Head:
    """What decides whether a DAG may go."""

    id: int
    name: str
    state: State
    locking: MaintenanceType
    end_time: int

    @property
    def finished(self) -> bool:
        """As of a DAG: succeeded, or failed without holding a lock."""
        return self.state is State.SUCCEED or (
            self.state is State.FAILED and self.locking is MaintenanceType.NONE
        )


@dataclass(frozen=True, slots=True)
class Keeping:
    """What is kept: DAGs that ended after ``since``, of those that SUCCEEDed the newest ``most``.

    What ended after ``settled`` stays whatever its number, for somebody may be following it still.
    DAGs with one of the ``names`` are never forgotten. Moments are nanoseconds since the epoch.
    """

    since: int
    settled: int
    most: int
    names: Collection[str] = ()


def heads(connection: Connection) -> list[Head]:
    """Every DAG, the newest first."""
    return [
        Head(
            row.id, row.name, State(row.state), MaintenanceType(row.maintenance_type), row.end_time
        )
        for row in connection.execute(_HEADS)
    ]


def superfluous(newest_first: Iterable[Head], keeping: Keeping) -> list[Head]:
    """The DAGs that may go, the oldest first.

    Finished ones of any age count towards the number that is kept.
    """
    gone: list[Head] = []
    count = 0
    locking: set[MaintenanceType] = set()
    for head in newest_first:
        newest_of_its_kind = head.locking not in locking
        locking.add(head.locking)
        if not head.finished:
            continue
        count += 1
        old = head.end_time < keeping.since
        too_many = (
            count > keeping.most and head.state is State.SUCCEED and head.end_time < keeping.settled
        )
        shown = newest_of_its_kind and head.locking is not MaintenanceType.NONE
        if (old or too_many) and not shown and head.name not in keeping.names:
            gone.append(head)
    return gone[::-1]


def forget(connection: Connection, superfluous: Sequence[Head]) -> int:
    """Take away as many DAGs, from the first on, as one transaction may; returns how many.

    One with very many lines is taken away piece by piece, and counts with the last. One that
    was operated meanwhile counts, and stays.
    """
    left = LARGEST_BATCH
    for number, head in enumerate(superfluous):
        seen = {"id": head.id, "state": head.state, "end_time": head.end_time}
        if connection.execute(_UNCHANGED, seen).first() is not None:
            lines = connection.execute(_LINES, {"id": head.id, "most": left}).scalars().all()
            connection.execute(_DELETE_LINES, {"ids": lines})
            left -= len(lines)
            if left == 0:  # there may be more of them
                return number
            for statement in _DELETE_DAG:
                connection.execute(statement, {"id": head.id})
        left -= 1
        if left == 0:
            return number + 1
    return len(superfluous)
