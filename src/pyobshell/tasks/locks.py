"""Maintenance locks: rows that name their DAG, taken and released in its own transactions."""

from __future__ import annotations

from sqlalchemy import Connection

from pyobshell.tasks import sql
from pyobshell.tasks.model import Maintenance, MaintenanceType

_KINDS = (MaintenanceType.GLOBAL, MaintenanceType.TENANT)


class MaintenanceConflictError(Exception):
    """The lock is held: ``dag_id`` is the DAG that holds it."""

    def __init__(self, dag_id: int) -> None:
        self.dag_id = dag_id
        super().__init__(f"the maintenance lock is held by DAG {dag_id}")


def holder(connection: Connection, wanted: Maintenance) -> int | None:
    """The DAG whose lock stands in the way of ``wanted``; a global one stands in everybody's."""
    if wanted.type not in _KINDS:
        return None
    wanted_row = {"kind": int(wanted.type), "lock_key": wanted.key}
    return connection.execute(sql.LOCK_HOLDER, wanted_row).scalar()


def take(connection: Connection, wanted: Maintenance, dag_id: int, now: int) -> None:
    """Take a lock for a DAG, or raise MaintenanceConflictError."""
    if wanted.type not in _KINDS:
        return
    held_by = holder(connection, wanted)
    if held_by is not None:
        raise MaintenanceConflictError(held_by)
    row = {"kind": int(wanted.type), "lock_key": wanted.key, "dag_id": dag_id, "now": now}
    connection.execute(sql.TAKE_LOCK, row)


def release(connection: Connection, dag_id: int) -> None:
    """Let go of whatever a DAG holds."""
    connection.execute(sql.RELEASE_LOCKS, {"dag_id": dag_id})
