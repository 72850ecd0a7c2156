"""Real seekdb servers in directories of their own, none of which outlives its test."""

from __future__ import annotations

import asyncio
import os
import random
import select
import shutil
import signal
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pymysql
import pytest

from pyobshell.deadline import Deadline
from pyobshell.engines import ServerConfig
from pyobshell.engines.occupied import holders_of, port_is_free
from pyobshell.engines.seekdb import Seekdb
from pyobshell.engines.seekdb_command import find_binary


@dataclass
class Server:
    """An engine with its configuration, and what it has logged."""

    engine: Seekdb
    config: ServerConfig
    state_dir: Path
    lines: list[str] = field(default_factory=list)

    @property
    def home(self) -> Path:
        return self.engine.home

    @property
    def marker(self) -> Path:
        return self.state_dir / "first-boot"

    async def start(self) -> int:
        """Start it and return its pid."""
        await self.engine.start(self.config, self.lines.append, Deadline.after(60))
        return await self.pid()

    async def pid(self) -> int:
        with await self.engine.process() as process:
            return process.pid

    async def kill(self) -> None:
        await self.engine.kill(self.config, self.lines.append, Deadline.after(30))

    def client(self, **options) -> pymysql.Connection:
        """A connection of somebody else, over TCP."""
        port = self.config.mysql_port
        return pymysql.connect(
            host="127.0.0.1",
            port=port,
            user="root",
            autocommit=True,
            read_timeout=60,
            ssl_disabled=True,
            **options,
        )

    def rows(self, *statements: str) -> tuple[tuple[object, ...], ...]:
        """Run statements as somebody else; returns the rows of the last."""
        with self.client() as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return cursor.fetchall()

    async def runs(self, statements: int) -> None:
        """Return when that many statements of others run."""

        async def so_many() -> bool:
            return await self.engine.running_statements(Deadline.after(30)) == statements

        with await self.engine.process() as process:
            assert await process.until(so_many, Deadline.after(30))


@pytest.fixture(scope="session")
def free_port():
    """Ports below those that the kernel gives to clients."""

    def find() -> int:
        ports = (random.randrange(12000, 32000) for _ in range(1000))
        return next(port for port in ports if port_is_free(port))

    return find


@pytest.fixture(scope="module")
async def make_server(anyio_backend, tmp_path_factory, free_port):
    """Make an engine on an empty home; whatever has files there is killed at the end."""
    made = []

    def make(name: str = "home", **config) -> Server:
        base = tmp_path_factory.mktemp("seekdb")
        home = base / name
        config = ServerConfig(home, free_port(), **config)
        server = Server(Seekdb(home, find_binary(None), base / "state"), config, base / "state")
        made.append(server)
        return server

    yield make
    for server in made:
        await server.engine.close()
        await asyncio.to_thread(_remove, server)


@pytest.fixture(scope="module")
async def server(make_server):
    """The server that the tests of a module share; each leaves it running."""
    server = make_server()
    await server.start()
    return server


def _remove(server: Server) -> None:
    base = server.home.parent
    for holder in holders_of([base]):
        with suppress(ProcessLookupError):
            pidfd = os.pidfd_open(holder.pid)
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            poll = select.poll()
            poll.register(pidfd, select.POLLIN)
            assert poll.poll(10_000), f"{holder} does not end"
            os.close(pidfd)
    shutil.rmtree(base)
