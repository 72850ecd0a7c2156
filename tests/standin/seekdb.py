"""The cluster's seekdb: embedded, so that it has no port and ends with the hub that owns it."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

from standin.backend import Backend
from standin.errors import SqlError
from standin.mysql_protocol import ClosedError

USER = "standin"
PASSWORD = "of the stand-in alone"
_SMALL = ("memory_budget=1G", "log_disk_size=2G", "datafile_size=8M")
_IN_TRANSACTION = (
    "SELECT id FROM oceanbase.`V$OB_PROCESSLIST` WHERE trans_id != 0 AND id != connection_id()"
)
_POLL_SECONDS = 0.01
_ROLLBACK_SECONDS = 2.0
_BOOT_SECONDS = 60.0


class Seekdb:
    """A seekdb in a directory of its own, which nothing else may use."""

    def __init__(self, base: Path) -> None:
        self._base = base
        self._process: asyncio.subprocess.Process | None = None
        self._clients = -1

    @property
    def socket(self) -> Path:
        """Where it listens."""
        return self._base / "run/sql.sock"

    @property
    def _whole(self) -> Path:
        return self._base / "booted"

    async def start(self, *, anew: bool) -> Backend:
        """Start it, on an empty directory if ``anew``; returns a session.

        A first boot that was cut short leaves nothing that could be used: it is begun again.
        """
        first = anew or not self._whole.exists()
        if first and self._base.exists():
            shutil.rmtree(self._base)
        self._launch_lock()
        await self._launch()
        if first:
            root = await self._first_session("root", "")
            await root.query(f"CREATE USER {USER} IDENTIFIED BY ?", PASSWORD)
            await root.query(f"GRANT ALL ON *.* TO {USER}")
            root.close()
            self._whole.touch()
        return await self._first_session(USER, PASSWORD)

    async def session(self) -> Backend:
        """One more session of the stand-in's own user."""
        return await Backend.login(self.socket, USER, PASSWORD)

    async def ended(self) -> None:
        """Return when the process has ended."""
        assert self._process is not None
        await self._process.wait()

    async def kill(self) -> None:
        """End it: acknowledged transactions are in its log."""
        if self._process is not None:
            with contextlib.suppress(OSError, ClosedError, SqlError, TimeoutError):
                async with asyncio.timeout(_ROLLBACK_SECONDS):
                    await self._roll_back_all()
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        if self._clients >= 0:
            os.close(self._clients)
            self._clients = -1

    async def _roll_back_all(self) -> None:
        """End whoever has a transaction open.

        What a transaction of some size has locked when seekdb 1.4 ends is locked for ever after,
        while an observer rolls it back.
        """
        session = await self.session()
        while numbers := await session.query(_IN_TRANSACTION):
            for (number,) in numbers:
                with contextlib.suppress(SqlError):  # it may have ended
                    await session.query(f"KILL {number}")
            await asyncio.sleep(_POLL_SECONDS)
        session.close()

    def _launch_lock(self) -> None:
        # An embedded seekdb lives for as long as somebody holds this lock.
        (self._base / "run").mkdir(parents=True, exist_ok=True)
        self.socket.unlink(missing_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self._clients = os.open(self._base / "run/seekdb.clients", flags, 0o600)
        fcntl.flock(self._clients, fcntl.LOCK_SH)

    async def _launch(self) -> None:
        command = [str(_binary()), "--nodaemon", "--embedded", "--base-dir", str(self._base)]
        command += ["--log-level", "WARN"]
        for parameter in _SMALL:
            command += ["--parameter", parameter]
        self._process = await asyncio.create_subprocess_exec(
            *command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={"PATH": os.environ.get("PATH", ""), "TELEMETRY_ENABLED": "false"},
        )

    async def _first_session(self, user: str, password: str) -> Backend:
        async with asyncio.timeout(_BOOT_SECONDS):
            while True:
                assert self._process is not None
                if self._process.returncode is not None:
                    raise SqlError(4016, f"seekdb ended with {self._process.returncode}")
                try:
                    return await Backend.login(self.socket, user, password)
                except (OSError, ClosedError):
                    await asyncio.sleep(_POLL_SECONDS)


def _binary() -> Path:
    # Found, not imported: importing would load its client library.
    spec = importlib.util.find_spec("pylibseekdb")
    if spec is None or not spec.submodule_search_locations:
        raise SqlError(4016, "seekdb is not installed: pip install pylibseekdb")
    return Path(spec.submodule_search_locations[0], "seekdb")
