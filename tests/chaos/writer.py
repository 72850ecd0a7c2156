"""A tenant with replicas everywhere, and a client that writes to it without end.

The client remembers which of its rows the cluster has acknowledged.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from contextlib import suppress

import pymysql

from support.standin_clusters import Node

TABLE = "test.chaos"
TENANT = "chaos"
_MAKE = (
    f"CREATE RESOURCE UNIT {TENANT}_unit MAX_CPU 1, MIN_CPU 1, MEMORY_SIZE '2G'",
    f"CREATE RESOURCE POOL {TENANT}_pool UNIT='{TENANT}_unit', UNIT_NUM=2",
    f"CREATE TENANT {TENANT} resource_pool_list=('{TENANT}_pool')",
    f"create table {TABLE} (n int primary key)",
)
_REMOVE = (
    f"DROP TENANT IF EXISTS {TENANT} FORCE",
    f"DROP RESOURCE POOL IF EXISTS {TENANT}_pool",
    f"DROP RESOURCE UNIT IF EXISTS {TENANT}_unit",
    f"drop table if exists {TABLE}",
)
_PATIENCE_S = 3.0
_PACE_S = 0.02
_ROWS_AT_ONCE = 50


class Writer:
    """Writes through whichever server serves, in a thread of its own, from ``start`` to ``end``."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self._first = nodes[0]
        self._nodes = itertools.cycle(nodes)
        self._numbers = itertools.count(1)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._write, name="writer", daemon=True)
        self._lock = threading.Lock()
        self._acknowledged: list[int] = []
        self.count = 0

    def start(self) -> None:
        """Make tenant and table, and begin."""
        self._first.sql(*_REMOVE, *_MAKE)
        self._thread.start()

    def end(self) -> None:
        """Write no more, and leave nothing behind."""
        self._ended.set()
        self._thread.join()
        with suppress(pymysql.err.MySQLError):  # the cluster may be beyond repair
            self._first.sql(*_REMOVE)

    def missing(self) -> list[int]:
        """The rows acknowledged since the last time that are not there."""
        with self._lock:
            acknowledged, self._acknowledged = self._acknowledged, []
        if not acknowledged:
            return []
        rows = self._first.sql(f"select n from {TABLE} where n >= {acknowledged[0]}")
        there = {n for (n,) in rows}
        return [n for n in acknowledged if n not in there]

    def _write(self) -> None:
        while not self._ended.wait(_PACE_S):
            with suppress(pymysql.err.MySQLError, OSError):
                self._write_through(next(self._nodes))

    def _write_through(self, node: Node) -> None:
        patience = {"read_timeout": _PATIENCE_S, "connect_timeout": _PATIENCE_S}
        connection = node.connect(user=f"root@{TENANT}", **patience)
        with connection, connection.cursor() as cursor:
            cursor.execute("set ob_query_timeout = 2000000")
            for number in itertools.islice(self._numbers, _ROWS_AT_ONCE):
                if self._ended.wait(_PACE_S):
                    return
                cursor.execute(f"insert into {TABLE} values ({number})")
                with self._lock:
                    self._acknowledged.append(number)
                self.count += 1
