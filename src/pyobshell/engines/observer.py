"""One server of a distributed cluster, behind the interface that operations use."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pyobshell import errors
from pyobshell.address import Address
from pyobshell.deadline import Deadline
from pyobshell.engines.base import Log, ServerConfig
from pyobshell.engines.checks import check_port, check_program, check_writable
from pyobshell.engines.local_server import LocalServer
from pyobshell.engines.ob_cluster import ObCluster
from pyobshell.engines.observer_command import command_line, launch, read_version
from pyobshell.engines.observer_files import ObserverFiles
from pyobshell.engines.observer_freeze import MinorFreeze
from pyobshell.engines.observer_process import open_observer
from pyobshell.engines.process import ServerProcess
from pyobshell.engines.sql import Sql


class Observer(LocalServer):
    """An ``observer`` in ``home``; after its first start it knows its options itself."""

    name = "oceanbase"

    def __init__(self, home: Path, binary: Path | None) -> None:
        home = home.resolve()
        self._deployed = ObserverFiles.of(home)
        self._version = ""
        sql = Sql(self._loopback)
        self._cluster = ObCluster(sql)
        program = binary.absolute() if binary else home / "bin/observer"
        super().__init__(home, program, self._deployed.log, sql)

    @property
    def cluster(self) -> ObCluster | None:
        return self._cluster

    def is_initialized(self) -> bool:
        return self._deployed.config_file.exists()

    def recorded(self) -> ServerConfig | None:
        stored = self._deployed.stored()
        if not stored:
            return None
        return ServerConfig(
            home=self.home,
            mysql_port=int(stored["mysql_port"]),
            rpc_port=int(stored["rpc_port"]),
            ip=stored["local_ip"],
            zone=stored["zone"],
            cluster=stored.get("cluster", ""),
            cluster_id=int(stored.get("cluster_id", 0)),
        )

    async def version(self) -> str:
        if not self._version:
            self._version = await asyncio.to_thread(read_version, self._binary, self.home)
        return self._version

    async def check_start(self, config: ServerConfig) -> None:
        self._files(config)
        process = await self.process()
        if process is None:
            await asyncio.to_thread(self._check, config)
        else:
            process.close()  # it runs: nothing is left to be checked

    def _check(self, config: ServerConfig) -> None:
        check_program(self._binary)
        for port in self._ports(config):
            check_port(port)
        files = self._files(config)
        for directory in {files.home, files.data, files.redo}:
            check_writable(directory)

    async def deploy(self, config: ServerConfig, log: Log) -> None:
        log(f"making the directories of the server in {self.home}")
        await asyncio.to_thread(self._files(config).make)

    async def destroy(self, config: ServerConfig, log: Log) -> None:
        process = await self.process()
        if process is not None:
            process.close()
            raise errors.SERVER_PROCESS_CHECK_FAILED(reason=f"a server runs in {self.home}")
        await asyncio.to_thread(self._require_no_holders, config)
        log(f"removing the server's files from {self.home}")
        await asyncio.to_thread(self._files(config).remove)

    # --- start -----------------------------------------------------------------------------------

    def _open(self) -> ServerProcess | None:
        return open_observer(self._deployed.pid_file, self.home, self._binary)

    async def _prepare(self, config: ServerConfig, log: Log) -> None:
        await asyncio.to_thread(self._check, config)

    def _command(self, config: ServerConfig) -> list[str]:
        return command_line(self._binary, config, self._files(config))

    def _launch(self, command: list[str]) -> None:
        launch(command, self.home, self._is_seen)

    async def _settle(self) -> None:
        return

    def _is_seen(self) -> bool:
        process = self._open()
        if process is None:
            return False
        process.close()
        return True

    # --- what it has -----------------------------------------------------------------------------

    def _data_directories(self, config: ServerConfig) -> list[Path]:
        return self._files(config).data_directories

    def _ports(self, config: ServerConfig) -> set[int]:
        stored = self._stored_ports()
        given = {config.mysql_port} | ({config.rpc_port} if config.rpc_port else set())
        return set(stored.values()) or given

    async def _freeze(self, process: ServerProcess, log: Log, deadline: Deadline) -> bool:
        return await MinorFreeze(self._cluster, self._name(), process, deadline).run(log)

    async def _session_ids(self, deadline: Deadline) -> set[int]:
        return await self._cluster.session_ids(self._name(), deadline)

    def _name(self) -> Address:
        """What the cluster calls this server."""
        return Address(self._deployed.stored()["local_ip"], self._stored_ports()["rpc_port"])

    def _files(self, config: ServerConfig) -> ObserverFiles:
        if config.home.resolve() != self.home:
            raise errors.ILLEGAL_ARGUMENT(name="home", reason=f"this server's home is {self.home}")
        return ObserverFiles.of(self.home, None if self.is_initialized() else config)

    def _stored_ports(self) -> dict[str, int]:
        stored = self._deployed.stored()
        return {name: int(stored[name]) for name in ("mysql_port", "rpc_port") if name in stored}

    @contextmanager
    def _loopback(self) -> Iterator[dict[str, Any]]:
        """Its SQL is asked for on this machine, wherever else it listens."""
        port = self._stored_ports().get("mysql_port")
        if port is None:
            raise errors.SERVER_UNAVAILABLE(reason=f"no server has been started in {self.home}")
        ipv6 = ":" in self._deployed.stored().get("local_ip", "")
        yield {"host": "::1" if ipv6 else "127.0.0.1", "port": port}
