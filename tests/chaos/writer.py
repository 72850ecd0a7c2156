"""A client that writes rows without end, and remembers those that the cluster acknowledged."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from contextlib import suppress

import pymysql

from support.standin_clusters import Node

TABLE = "test.chaos"
_MAKE = f"create table if not exists {TABLE} (n int primary key)"
_PATIENCE_S = 3.0
_PACE_S = 0.02


class Writer:
    """Writes through whichever server serves, in a thread of its own, from ``start`` to ``end``."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self._nodes = itertools.cycle(nodes)
        self._numbers = itertools.count(1)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._write, name="writer", daemon=True)
        self._lock = threading.Lock()
        self._acknowledged: list[int] = []
        self.count = 0

    def start(self) -> None:
        """Make the table, and begin."""
        next(self._nodes).sql(f"drop table if exists {TABLE}", _MAKE)
        self._thread.start()

    def end(self) -> None:
        """Write no more."""
        self._ended.set()
        self._thread.join()

    def missing(self, node: Node) -> list[int]:
        """The rows acknowledged since the last time that are not there."""
        with self._lock:
            acknowledged, self._acknowledged = self._acknowledged, []
        if not acknowledged:
            return []
        rows = node.sql(f"select n from {TABLE} where n >= {acknowledged[0]}")
        there = {n for (n,) in rows}
        return [n for n in acknowledged if n not in there]

    def total(self, node: Node) -> int:
        """How many rows there are."""
        return int(node.sql(f"select count(*) from {TABLE}")[0][0])

    def _write(self) -> None:
        while not self._ended.wait(_PACE_S):
            with suppress(pymysql.err.MySQLError, OSError):
                self._write_through(next(self._nodes))

    def _write_through(self, node: Node) -> None:
        connection = node.connect(read_timeout=_PATIENCE_S, connect_timeout=_PATIENCE_S)
        with connection, connection.cursor() as cursor:
            cursor.execute("set ob_query_timeout = 2000000")
            while not self._ended.wait(_PACE_S):
                number = next(self._numbers)
                cursor.execute(f"insert into {TABLE} values ({number})")
                with self._lock:
                    self._acknowledged.append(number)
                self.count += 1
