"""One seekdb server, behind the interface that operations use."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from signal import SIGKILL, SIGTERM, Signals

from pyobshell import errors
from pyobshell.deadline import Deadline
from pyobshell.engines.base import Log, ObState, ServerConfig
from pyobshell.engines.occupied import holders_of, listening_ports, port_is_free
from pyobshell.engines.process import ServerEnded, ServerProcess, open_verified
from pyobshell.engines.seekdb_checks import check_start
from pyobshell.engines.seekdb_command import command_line, launch, read_version
from pyobshell.engines.seekdb_files import FirstBoot, Layout, make_directories
from pyobshell.engines.seekdb_freeze import MinorFreeze
from pyobshell.engines.sql import AccessDenied, Sql

_STATE_SECONDS = 2.0
_LOGIN_SECONDS = 5.0
_PASSWORD_SECONDS = 10.0
_OWN_TABLE = "select /*+ QUERY_TIMEOUT(2000000) */ count(*) from oceanbase.__ALL_DATABASE limit 1"
_CREATE_PROXYRO = "CREATE USER IF NOT EXISTS proxyro@'%%' IDENTIFIED BY %s"
_GRANT_PROXYRO = "GRANT SELECT ON oceanbase.* TO proxyro"
_ACTIVE = "select id from oceanbase.V$OB_PROCESSLIST where state = 'ACTIVE'"


class Seekdb:
    """A seekdb server in ``home``; ``state_dir`` is where the agent keeps its own notes on it."""

    name = "seekdb"

    def __init__(self, home: Path, binary: Path, state_dir: Path) -> None:
        self.home = home.resolve()
        self._binary = binary
        self._first_boot = FirstBoot(state_dir)
        self._sql = Sql(self.home / "run/sql.sock")
        self._launching = asyncio.Lock()
        self._version = ""

    def is_initialized(self) -> bool:
        return Layout.of(self.home).is_initialized()

    async def version(self) -> str:
        if not self._version:
            self._version = await asyncio.to_thread(read_version, self._binary)
        return self._version

    async def check_start(self, config: ServerConfig) -> None:
        layout = self._layout(config)
        process = await self.process()
        if process is None:
            await asyncio.to_thread(check_start, self._binary, config, layout)
        else:
            process.close()  # it runs: nothing is left to be checked

    async def deploy(self, config: ServerConfig, log: Log) -> None:
        layout = self._layout(config)
        log(f"making the directories of the server in {layout.home}")
        await asyncio.to_thread(make_directories, layout)

    async def destroy(self, config: ServerConfig, log: Log) -> None:
        layout = self._layout(config)
        await asyncio.to_thread(_require_no_holders, layout)
        log(f"removing the server's files from {layout.home}")
        await asyncio.to_thread(layout.remove_all)
        await asyncio.to_thread(self._first_boot.end)

    # --- start ---------------------------------------------------------------------------------

    async def start(self, config: ServerConfig, log: Log, deadline: Deadline) -> None:
        layout = self._layout(config)
        process = await self.process()
        if process is not None:
            log(f"the server runs already as process {process.pid}")
            if await self._opened(process, log, deadline):
                return
            log(f"process {process.pid} has ended: starting anew")
        log_size = await asyncio.to_thread(_size, layout.log)
        # Once begun it is brought to the point where the process can be seen, also if cancelled.
        await asyncio.shield(self._launch(config, layout, log))
        process = await self.process()
        if process is None or not await self._opened(process, log, deadline):
            raise await _failed(layout, log_size)

    async def _launch(self, config: ServerConfig, layout: Layout, log: Log) -> None:
        async with self._launching:
            process = await self.process()
            if process is None:
                await self._prepare(config, layout, log)
                first = not await asyncio.to_thread(layout.is_initialized)
                command = command_line(self._binary, config, layout.home, first=first)
                log(f"starting {' '.join(command)}")
                self._sql.forget()
                await asyncio.to_thread(launch, command, layout.pid_file)
            else:
                process.close()  # somebody was faster

    async def _prepare(self, config: ServerConfig, layout: Layout, log: Log) -> None:
        # A server whose pid file was removed cannot be seen there, and a second one on the same
        # files would destroy them.
        await asyncio.to_thread(_require_no_holders, layout)
        if await asyncio.to_thread(self._first_boot.is_ruined, layout):
            log("the first boot was cut off, which leaves a useless base: removing it")
            await asyncio.to_thread(layout.remove_server_files)
        await asyncio.to_thread(check_start, self._binary, config, layout)
        if await asyncio.to_thread(layout.is_fresh):
            await asyncio.to_thread(self._first_boot.begin, layout)

    async def _opened(self, process: ServerProcess, log: Log, deadline: Deadline) -> bool:
        """Wait until the process accepts SQL; False if it ends instead. The process is closed."""

        async def answers() -> bool:
            try:
                await self._sql.query("select 1", deadline=deadline)
            except AccessDenied:
                return True  # to somebody else's password, but it answers
            except errors.OBShellError:
                return False
            return True

        with process:
            try:
                if not await process.until(answers, deadline):
                    raise _late(f"The start of the server in {self.home}", deadline)
            except ServerEnded:
                return False
        await asyncio.to_thread(self._first_boot.end)
        log(f"process {process.pid} accepts SQL")
        return True

    # --- state and end ---------------------------------------------------------------------------

    async def process(self) -> ServerProcess | None:
        # Not in a thread, where a cancellation would leak the descriptor; it takes microseconds.
        return open_verified(self.home / "run/seekdb.pid", self.home, self._binary)

    async def state(self) -> ObState:
        deadline = Deadline.after(_STATE_SECONDS)
        try:
            process = await self.process()
        except errors.OBShellError:
            return ObState.PROCESS_RUNNING  # somebody has the lock who is not provably our server
        if process is None:
            return ObState.PROCESS_NOT_RUNNING
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
        ports = {config.mysql_port}
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
                    raise _late(f"The end of process {process.pid} after {number.name}", deadline)
                log(f"process {process.pid} has ended")
        self._sql.forget()
        await asyncio.to_thread(_require_stopped, self._layout(config), ports)

    # --- SQL -------------------------------------------------------------------------------------

    async def running_statements(self, deadline: Deadline) -> int:
        """How many statements of others run now."""
        rows = await self._sql.query(_ACTIVE, deadline=deadline)
        return len({row[0] for row in rows} - self._sql.sessions)

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
                raise _late("The wait for running statements", deadline)
        log("no statement is running")

    async def minor_freeze(self, log: Log, deadline: Deadline) -> None:
        process = await self.process()
        if process is None:
            raise errors.SERVER_PROCESS_NOT_EXIST(detail=f"no server runs in {self.home}")
        with process:
            if not await MinorFreeze(self._sql, process, deadline).run(log):
                raise errors.MINOR_FREEZE_TIMEOUT(server=str(self.home), seconds=deadline.seconds)
        log("all that was committed before is in the data files")

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

    def _layout(self, config: ServerConfig) -> Layout:
        if config.home.resolve() != self.home:
            raise errors.ILLEGAL_ARGUMENT(name="home", reason=f"this server's home is {self.home}")
        return Layout.of(self.home, config.data_dir, config.redo_dir)


def _require_stopped(layout: Layout, ports: Iterable[int]) -> None:
    _require_no_holders(layout)
    for port in ports:
        if not port_is_free(port):
            raise errors.SERVER_PROCESS_CHECK_FAILED(
                reason=f"the server has ended, but port {port} is still in use"
            )


def _require_no_holders(layout: Layout) -> None:
    holders = holders_of(layout.data_directories)
    if holders:
        raise errors.SERVER_PROCESS_CHECK_FAILED(
            reason=f"{', '.join(map(str, holders))} has the data files of {layout.home} open"
        )


async def _failed(layout: Layout, log_size: int) -> errors.OBShellError:
    """The error for a process that ended while starting, with the cause from its log."""
    line = await asyncio.to_thread(layout.last_error, log_size)
    return errors.SERVER_UNAVAILABLE(
        reason=f"seekdb ended while starting: {line}"
        if line
        else f"seekdb ended while starting, and gave no reason in {layout.log}; "
        "with log level INFO it may give one"
    )


def _late(operation: str, deadline: Deadline) -> errors.OBShellError:
    return errors.CLUSTER_ASYNC_TIMEOUT(operation=operation, seconds=deadline.seconds)


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0
