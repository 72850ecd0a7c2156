"""Reads what can still be read in a broken database: the essentials, and who did what."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, create_engine, insert
from sqlalchemy.exc import SQLAlchemyError

from pyobshell.cluster.state import CHANGES
from pyobshell.errors import OBShellError
from pyobshell.home import aside, kept
from pyobshell.home.kept import HOME_ID, Essentials, is_of_another
from pyobshell.home.opening import read_settings, require_known
from pyobshell.settings import Paths
from pyobshell.store import schema, sqlite
from pyobshell.store.tables import audit_record

_BATCH = 500
_MOST_TRIES = 3_000_000  # else a damaged number of the last record could keep a repair for ever
_AFTER = "SELECT * FROM audit_record WHERE id > ? ORDER BY id"
_NEWEST = "SELECT seq FROM sqlite_sequence WHERE name = 'audit_record'"


def best_essentials(paths: Paths, copy: Essentials | None) -> Essentials | None:
    """The newest that can be had: those of the copy, or what is whole in the broken database."""
    salvaged = _essentials(aside.whole_one(paths))
    if copy is None or salvaged is None:
        return copy or salvaged
    if is_of_another(salvaged.setting(HOME_ID), copy):
        return copy
    return max(copy, salvaged, key=lambda one: one.changes)


def _essentials(file: Path) -> Essentials | None:
    """The essentials in a broken database, if the damage is elsewhere in it."""
    engine = create_engine("sqlite+pysqlite://", creator=partial(sqlite.connect_to_read, file))
    try:
        with sqlite.reading(file) as looking:
            revision = sqlite.revision(looking)
            if revision is None or sqlite.damages(looking, kept.TABLES):
                return None
            require_known(file, revision)
            read_settings(file, looking, revision)
            with engine.connect() as connection:
                return kept.read_from(connection)
    except (OBShellError, OSError, SQLAlchemyError):
        return None
    finally:
        engine.dispose()


def copy_audit(broken: Path, connection: Connection, essentials: Essentials) -> bool:
    """Copy what can be read of who did what into a database that has none; whether it is all.

    Nothing is taken from the database of another agent, or of an older one for all there was.
    """
    try:
        with sqlite.reading(broken) as looking:
            # Else a file that has lost its last pages is not read at all.
            looking.execute("PRAGMA writable_schema = ON")
            looking.row_factory = sqlite3.Row
            settings = _settings(looking)
            changes = settings.get(CHANGES, str(essentials.changes))
            if is_of_another(settings.get(HOME_ID), essentials):
                return False
            readable = _Readable(looking)
            into = insert(audit_record).prefix_with("OR IGNORE")  # it may have one twice
            records = iter(readable)
            while some := list(islice(records, _BATCH)):
                connection.execute(into, some)
            is_newest = changes.isdecimal() and int(changes) >= essentials.changes
            return readable.all_of_it and is_newest
    except (OBShellError, OSError, sqlite3.Error):
        return False


def _settings(looking: sqlite3.Connection) -> dict[str, str]:
    """The settings, whatever is in them; none if they cannot be read."""
    looking.text_factory = partial(str, encoding="utf-8", errors="replace")
    try:
        found = looking.execute("SELECT name, value FROM setting").fetchall()
        return {str(name): str(value) for name, value in found}
    except (sqlite3.Error, UnicodeDecodeError):
        return {}
    finally:
        looking.text_factory = str


class _Readable:
    """The audit records that can be read, in their order; those in between are passed over."""

    def __init__(self, looking: sqlite3.Connection) -> None:
        self._looking = looking
        self.all_of_it = True

    def __iter__(self) -> Iterator[dict[str, Any]]:
        last, newest = 0, self._newest()
        columns = dict.fromkeys(audit_record.columns.keys())
        for _ in range(_MOST_TRIES):
            try:
                for row in self._looking.execute(_AFTER, (last,)):
                    last = row["id"]
                    record = {name: row[name] for name in row.keys()}  # noqa: SIM118 - it is no dict
                    if record.keys() <= columns.keys() and schema.fits(
                        audit_record.name, columns | record
                    ):
                        yield record
                    else:
                        self.all_of_it = False
                return
            except (sqlite3.Error, UnicodeDecodeError):
                self.all_of_it = False
                last += 1
            if last >= newest:
                return

    def _newest(self) -> int:
        """The number of the last record that there was."""
        try:
            return int(self._looking.execute(_NEWEST).fetchone()[0])
        except (sqlite3.Error, TypeError, ValueError):
            return 0
