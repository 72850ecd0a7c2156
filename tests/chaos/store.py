"""An agent's database as it lies on disk: how far its tasks are, and a lock that is in its way."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from pyobshell.settings import Paths

_PATIENCE_S = 10.0


class Store:
    """Read without a lock, also while the agent is dead; a DAG is known by its number here."""

    def __init__(self, base_dir: Path) -> None:
        self._file = Paths(base_dir).database
        self._connection: sqlite3.Connection | None = None

    def newest(self) -> int:
        """The number of the DAG that was recorded last; 0: none was."""
        rows = self._read("SELECT MAX(id) FROM dag")
        return int(rows[0][0] or 0) if rows else 0

    def recorded_since(self, number: int, name: str) -> list[tuple[int, int]]:
        """The DAGs of a name that were recorded after one, and the number of stages of each.

        The first of them is the first.
        """
        query = "SELECT id, max_stage FROM dag WHERE id > ? AND name = ? ORDER BY id"
        return self._read(query, number, name)

    def standing(self, number: int) -> tuple[int, str] | None:
        """The stage that a DAG is in, and its state; None: neither can be told now."""
        rows = self._read("SELECT stage, state FROM dag WHERE id = ?", number)
        return rows[0] if rows else None

    @contextlib.asynccontextmanager
    async def locked(self) -> AsyncIterator[None]:
        """Nobody can write to it meanwhile."""
        connection = sqlite3.connect(
            self._file, timeout=_PATIENCE_S, isolation_level=None, check_same_thread=False
        )
        try:
            await asyncio.to_thread(connection.execute, "BEGIN EXCLUSIVE")
            yield
        finally:
            connection.close()

    def close(self) -> None:
        """It is read no more."""
        if self._connection is not None:
            self._connection.close()

    def _read(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        try:
            if self._connection is None:
                # Not to write, so that it takes nothing away from who comes after the agent's end.
                self._connection = sqlite3.connect(
                    f"file:{self._file}?mode=ro", uri=True, isolation_level=None
                )
            return self._connection.execute(statement, values).fetchall()
        except sqlite3.OperationalError:  # it is being recovered at this moment
            return []
