"""A database server that is none: in memory, in whatever state a test wants, noting its deeds."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from pyobshell import errors
from pyobshell.deadline import Deadline
from pyobshell.engines.base import Log, ObState, ServerConfig
from pyobshell.engines.process import ServerProcess
from support.waiting import Gate, soon

VERSION = "4.3.5.3-fake"


class FakeEngine:
    """What operations see of a server.

    ``deeds`` has what was done, in order. ``failures`` has errors to be raised by deed, and
    ``hold`` makes a deed wait at a gate. ``record`` is what it knows of its own start, and
    ``starts_as`` how far it can be used when it has been started. One that ``refuses_all``
    passwords answers all the same.
    """

    name = "fake"
    cluster: Any = None

    def __init__(self, home: Path, *, running: bool = False) -> None:
        self.home = home
        self.initialized = running
        self.password = ""
        self.used_password: str | None = None
        self.deeds: list[str] = []
        self.failures: dict[str, Exception] = {}
        self.closed = False
        self.session_count = 0
        self.logins = 0
        self.record: ServerConfig | None = None
        self.starts_as = ObState.CONNECTION_AVAILABLE
        self.refuses_all = False
        self._gates: dict[str, Gate] = {}
        self._state = ObState.PROCESS_NOT_RUNNING
        self._ended = asyncio.Event()
        self._ended.set()
        self._serving = asyncio.Event()
        if running:
            self.set_state(ObState.CONNECTION_AVAILABLE)

    # --- for tests -------------------------------------------------------------------------------

    def set_state(self, state: ObState) -> None:
        """Have the server be so; without a process, whoever waits for its death is told."""
        self._state = state
        if state is ObState.PROCESS_NOT_RUNNING:
            self._ended.set()
        else:
            self._ended.clear()
        if state is ObState.CONNECTION_AVAILABLE:
            self._serving.set()
        else:
            self._serving.clear()

    @property
    def is_up(self) -> bool:
        """Whether the server serves now."""
        return self._serving.is_set()

    async def serves(self) -> None:
        """Return once the server serves."""
        await soon(self._serving.wait())

    def start_afresh(self) -> None:
        """A server that runs, has done nothing and fails at nothing."""
        for gate in self._gates.values():
            gate.open()
        self._gates.clear()
        self.deeds.clear()
        self.failures.clear()
        self.starts_as = ObState.CONNECTION_AVAILABLE
        self.set_state(ObState.CONNECTION_AVAILABLE)

    def hold(self, deed: str) -> Gate:
        """The gate at which a deed waits from now on."""
        return self._gates.setdefault(deed, Gate())

    async def _do(self, deed: str, log: Log | None = None) -> None:
        self.deeds.append(deed)
        if log is not None:
            log(f"the fake server does {deed}")
        if deed in self._gates:
            await self._gates[deed].pass_through()
        if deed in self.failures:
            raise self.failures[deed]

    # --- what operations ask for -----------------------------------------------------------------

    def is_initialized(self) -> bool:
        return self.initialized

    def recorded(self) -> ServerConfig | None:
        return self.record

    async def version(self) -> str:
        return VERSION

    async def check_start(self, config: ServerConfig) -> None:
        await self._do("check_start")

    async def deploy(self, config: ServerConfig, log: Log) -> None:
        await self._do("deploy", log)

    async def destroy(self, config: ServerConfig, log: Log) -> None:
        await self._do("destroy", log)
        self.initialized = False

    async def start(self, config: ServerConfig, log: Log, deadline: Deadline) -> None:
        await self._do("start", log)
        self.initialized = True
        self.set_state(self.starts_as)

    async def state(self) -> ObState:
        return self._state

    async def process(self) -> ServerProcess | None:
        if self._state is ObState.PROCESS_NOT_RUNNING:
            return None
        return ServerProcess(os.getpid(), os.pidfd_open(os.getpid()), 0.0)

    async def wait_death(self) -> None:
        await self._ended.wait()

    async def kill(self, config: ServerConfig, log: Log, deadline: Deadline) -> None:
        await self._do("kill", log)
        self.set_state(ObState.PROCESS_NOT_RUNNING)

    async def terminate(self, config: ServerConfig, log: Log, deadline: Deadline) -> None:
        await self._do("terminate", log)
        self.set_state(ObState.PROCESS_NOT_RUNNING)

    async def drain(self, log: Log, deadline: Deadline) -> None:
        await self._do("drain", log)

    async def end_transactions(self, log: Log, deadline: Deadline) -> None:
        await self._do("end_transactions", log)

    async def sessions(self, deadline: Deadline) -> int:
        return self.session_count

    async def minor_freeze(self, log: Log, deadline: Deadline) -> None:
        await self._do("minor_freeze", log)

    def use_password(self, password: str) -> None:
        self.used_password = password

    async def set_root_password(self, new: str, log: Log) -> None:
        await self._do("set_root_password", log)
        self.password = new
        self.used_password = new

    async def create_proxyro(self, password: str, log: Log) -> None:
        await self._do("create_proxyro", log)

    async def login(self, password: str) -> bool:
        self.logins += 1
        if self._state is ObState.PROCESS_RUNNING and self.refuses_all:
            return False
        if self._state is not ObState.CONNECTION_AVAILABLE:
            raise errors.SERVER_UNAVAILABLE(reason="the fake server is down")
        return password == self.password

    async def close(self) -> None:
        self.closed = True
