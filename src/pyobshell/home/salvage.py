"""Reads what can still be read in a broken database: the essentials, and who did what."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import Column, Connection, create_engine, insert
from sqlalchemy.exc import SQLAlchemyError

from pyobshell.errors import OBShellError
from pyobshell.home import kept
from pyobshell.home.kept import Essentials
from pyobshell.settings import Paths
from pyobshell.store import sqlite
from pyobshell.store.tables import audit_record

_BATCH = 500
_FROM_THE_OLDEST = "SELECT * FROM audit_record WHERE id > ? ORDER BY id"
_FROM_THE_NEWEST = "SELECT * FROM audit_record WHERE id > ? ORDER BY id DESC"


def best_essentials(paths: Paths, copy: Essentials | None) -> Essentials | None:
    """The newest that can be had: those of the copy, or what is whole in the broken database."""
    found = [one for one in (copy, _essentials(paths.database)) if one is not None]
    return max(found, key=lambda one: one.changes, default=None)


def _essentials(file: Path) -> Essentials | None:
    """The essentials in a broken database, if the damage is elsewhere in it."""
    engine = create_engine("sqlite+pysqlite://", creator=partial(sqlite.connect_to_read, file))
    try:
        with sqlite.reading(file) as looking:
            if sqlite.damages(looking, kept.TABLES):
                return None
        with engine.connect() as connection:
            return kept.read_from(connection)
    except (OBShellError, OSError, SQLAlchemyError):
        return None
    finally:
        engine.dispose()


def copy_audit(broken: Path, connection: Connection) -> bool:
    """Copy what can be read of who did what into a database that has none; whether it is all.

    It is read from the oldest record on, and what lies behind a damage from the newest back to it.
    """
    try:
        with sqlite.reading(broken) as looking:
            looking.row_factory = sqlite3.Row
            oldest = _Readable(looking.execute(_FROM_THE_OLDEST, (0,)))
            _insert(connection, oldest)
            if not oldest.all_of_it:
                newest = looking.execute(_FROM_THE_NEWEST, (oldest.last,))
                _insert(connection, _Readable(newest))
            return oldest.all_of_it
    except (OBShellError, OSError, sqlite3.Error):
        return False


class _Readable:
    """Audit records up to the first that cannot be read; ``last`` is the number of the last one."""

    def __init__(self, rows: Iterator[sqlite3.Row]) -> None:
        self._rows = rows
        self.last = 0
        self.all_of_it = False

    def __iter__(self) -> Iterator[dict[str, Any]]:
        try:
            for row in self._rows:
                record = {name: row[name] for name in row.keys()}  # noqa: SIM118 - it is no dict
                if not all(_fits(one, record.get(one.name)) for one in audit_record.columns):
                    return
                self.last = record["id"]
                yield record
        except sqlite3.Error:
            return
        self.all_of_it = True


def _fits(column: Column[Any], value: object) -> bool:
    """Whether a value can be what was written to a column."""
    return column.nullable is True if value is None else isinstance(value, column.type.python_type)


def _insert(connection: Connection, records: _Readable) -> None:
    into = insert(audit_record).prefix_with("OR IGNORE")  # of a damaged table one may come twice
    remaining = iter(records)
    while some := list(islice(remaining, _BATCH)):
        connection.execute(into, some)
