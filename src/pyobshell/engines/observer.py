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
from pyobshell.engines.local_server import LocalServer
from pyobshell.engines.note import Note
from pyobshell.engines.ob_cluster import ObCluster
from pyobshell.engines.observer_checks import check_start
from pyobshell.engines.observer_command import command_line, launch, read_version
from pyobshell.engines.observer_files import ObserverFiles
from pyobshell.engines.observer_freeze import MinorFreeze
from pyobshell.engines.observer_process import open_observer
from pyobshell.engines.occupied import listening_ports
from pyobshell.engines.process import ServerProcess
from pyobshell.engines.sql import Sql

_DEFAULT_PORTS = {"mysql_port": 2881, "rpc_port": 2882}


class Observer(LocalServer):
    """An ``observer`` in ``home``; after its first start it knows its options itself.

    ``state_dir`` is where the agent keeps its own notes on it. A first start that was cut off
    leaves a record of options and no data; the note tells it from a server that lost its data.
    """

    name = "oceanbase"
    PROCESS_LIST = "V$OB_PROCESSLIST"

    def __init__(self, home: Path, binary: Path | None, state_dir: Path) -> None:
        home = home.resolve()
        text = "The first start of the server was begun and has not been seen to end.\n"
        self._first_start = Note(state_dir / "first-start", text)
        self._listener: tuple[int, float] | None = None
        self._version = ""
        sql = Sql(self._loopback)
        self._cluster = ObCluster(sql)
        program = binary.absolute() if binary else home / "bin/observer"
        super().__init__(home, program, ObserverFiles.of(home).log, sql)

    @property
    def cluster(self) -> ObCluster | None:
        return self._cluster

    def is_initialized(self) -> bool:
        return self._deployed.config_file.exists()

    def recorded(self) -> ServerConfig | None:
        stored = self._deployed.stored()
        if not stored:
            return None
        ports = self._stored_ports()
        try:
            return ServerConfig(
                home=self.home,
                mysql_port=ports["mysql_port"],
                rpc_port=ports["rpc_port"],
                ip=Address.of(stored["local_ip"], ports["rpc_port"]).ip,
                zone=stored["zone"],
                cluster=stored.get("cluster", ""),
                cluster_id=int(stored.get("cluster_id") or 0),
            )
        except (KeyError, ValueError) as error:
            raise self._not_understood(str(error)) from None

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
        first = self._starts_first(config)
        check_start(self._binary, config, self._files(config), self._ports(config), first=first)

    def _starts_first(self, config: ServerConfig) -> bool:
        """Whether it has no data yet: it was never started, or that was cut off."""
        if not self.is_initialized():
            return True
        return self._first_start.is_there() and not self._files(config).block_file.exists()

    async def deploy(self, config: ServerConfig, log: Log) -> None:
        log(f"making the directories of the server in {self.home}")
        await asyncio.to_thread(self._files(config).make)

    async def destroy(self, config: ServerConfig, log: Log) -> None:
        async with self._launching:  # a server that is being launched cannot be seen yet
            process = await self.process()
            if process is not None:
                process.close()
                raise errors.SERVER_PROCESS_CHECK_FAILED(reason=f"a server runs in {self.home}")
            await asyncio.to_thread(self._require_no_holders, config)
            log(f"removing the server's files from {self.home}")
            await asyncio.to_thread(self._files(config).remove)
            await asyncio.to_thread(self._first_start.remove)

    # --- start -----------------------------------------------------------------------------------

    def _open(self) -> ServerProcess | None:
        return open_observer(self.home / "run/observer.pid", self.home, self._binary)

    async def _prepare(self, config: ServerConfig, log: Log) -> None:
        await asyncio.to_thread(self._check, config)
        if self._starts_first(config):
            await asyncio.to_thread(self._first_start.make)

    def _command(self, config: ServerConfig) -> list[str]:
        first = self._starts_first(config)
        return command_line(self._binary, config, self._files(config), first=first)

    def _launch(self, command: list[str]) -> None:
        launch(command, self.home, self._is_seen)

    def _has_data(self) -> bool:
        return self._deployed.block_file.exists()

    async def _settle(self) -> None:
        await asyncio.to_thread(self._first_start.remove)

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
        if self.is_initialized():
            return set(self._stored_ports().values())
        return {config.mysql_port} | ({config.rpc_port} if config.rpc_port else set())

    async def end_transactions(self, log: Log, deadline: Deadline) -> None:
        """Nothing: it undoes at its start what was open at its end."""

    async def _freeze(self, process: ServerProcess, log: Log, deadline: Deadline) -> bool:
        return await MinorFreeze(self._cluster, self._name(), process, deadline).run(log)

    async def _session_ids(self, deadline: Deadline) -> set[int]:
        return await self._cluster.session_ids(self._name(), deadline)

    def _name(self) -> Address:
        """What the cluster calls this server."""
        record = self.recorded()
        if record is None or record.rpc_port is None:
            raise self._not_understood("it is empty")
        return Address(record.ip, record.rpc_port)

    @property
    def _deployed(self) -> ObserverFiles:
        """The files of the server as it was deployed."""
        return ObserverFiles.of(self.home)

    def _files(self, config: ServerConfig) -> ObserverFiles:
        if config.home.resolve() != self.home:
            raise errors.ILLEGAL_ARGUMENT(name="home", reason=f"this server's home is {self.home}")
        return ObserverFiles.of(self.home, None if self.is_initialized() else config)

    def _stored_ports(self) -> dict[str, int]:
        """The ports that it has recorded; what is not in its record is as by default."""
        stored = self._deployed.stored()
        try:
            return {name: int(stored.get(name, port)) for name, port in _DEFAULT_PORTS.items()}
        except ValueError as error:
            raise self._not_understood(str(error)) from None

    def _not_understood(self, why: str) -> errors.OBShellError:
        file = self._deployed.config_file
        return errors.SERVER_UNAVAILABLE(reason=f"{file} is not understood: {why}")

    # --- the way to its SQL ----------------------------------------------------------------------

    @contextmanager
    def _loopback(self) -> Iterator[dict[str, Any]]:
        """Its SQL is asked for on this machine, wherever else it listens; and only if it is itself
        that listens.
        """
        stored = self._deployed.stored()
        port = self._stored_ports()["mysql_port"]
        self._require_listener(port)
        ipv6 = ":" in stored.get("local_ip", "")
        yield {"host": "::1" if ipv6 else "127.0.0.1", "port": port}

    def _require_listener(self, port: int) -> None:
        """Raise if its process does not listen on the port: a password is not for others' ears.

        One that does goes on doing so as long as it lives, and is not looked at again.
        """
        process = self._open()
        if process is None:
            raise errors.SERVER_UNAVAILABLE(reason=f"no server runs in {self.home}")
        with process:
            identity = process.pid, process.started
            if identity == self._listener:
                return
            if port not in listening_ports(process.pid):
                raise errors.SERVER_UNAVAILABLE(
                    reason=f"process {process.pid} does not listen on port {port}"
                )
            self._listener = identity
