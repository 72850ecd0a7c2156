"""A stand-in's connection to the hub of its cluster, which it starts if there is none."""

from __future__ import annotations

import asyncio
import fcntl
import itertools
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from standin import rpc
from standin.backend import connect
from standin.errors import SqlError
from standin.places import BOOTSTRAPPED, HUB_LOCK, HUB_LOG, HUB_SOCKET, SEEKDB_SOCKET
from standin.rpc import Message

_BEAT_SECONDS = 0.3
_AGAIN_SECONDS = 0.02
_BETWEEN_HUBS_SECONDS = 1.0
_LOST = SqlError(4012, "Timeout: the connection to the cluster was lost")


@dataclass
class State:
    """What the hub has told of the cluster."""

    serving: bool = False
    member: bool = True
    blocked: list[str] = field(default_factory=list)
    tenants: list[str] = field(default_factory=list)

    def stops(self, tenant: str) -> bool:
        """Whether a session of this tenant gets nothing done that needs a table."""
        return not self.member or "sys" in self.blocked or tenant in self.blocked


class Link:
    """The connection, made again for as long as it takes."""

    def __init__(self, directory: Path, address: str, config: dict[str, str]) -> None:
        self.directory = directory
        self.state = State()
        self._address = address
        self._config = config
        self._writer: asyncio.StreamWriter | None = None
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[None]] = {}
        self._changed = asyncio.Condition()
        self._sessions: dict[int, str] = {}
        self._hub_started = -_BETWEEN_HUBS_SECONDS

    @property
    def socket(self) -> Path:
        """Where the cluster's seekdb listens."""
        return self.directory / SEEKDB_SOCKET

    async def run(self, log: Callable[[str], None]) -> None:
        """Keep the connection up; ends only by being cancelled."""
        while True:
            try:
                reader, self._writer = await connect(self.directory / HUB_SOCKET)
            except OSError:
                await self._start_hub(log)
                await asyncio.sleep(_AGAIN_SECONDS)
                continue
            beat = asyncio.create_task(self._beat(self._writer))
            try:
                self._greet(self._writer)
                while (message := await rpc.receive(reader)) is not None:
                    await self._hear(message)
            finally:
                beat.cancel()
                self._writer.close()
                self._writer = None
            log("the hub is gone")
            await self._lose()

    async def until(self, ready: Callable[[State], bool]) -> None:
        """Return once the state is so."""
        async with self._changed:
            await self._changed.wait_for(lambda: ready(self.state))

    async def connected(self) -> None:
        """Return once there is a hub."""
        await self.until(lambda _: self._writer is not None)

    async def ask(self, message: Message) -> None:
        """Have the hub do something; raises SqlError."""
        if self._writer is None:
            raise _LOST
        number = next(self._numbers)
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._asked[number] = answer
        rpc.send(self._writer, {"ask": number, **message})
        await answer

    def session_begins(self, number: int, tenant: str) -> None:
        """Tell of a session of a client."""
        self._sessions[number] = tenant
        if self._writer is not None:
            rpc.send(self._writer, {"session": number, "tenant": tenant})

    def session_ends(self, number: int) -> None:
        """Tell of its end."""
        self._sessions.pop(number, None)
        if self._writer is not None:
            rpc.send(self._writer, {"ended": number})

    def clear_remains(self) -> None:
        """Remove what a cluster of before has left in the directory, if none is alive there."""
        lock = self._lock()
        if lock is not None:
            for path in self.directory.iterdir():
                if path.is_dir():
                    shutil.rmtree(path)
                elif path.name in (BOOTSTRAPPED, HUB_SOCKET):
                    path.unlink()
            os.close(lock)

    def _greet(self, writer: asyncio.StreamWriter) -> None:
        rpc.send(writer, {"address": self._address, "config": self._config})
        for number, tenant in self._sessions.items():
            rpc.send(writer, {"session": number, "tenant": tenant})

    async def _beat(self, writer: asyncio.StreamWriter) -> None:
        while True:
            await asyncio.sleep(_BEAT_SECONDS)
            rpc.send(writer, {"beat": 1})

    async def _hear(self, message: Message) -> None:
        if "state" in message:
            self.state = State(**message["state"])
            async with self._changed:
                self._changed.notify_all()
            return
        asked = self._asked.pop(message["answer"], None)
        if asked is None or asked.done():
            return
        if "errno" in message:
            asked.set_exception(SqlError(message["errno"], message["message"]))
        else:
            asked.set_result(None)

    async def _lose(self) -> None:
        for asked in self._asked.values():
            if not asked.done():
                asked.set_exception(_LOST)
        self._asked.clear()
        self.state = State()
        async with self._changed:
            self._changed.notify_all()

    def _lock(self) -> int | None:
        self.directory.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        lock = os.open(self.directory / HUB_LOCK, flags, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            return None
        return lock

    async def _start_hub(self, log: Callable[[str], None]) -> None:
        """Start it unless one runs; it inherits the lock that says so."""
        if time.monotonic() - self._hub_started < _BETWEEN_HUBS_SECONDS:
            return  # the one before has ended at once, and this one would
        lock = self._lock()
        if lock is None:
            return
        self._hub_started = time.monotonic()
        log(f"starting the hub in {self.directory}")
        try:
            with (self.directory / HUB_LOG).open("ab") as output:
                process = await asyncio.create_subprocess_exec(
                    *(
                        sys.executable,
                        "-P",
                        "-m",
                        "standin.hub",
                        str(self.directory),
                        str(os.getpid()),
                    ),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    cwd=self.directory,
                    pass_fds=[lock],
                )
                await process.wait()
        finally:
            os.close(lock)
