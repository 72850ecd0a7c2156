"""One seekdb server, behind the interface that operations use."""

from __future__ import annotations

import asyncio
from pathlib import Path

import structlog

from pyobshell import errors
from pyobshell.deadline import Deadline
from pyobshell.engines.base import Log, ObState, ServerConfig
from pyobshell.engines.local_server import LocalServer, late
from pyobshell.engines.process import ServerProcess, open_verified
from pyobshell.engines.seekdb_checks import check_start
from pyobshell.engines.seekdb_command import command_line, launch, read_version
from pyobshell.engines.seekdb_files import FirstBoot, Layout, make_directories
from pyobshell.engines.seekdb_freeze import MinorFreeze
from pyobshell.engines.seekdb_transactions import OpenTransactions
from pyobshell.engines.sql import Sql, at_socket

_log = structlog.get_logger(__name__)


class Seekdb(LocalServer):
    """A seekdb server in ``home``; ``state_dir`` is where the agent keeps its own notes on it."""

    name = "seekdb"
    cluster = None
    # Not the view of it: at its first use seekdb records a view's columns, in a DDL of its own.
    PROCESS_LIST = "__all_virtual_processlist"

    def __init__(self, home: Path, binary: Path, state_dir: Path) -> None:
        home = home.resolve()
        self._first_boot = FirstBoot(state_dir)
        self._version = ""
        sql = Sql(at_socket(home / "run/sql.sock"))
        super().__init__(home, binary, home / "log/seekdb.log", sql)

    def is_initialized(self) -> bool:
        return Layout.of(self.home).is_initialized()

    def recorded(self) -> ServerConfig | None:
        return None

    async def version(self) -> str:
        if not self._version:
            self._version = await asyncio.to_thread(read_version, self._binary)
        return self._version

    async def check_start(self, config: ServerConfig) -> None:
        layout = self._layout(config)
        process = await self.process()
        if process is None:
            await self._require_data(config, layout)
            await asyncio.to_thread(check_start, self._binary, config, layout)
        else:
            process.close()  # it runs: nothing is left to be checked

    async def deploy(self, config: ServerConfig, log: Log) -> None:
        layout = self._layout(config)
        log(f"making the directories of the server in {layout.home}")
        await asyncio.to_thread(make_directories, layout)
        await asyncio.to_thread(self._first_boot.forget)

    async def destroy(self, config: ServerConfig, log: Log) -> None:
        async with self._launching:  # a server that is being launched cannot be seen yet
            await asyncio.to_thread(self._require_no_holders, config)
            log(f"removing the server's files from {self.home}")
            await asyncio.to_thread(self._layout(config).remove_all)
            await asyncio.to_thread(self._first_boot.forget)

    # --- start -----------------------------------------------------------------------------------

    def _open(self) -> ServerProcess | None:
        return open_verified(self.home / "run/seekdb.pid", self.home, self._binary)

    async def _prepare(self, config: ServerConfig, log: Log) -> None:
        layout = self._layout(config)
        await self._require_data(config, layout)
        ruined = await asyncio.to_thread(self._first_boot.is_ruined, layout)
        if ruined and not config.has_been_up:
            log("the first boot was cut off, which leaves a useless base: removing it")
            await asyncio.to_thread(layout.remove_server_files)
        await asyncio.to_thread(check_start, self._binary, config, layout)
        if await asyncio.to_thread(layout.is_fresh):
            await asyncio.to_thread(self._first_boot.begin, layout)

    async def _require_data(self, config: ServerConfig, layout: Layout) -> None:
        known = config.has_been_up
        await asyncio.to_thread(self._first_boot.require_data, layout, has_been_up=known)

    def _command(self, config: ServerConfig) -> list[str]:
        first = not self._layout(config).is_initialized()
        return command_line(self._binary, config, self.home, first=first)

    def _launch(self, command: list[str]) -> None:
        launch(command, self.home / "run/seekdb.pid")

    async def _settle(self) -> None:
        await asyncio.to_thread(self._first_boot.end)

    # --- whether it is up ------------------------------------------------------------------------

    async def state(self) -> ObState:
        state = await super().state()
        if state is not ObState.PROCESS_NOT_RUNNING:
            await self._notice()
        return state

    async def wait_death(self) -> None:
        await self._notice()
        await super().wait_death()

    async def _notice(self) -> None:
        """Note that it is up, whoever has started it: an agent of an earlier release noted none.

        Who only looks must not fail for that: if it cannot be noted the next look tries again.
        """
        try:
            if not self._first_boot.is_over():
                await asyncio.to_thread(lambda: self._first_boot.notice(Layout.of(self.home)))
        except OSError as error:
            _log.warning("not noted that it is up", action="seekdb.notice", cause=str(error))

    # --- end -------------------------------------------------------------------------------------

    async def end_transactions(self, log: Log, deadline: Deadline) -> None:
        process = await self.process()
        if process is None:
            return
        with process:
            if not await OpenTransactions(self._sql, process, deadline).end(log):
                raise late("The roll-back of open transactions", deadline)

    # --- what it has -----------------------------------------------------------------------------

    def _data_directories(self, config: ServerConfig) -> list[Path]:
        return self._layout(config).data_directories

    def _ports(self, config: ServerConfig) -> set[int]:
        return {config.mysql_port}

    async def _freeze(self, process: ServerProcess, log: Log, deadline: Deadline) -> bool:
        return await MinorFreeze(self._sql, process, deadline).run(log)

    def _layout(self, config: ServerConfig) -> Layout:
        if config.home.resolve() != self.home:
            raise errors.ILLEGAL_ARGUMENT(name="home", reason=f"this server's home is {self.home}")
        return Layout.of(self.home, config.data_dir, config.redo_dir)
