"""The daemon: its two ports, its place in a cluster, and its end."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Coroutine
from datetime import UTC, datetime
from pathlib import Path

from standin import rpc
from standin.cluster import join_address
from standin.command_line import BUILD_VERSION
from standin.daemon import Report
from standin.errors import initialized_twice
from standin.faults import FaultFile
from standin.files import Home
from standin.front import Front
from standin.link import Link

_BACKLOG = 128
_DIRECTORY = "STANDIN_DIR"


class Server:
    """One observer, as others see it."""

    def __init__(self, home: Home, config: dict[str, str]) -> None:
        self.ip = config["local_ip"]
        self.rpc_port = int(config["rpc_port"])
        self.faults = FaultFile(home.faults_file)
        self._home = home
        self._config = config
        self._link: Link | None = None
        self._member = "standin_member" in config
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def link(self) -> Link | None:
        """The connection to the cluster, once this server belongs to one."""
        return self._link if self._member else None

    def log(self, text: str) -> None:
        """Write a line to observer.log."""
        now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
        print(f"[{now}] INFO  [SERVER] {text}", file=sys.stderr, flush=True)

    async def run(self, report: Report) -> None:
        """Serve for ever; ``report`` is called once both ports are open."""
        any_address = "::" if self._config.get("ipv6") else "0.0.0.0"
        data = self._home.open_data_file(self._config["data_dir"])
        sql = await asyncio.start_server(
            self._serve_sql, any_address, int(self._config["mysql_port"]), backlog=_BACKLOG
        )
        other = await asyncio.start_server(
            self._serve_rpc, any_address, self.rpc_port, backlog=_BACKLOG
        )
        self._home.write_config(self._config)
        self._on_signal()
        if self._member:
            self._connect(self._config["standin_dir"])
        self.log("observer start success")
        report("")
        async with sql, other:
            await asyncio.Event().wait()
        os.close(data)

    async def bootstrap(self, text: str) -> None:
        """Carry out BOOTSTRAP; raises SqlError."""
        if self._member:
            raise initialized_twice()
        self._connect(str(self._directory()), clear=True)
        assert self._link is not None
        await self._link.connected()
        await self._link.ask({"do": "statement", "text": text})
        await self._link.until(lambda state: state.serving)

    def _directory(self) -> Path:
        given = self._config.get("standin_dir") or os.environ.get(_DIRECTORY)
        shared = self._home.path.parent / f"standin-cluster-{self._config['cluster_id']}"
        return self._home.path / given if given else shared

    def _connect(self, directory: str, *, clear: bool = False) -> None:
        if self._link is not None:
            return
        address = join_address(self.ip, self.rpc_port)
        self._link = Link(Path(directory), address, self._config)
        if clear:
            self._link.clear_remains()
        self._keep(self._link.run(self.log))

    def _keep(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve_sql(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await Front(self, reader, writer).serve()

    async def _serve_rpc(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        question = await rpc.receive(reader)
        if question is not None and question.get("do") == "join":
            self._config |= question["config"] | {"standin_member": "yes"}
            self._home.write_config(self._config)
            self._member = True
            self._connect(self._config["standin_dir"])
        if question is not None:
            rpc.send(
                writer,
                {
                    "zone": self._config["zone"],
                    "sql_port": self._config["mysql_port"],
                    "build": BUILD_VERSION,
                    "empty": "no" if self._member else "yes",
                },
            )
        writer.close()

    def _on_signal(self) -> None:
        def end() -> None:
            if not self.faults.now().ignore_sigterm:
                self.log("observer exits")
                os._exit(0)

        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, end)
