"""A client that writes rows without end, and remembers which of them were acknowledged."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress

import pymysql

Connect = Callable[..., pymysql.Connection]
_PATIENCE_S = 3.0
_PACE_S = 0.02
_ROWS_AT_ONCE = 50


class Writer:
    """Writes to a table, in a thread of its own, from ``start`` to ``end``.

    It goes in turn through the servers to which ``sessions`` lead; what is there is asked over
    ``reader``.
    """

    def __init__(self, table: str, sessions: Sequence[Connect], reader: Connect) -> None:
        self.table = table
        self.count = 0
        self._sessions = itertools.cycle(sessions)
        self._reader = reader
        self._numbers = itertools.count(1)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._write, name="writer", daemon=True)
        self._lock = threading.Lock()
        self._acknowledged: list[int] = []

    def start(self) -> None:
        """Begin; the table is there."""
        self._thread.start()

    def end(self) -> None:
        """Write no more."""
        self._ended.set()
        self._thread.join()

    def missing(self) -> list[int]:
        """The rows acknowledged since the last time that are not there."""
        with self._lock:
            acknowledged, self._acknowledged = self._acknowledged, []
        if not acknowledged:
            return []
        with self._reader() as connection, connection.cursor() as cursor:
            cursor.execute(f"select n from {self.table} where n >= {acknowledged[0]}")
            there = {n for (n,) in cursor.fetchall()}
        return [n for n in acknowledged if n not in there]

    def _write(self) -> None:
        while not self._ended.wait(_PACE_S):
            with suppress(pymysql.err.MySQLError, OSError):
                self._write_through(next(self._sessions))

    def _write_through(self, connect: Connect) -> None:
        connection = connect(read_timeout=_PATIENCE_S, connect_timeout=_PATIENCE_S)
        with connection, connection.cursor() as cursor:
            cursor.execute("set ob_query_timeout = 2000000")
            for number in itertools.islice(self._numbers, _ROWS_AT_ONCE):
                if self._ended.wait(_PACE_S):
                    return
                cursor.execute(f"insert into {self.table} values ({number})")
                with self._lock:
                    self._acknowledged.append(number)
                self.count += 1
