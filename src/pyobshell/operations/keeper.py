"""Keeps the server beside this agent in the state that was asked for, also across crashes."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import structlog
from pydantic import BaseModel

from pyobshell import errors
from pyobshell.cluster.model import Identity
from pyobshell.cluster.state import ClusterState
from pyobshell.deadline import Deadline
from pyobshell.engines.base import Engine, Log, ObState, ServerConfig

_log = structlog.get_logger(__name__)
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 60.0
_STEADY_S = 60.0


class ServerSettings(BaseModel):
    """How the server is deployed and started, as it travels between agents and lies on disk.

    ``password_set``: root has got the password of the cluster that is being made.
    """

    mysql_port: int
    rpc_port: int
    data_dir: str | None = None
    redo_dir: str | None = None
    log_level: str | None = None
    zone: str = ""
    cluster: str = ""
    cluster_id: int = 0
    parameters: dict[str, str] = {}
    password_set: bool = False

    def config(self, home: Path, ip: str) -> ServerConfig:
        """The engine's form of it, for a server reached at that ip."""
        return ServerConfig(
            home=home,
            mysql_port=self.mysql_port,
            rpc_port=self.rpc_port,
            data_dir=Path(self.data_dir) if self.data_dir else None,
            redo_dir=Path(self.redo_dir) if self.redo_dir else None,
            log_level=self.log_level,
            ip=ip,
            zone=self.zone,
            cluster=self.cluster,
            cluster_id=self.cluster_id,
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
        return self._settings.config(self._engine.home, self._cluster.view.own.ip)

    @property
    def _settings(self) -> ServerSettings:
        text = self._cluster.server_settings
        if text is None:
            raise errors.CLUSTER_NOT_INITIALIZED()
        return ServerSettings.model_validate_json(text)

    @property
    def deployed(self) -> bool:
        """Whether a server was deployed here."""
        return self._cluster.server_settings is not None

    @property
    def has_password(self) -> bool:
        """Whether root has the cluster's password on the server here, or still none."""
        unborn = self._cluster.view.identity in (Identity.MASTER, Identity.FOLLOWER)
        return self.deployed and (self._settings.password_set or not unborn)

    async def note_password(self) -> None:
        """Record that root has got its password."""
        changed = self._settings.model_copy(update={"password_set": True})
        await self._cluster.remember_server(changed.model_dump_json())

    async def deploy(self, settings: ServerSettings, log: Log) -> None:
        """Make the server's directories, and remember how it is to be started."""
        config = settings.config(self._engine.home, self._cluster.view.own.ip)
        await self._engine.check_start(config)
        await self._engine.deploy(config, log)
        await self._cluster.remember_server(settings.model_dump_json())

    async def start(self, log: Log, deadline: Deadline) -> None:
        """Start the server unless it runs; returns when it accepts SQL."""
        await self._leave_alone()
        wanted = self._cluster.server_wanted
        await self._cluster.want_server(True)
        try:
            await self._engine.start(self.config, log, deadline)
        except BaseException:
            await self._cluster.want_server(wanted)
            raise
        finally:
            await self.resume()

    async def kill(self, log: Log, deadline: Deadline) -> None:
        """End the server at once; it stays down until a start is asked for."""
        await self._stop(self._engine.kill, log, deadline)

    async def terminate(self, log: Log, deadline: Deadline) -> None:
        """End the server with SIGTERM; if it does not end in time it goes on as before."""
        await self._stop(self._engine.terminate, log, deadline)

    async def give_up(self) -> None:
        """Neither start the server again nor end it."""
        await self._leave_alone()
        await self._cluster.want_server(False)

    async def resume(self) -> None:
        """If the server shall run, restart it whenever it dies, until somebody stops it."""
        if self._cluster.server_wanted and (self._watcher is None or self._watcher.done()):
            # In a context of its own: a restart is not part of the request that began the watch.
            self._watcher = asyncio.create_task(
                self._keep_running(), name="server keeper", context=contextvars.Context()
            )

    async def close(self) -> None:
        """Leave the server as it is."""
        await self._leave_alone()

    async def _stop(
        self,
        end: Callable[[ServerConfig, Log, Deadline], Awaitable[None]],
        log: Log,
        deadline: Deadline,
    ) -> None:
        await self._leave_alone()
        wanted = self._cluster.server_wanted
        await self._cluster.want_server(False)
        try:
            await end(self.config, log, deadline)
        except BaseException:
            if await self._engine.state() is not ObState.PROCESS_NOT_RUNNING:
                await self._cluster.want_server(wanted)
                await self.resume()
            raise

    async def _leave_alone(self) -> None:
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.wait([self._watcher])
            self._watcher = None

    async def _keep_running(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while True:
            watched_since = time.monotonic()
            try:
                await self._engine.wait_death()
                if time.monotonic() - watched_since > _STEADY_S:
                    pause_s = _FIRST_PAUSE_S
                _log.warning("the server is down, starting it", action="server.restart")
                deadline = Deadline.after(self._start_timeout_s)
                await self._engine.start(self.config, _log_line, deadline)
            except (errors.OBShellError, OSError) as error:
                _log.error("restart failed", action="server.restart.failed", cause=str(error))
            await asyncio.sleep(pause_s)  # the clock is meant: do not hammer what dies at once
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


def _log_line(line: str, **more: Any) -> None:
    _log.info(line, action="server.start", **more)
