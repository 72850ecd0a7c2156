"""Whether a database is of the shape that its migrations gave it, and its rows are of theirs."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import Column, create_engine, inspect
from sqlalchemy.pool import StaticPool

from pyobshell.store.migrate import migrate, revisions
from pyobshell.store.sqlite import DamagedError
from pyobshell.store.tables import metadata


def require_columns(file: Path, connection: sqlite3.Connection, revision: str) -> None:
    """Raise DamagedError if a table lacks a column that it has in this revision, or is missing."""
    for table, names in _columns(revision).items():
        described = connection.execute(f'PRAGMA table_info("{table}")').fetchall()
        if not names <= {name for _, name, *_ in described}:
            raise DamagedError(file, f"it is damaged (table {table} is not as it was made)")


def require_rows(file: Path, connection: sqlite3.Connection, tables: Collection[str]) -> None:
    """Raise DamagedError if a row of these tables has a value that was never written there."""
    for table in tables:
        rows = connection.execute(f'SELECT * FROM "{table}"')  # noqa: S608 - of a constant
        names = [name for name, *_ in rows.description]
        if not all(fits(table, dict(zip(names, row, strict=True))) for row in rows):
            raise DamagedError(file, f"it is damaged (a row of table {table} is none)")


def fits(table: str, row: Mapping[str, object]) -> bool:
    """Whether a row can be what was written to a table; a column that it lacks is not judged."""
    columns = metadata.tables[table].columns
    return all(_fits(columns[name], row[name]) for name in row if name in columns)


def _fits(column: Column[Any], value: object) -> bool:
    return column.nullable is True if value is None else isinstance(value, column.type.python_type)


def _columns(revision: str) -> dict[str, set[str]]:
    """The tables of a revision and the names of their columns."""
    if revision == revisions()[-1]:
        return {name: set(table.columns.keys()) for name, table in metadata.tables.items()}
    engine = create_engine("sqlite://", poolclass=StaticPool)
    try:
        migrate(engine, revision)
        made = inspect(engine)
        return {
            name: {one["name"] for one in made.get_columns(name)} for name in made.get_table_names()
        }
    finally:
        engine.dispose()
