"""A real database for the state of a cluster as a whole, and ways to it that can be cut."""

from __future__ import annotations

import fcntl
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pymysql

from pyobshell.engines.seekdb_command import find_binary
from pyobshell.store.migrate import migrate_ocs

_SIZES = ("--parameter", "memory_budget=1G", "--parameter", "log_disk_size=2G")
_READ_S = 10.0
_BOOT_S = 60
_TABLES = ("dag", "maintenance", "member", "setting", "server_setting")
_UNTAKEN = (
    "UPDATE maintainer SET agent_ip = '', agent_port = 0, epoch = 0, members_version = 0,"
    " expires = UTC_TIMESTAMP(6)"
)


class Seekdb:
    """A seekdb that is reached by its socket alone and ends with whoever holds its lock."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.socket = home / "run" / "sql.sock"

    def connect(self, database: str | None = None, read_s: float = _READ_S) -> Any:
        return pymysql.connect(
            unix_socket=str(self.socket),
            user="root",
            charset="utf8mb4",
            database=database,
            connect_timeout=5,
            read_timeout=read_s,
            write_timeout=read_s,
            ssl_disabled=True,
        )

    def rows(self, *statements: str) -> Any:
        """Run statements as somebody else; returns the rows of the last."""
        connection = self.connect("ocs")
        with connection, connection.cursor() as cursor:
            connection.autocommit(True)
            for statement in statements:
                cursor.execute(statement)
            return cursor.fetchall()

    def empty(self) -> None:
        """Have no task, no member and no maintainer in ``ocs``."""
        self.rows(*(f"DELETE FROM {table}" for table in _TABLES), _UNTAKEN)


@contextmanager
def running_seekdb(home: Path) -> Iterator[Seekdb]:
    """A seekdb in an empty directory, with an empty ``ocs``."""
    (home / "run").mkdir(parents=True)
    with (home / "run" / "seekdb.clients").open("w") as clients:
        fcntl.flock(clients, fcntl.LOCK_SH)
        command = [str(find_binary(None)), "--base-dir", str(home), "--embedded", "--nodaemon"]
        process = subprocess.Popen(
            [*command, "--log-level", "WARN", *_SIZES],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            seekdb = Seekdb(home)
            _wait_until_it_serves(seekdb, process)
            migrate_ocs(lambda database: seekdb.connect(database, read_s=60))
            yield seekdb
        finally:
            process.kill()
            process.wait()


def _wait_until_it_serves(seekdb: Seekdb, process: subprocess.Popen[bytes]) -> None:
    """Ask until it answers: nothing else tells."""
    for _ in range(_BOOT_S * 20):
        with socket.socket(socket.AF_UNIX) as probe, suppress(OSError):
            probe.connect(str(seekdb.socket))
            seekdb.connect().close()
            return
        with suppress(subprocess.TimeoutExpired):
            raise AssertionError(f"seekdb has ended: {process.wait(0.05)}")
    raise AssertionError("seekdb does not serve")


class Line:
    """One agent's way to the database."""

    def __init__(self, seekdb: Seekdb) -> None:
        self._seekdb = seekdb
        self._connections: list[Any] = []
        self._open = threading.Event()
        self._open.set()
        self.attempts = 0

    def __call__(self, database: str | None) -> Any:
        self.attempts += 1
        if not self._open.is_set():
            raise pymysql.err.OperationalError(2003, "Can't connect: the line is cut")
        connection = self._seekdb.connect(database)
        self._connections.append(connection)
        return connection

    def drop(self) -> None:
        """Lose every connection; new ones can be made."""
        while self._connections:
            self._connections.pop()._force_close()

    def cut(self) -> None:
        """Lose every connection, and let none be made."""
        self._open.clear()
        self.drop()

    def mend(self) -> None:
        self._open.set()
