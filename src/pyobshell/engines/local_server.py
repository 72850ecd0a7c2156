"""What every kind of server on this machine has in common: its start, its end, its root user."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from signal import SIGKILL, SIGTERM, Signals
from typing import ClassVar

from pyobshell import errors
from pyobshell.deadline import Deadline
from pyobshell.engines.base import Log, ObState, ServerConfig
from pyobshell.engines.launching import last_error, size_of
from pyobshell.engines.occupied import holders_of, listening_ports, port_is_free
from pyobshell.engines.process import ServerEnded, ServerProcess
from pyobshell.engines.sql import AccessDenied, Sql

_STATE_SECONDS = 2.0
_LOGIN_SECONDS = 5.0
_PASSWORD_SECONDS = 10.0
_OWN_TABLE = "select /*+ QUERY_TIMEOUT(2000000) */ count(*) from oceanbase.__ALL_DATABASE limit 1"
_CREATE_PROXYRO = "CREATE USER IF NOT EXISTS proxyro@'%%' IDENTIFIED BY %s"
_GRANT_PROXYRO = "GRANT SELECT ON oceanbase.* TO proxyro"
_SESSIONS = "select id from oceanbase.{}"
_ACTIVE = "select id from oceanbase.{} where state = 'ACTIVE'"


class LocalServer(ABC):
    """The part of the interface ``Engine`` that is the same for all kinds."""

    def __init__(self, home: Path, binary: Path, log_file: Path, sql: Sql) -> None:
        self.home = home
        self._binary = binary
        self._log_file = log_file
        self._sql = sql
        self._launching = asyncio.Lock()

    # --- what a kind has to say ------------------------------------------------------------------

    PROCESS_LIST: ClassVar[str]
    """The table of the server's sessions."""

    @abstractmethod
    def _open(self) -> ServerProcess | None:
        """The verified process; none if the server does not run."""

    @abstractmethod
    def _data_directories(self, config: ServerConfig) -> list[Path]:
        """Where the server has files open."""

    @abstractmethod
    def _ports(self, config: ServerConfig) -> set[int]:
        """The ports it is known to listen on."""

    @abstractmethod
    async def _prepare(self, config: ServerConfig, log: Log) -> None:
        """Raise if the server cannot be started, and make it ready for it."""

    @abstractmethod
    def _command(self, config: ServerConfig) -> list[str]:
        """The command line for a start now."""

    @abstractmethod
    def _launch(self, command: list[str]) -> None:
        """Run the launcher until its daemon can be seen, or has ended."""

    def _has_data(self) -> bool:
        """Whether a server that answers has made its data files; one kind may answer earlier."""
        return True

    @abstractmethod
    async def _settle(self) -> None:
        """Take note that the server has come up."""

    # --- start -----------------------------------------------------------------------------------

    async def start(self, config: ServerConfig, log: Log, deadline: Deadline) -> None:
        process = await self.process()
        if process is not None:
            log(f"the server runs already as process {process.pid}")
            if await self._opened(process, log, deadline):
                return
            log(f"process {process.pid} has ended: starting anew")
        log_size = await asyncio.to_thread(size_of, self._log_file)
        # Once begun it is brought to the point where the process can be seen, also if cancelled.
        await asyncio.shield(self._begin(config, log))
        process = await self.process()
        if process is None or not await self._opened(process, log, deadline):
            raise await self._failed(config, log_size)

    async def _begin(self, config: ServerConfig, log: Log) -> None:
        async with self._launching:
            process = await self.process()
            if process is None:
                # A server whose pid file was removed cannot be seen there, and a second one on the
                # same files would destroy them.
                await asyncio.to_thread(self._require_no_holders, config)
                await self._prepare(config, log)
                command = await asyncio.to_thread(self._command, config)
                log(f"starting {' '.join(command)}")
                self._sql.forget()
                await asyncio.to_thread(self._launch, command)
            else:
                process.close()  # somebody was faster

    async def _opened(self, process: ServerProcess, log: Log, deadline: Deadline) -> bool:
        """Wait until the process accepts SQL; False if it ends instead. The process is closed."""

        async def answers() -> bool:
            try:
                await self._sql.query("select 1", deadline=deadline)
            except AccessDenied:
                return self._has_data()  # to somebody else's password, but it answers
            except errors.OBShellError:
                return False
            return self._has_data()

        with process:
            try:
                if not await process.until(answers, deadline):
                    raise late(f"The start of the server in {self.home}", deadline)
            except ServerEnded:
                return False
        await self._settle()
        log(f"process {process.pid} accepts SQL")
        return True

    async def _failed(self, config: ServerConfig, log_size: int) -> errors.OBShellError:
        """The error for a process that ended while starting, with the cause as far as it shows."""
        taken = [port for port in self._ports(config) if not port_is_free(port)]
        cause = await asyncio.to_thread(last_error, self._log_file, log_size)
        if taken:
            cause = f"port {taken[0]} is in use by another process, which took it meanwhile"
        elif not cause:
            cause = f"no reason is in {self._log_file}; with log level INFO there may be one"
        return errors.SERVER_UNAVAILABLE(
            reason=f"{self._binary.name} ended while starting: {cause}"
        )

    # --- state and end ---------------------------------------------------------------------------

    async def process(self) -> ServerProcess | None:
        # Not in a thread, where a cancellation would leak the descriptor; it takes microseconds.
        return self._open()

    async def state(self) -> ObState:
        deadline = Deadline.after(_STATE_SECONDS)
        try:
            process = await self.process()
        except errors.OBShellError:
            return ObState.PROCESS_RUNNING  # there is somebody who is not provably our server
        if process is None:  # one that is being launched cannot be seen yet
            launching = self._launching.locked()
            return ObState.PROCESS_RUNNING if launching else ObState.PROCESS_NOT_RUNNING
        process.close()
        state = ObState.PROCESS_RUNNING
        try:
            await self._sql.query("select 1", deadline=deadline)
            state = ObState.CONNECTION_RESTRICTED
            await self._sql.query(_OWN_TABLE, deadline=deadline)
        except errors.OBShellError:
            return state
        return ObState.CONNECTION_AVAILABLE

    async def wait_death(self) -> None:
        process = await self.process()
        if process is not None:
            with process:
                await process.wait_end()

    async def kill(self, config: ServerConfig, log: Log, deadline: Deadline) -> None:
        await self._end(SIGKILL, config, log, deadline)

    async def terminate(self, config: ServerConfig, log: Log, deadline: Deadline) -> None:
        await self._end(SIGTERM, config, log, deadline)

    async def _end(
        self, number: Signals, config: ServerConfig, log: Log, deadline: Deadline
    ) -> None:
        ports = self._ports(config)
        async with self._launching:  # a server that is being launched cannot be seen yet
            process = await self.process()
        if process is None:
            log("the server does not run")
        else:
            with process:
                ports |= await asyncio.to_thread(listening_ports, process.pid)
                log(f"sending {number.name} to process {process.pid}")
                process.send(number)
                if not await process.wait_end(deadline):
                    raise late(f"The end of process {process.pid} after {number.name}", deadline)
                log(f"process {process.pid} has ended")
        self._sql.forget()
        await asyncio.to_thread(self._require_stopped, config, ports)

    def _require_stopped(self, config: ServerConfig, ports: Iterable[int]) -> None:
        self._require_no_holders(config)
        for port in ports:
            if not port_is_free(port):
                raise errors.SERVER_PROCESS_CHECK_FAILED(
                    reason=f"the server has ended, but port {port} is still in use"
                )

    def _require_no_holders(self, config: ServerConfig) -> None:
        holders = holders_of(self._data_directories(config))
        if holders:
            raise errors.SERVER_PROCESS_CHECK_FAILED(
                reason=f"{', '.join(map(str, holders))} has the data files of {self.home} open"
            )

    # --- SQL -------------------------------------------------------------------------------------

    async def running_statements(self, deadline: Deadline) -> int:
        """How many statements of others run now."""
        rows = await self._sql.query(_ACTIVE.format(self.PROCESS_LIST), deadline=deadline)
        return len({row[0] for row in rows} - self._sql.sessions)

    async def sessions(self, deadline: Deadline) -> int:
        return len(await self._session_ids(deadline) - self._sql.sessions)

    async def _session_ids(self, deadline: Deadline) -> set[int]:
        """The sessions on this server, our own among them."""
        rows = await self._sql.query(_SESSIONS.format(self.PROCESS_LIST), deadline=deadline)
        return {row[0] for row in rows}

    async def drain(self, log: Log, deadline: Deadline) -> None:
        process = await self.process()
        if process is None:
            log("the server does not run, and so no statement does")
            return

        async def idle() -> bool:
            return await self.running_statements(deadline) == 0

        with process:
            log("waiting for running statements to end")
            if not await process.until(idle, deadline):
                raise late("The wait for running statements", deadline)
        log("no statement is running")

    async def minor_freeze(self, log: Log, deadline: Deadline) -> None:
        process = await self.process()
        if process is None:
            raise errors.SERVER_PROCESS_NOT_EXIST(detail=f"no server runs in {self.home}")
        with process:
            if not await self._freeze(process, log, deadline):
                raise errors.MINOR_FREEZE_TIMEOUT(server=str(self.home), seconds=deadline.seconds)
        log("all that was committed before is in the data files")

    @abstractmethod
    async def _freeze(self, process: ServerProcess, log: Log, deadline: Deadline) -> bool:
        """Whether all that was committed before is in the data files when the deadline comes."""

    def use_password(self, password: str) -> None:
        self._sql.use_password(password)

    async def set_root_password(self, new: str, log: Log) -> None:
        deadline = Deadline.after(_PASSWORD_SECONDS)
        try:
            await self._sql.set_password(new, deadline)
            log("the password of root has been set")
        except AccessDenied:
            # Perhaps it has been set already, by a run that was cut off before it could say so.
            await self._sql.login(new, deadline)
            log("the password of root is the new one already")
        self._sql.use_password(new)

    async def create_proxyro(self, password: str, log: Log) -> None:
        deadline = Deadline.after(_PASSWORD_SECONDS)
        await self._sql.query(_CREATE_PROXYRO, password, deadline=deadline, confidential=True)
        await self._sql.query(_GRANT_PROXYRO, deadline=deadline)
        log("the user proxyro is there and may read")

    async def login(self, password: str) -> bool:
        try:
            await self._sql.login(password, Deadline.after(_LOGIN_SECONDS))
        except AccessDenied:
            return False
        return True

    async def close(self) -> None:
        self._sql.forget()


def late(operation: str, deadline: Deadline) -> errors.OBShellError:
    """The error for what did not come about in time."""
    return errors.CLUSTER_ASYNC_TIMEOUT(operation=operation, seconds=deadline.seconds)
