"""Keeps the server beside this agent in the state that was asked for, also across crashes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import structlog
from pydantic import BaseModel

from pyobshell import errors
from pyobshell.cluster.state import ClusterState
from pyobshell.deadline import Deadline
from pyobshell.engines.base import Engine, Log, ServerConfig

_log = structlog.get_logger(__name__)
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0


class ServerSettings(BaseModel):
    """How the server is deployed and started, as it travels between agents and lies on disk."""

    mysql_port: int
    rpc_port: int
    data_dir: str | None = None
    redo_dir: str | None = None
    log_level: str | None = None
    parameters: dict[str, str] = {}

    def config(self, home: Path, ipv6: bool) -> ServerConfig:
        """The engine's form of it."""
        return ServerConfig(
            home=home,
            mysql_port=self.mysql_port,
            rpc_port=self.rpc_port,
            data_dir=Path(self.data_dir) if self.data_dir else None,
            redo_dir=Path(self.redo_dir) if self.redo_dir else None,
            log_level=self.log_level,
            ipv6=ipv6,
            parameters=self.parameters,
        )


class ServerKeeper:
    """Starts and stops the server, and restarts it when it dies unasked."""

    def __init__(self, engine: Engine, cluster: ClusterState, start_timeout_s: float) -> None:
        self._engine = engine
        self._cluster = cluster
        self._start_timeout_s = start_timeout_s
        self._watcher: asyncio.Task[None] | None = None

    @property
    def config(self) -> ServerConfig:
        """How the server was deployed; raises ``OB.Cluster.NotInitialized`` if it was not."""
        text = self._cluster.server_settings
        if text is None:
            raise errors.CLUSTER_NOT_INITIALIZED()
        ipv6 = ":" in self._cluster.view.own.ip
        return ServerSettings.model_validate_json(text).config(self._engine.home, ipv6)

    @property
    def deployed(self) -> bool:
        """Whether a server was deployed here."""
        return self._cluster.server_settings is not None

    async def deploy(self, settings: ServerSettings, log: Log) -> None:
        """Make the server's directories, and remember how it is to be started."""
        ipv6 = ":" in self._cluster.view.own.ip
        config = settings.config(self._engine.home, ipv6)
        await self._engine.check_start(config)
        await self._engine.deploy(config, log)
        await self._cluster.remember_server(settings.model_dump_json())

    async def start(self, log: Log, deadline: Deadline) -> None:
        """Start the server unless it runs; returns when it accepts SQL."""
        await self._leave_alone()
        await self._cluster.want_server(True)
        try:
            await self._engine.start(self.config, log, deadline)
        finally:
            self.watch()

    async def kill(self, log: Log, deadline: Deadline) -> None:
        """End the server at once; it stays down until a start is asked for."""
        await self._stop(self._engine.kill, log, deadline)

    async def terminate(self, log: Log, deadline: Deadline) -> None:
        """End the server with SIGTERM; if it does not end in time it goes on as before."""
        await self._stop(self._engine.terminate, log, deadline)

    async def resume(self) -> None:
        """At the agent's start: have the server run if it shall, in the background."""
        if self._cluster.server_wanted:
            self.watch()

    def watch(self) -> None:
        """Restart the server whenever it dies, until somebody stops it."""
        if self._watcher is None or self._watcher.done():
            self._watcher = asyncio.create_task(self._keep_running(), name="server keeper")

    async def close(self) -> None:
        """Leave the server as it is."""
        await self._leave_alone()

    async def _stop(
        self, end: Callable[[Log, Deadline], Awaitable[None]], log: Log, deadline: Deadline
    ) -> None:
        await self._leave_alone()
        wanted = self._cluster.server_wanted
        await self._cluster.want_server(False)
        try:
            await end(log, deadline)
        except BaseException:
            process = await self._engine.process()
            if process is not None:
                process.close()
                await self._cluster.want_server(wanted)
                if wanted:
                    self.watch()
            raise

    async def _leave_alone(self) -> None:
        if self._watcher is not None:
            self._watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watcher
            self._watcher = None

    async def _keep_running(self) -> None:
        pause = _FIRST_PAUSE_S
        while True:
            await self._engine.wait_death()
            _log.warning("the server is down, starting it", action="server.restart")
            try:
                await self._engine.start(
                    self.config, _log_line, Deadline.after(self._start_timeout_s)
                )
                pause = _FIRST_PAUSE_S
            except (errors.OBShellError, OSError) as error:
                _log.error("restart failed", action="server.restart.failed", cause=str(error))
                await asyncio.sleep(pause)  # the clock itself is meant: do not hammer a sick host
                pause = min(2 * pause, _LONGEST_PAUSE_S)


def _log_line(line: str, **more: Any) -> None:
    _log.info(line, action="server.start", **more)
