"""Engines of observers, each with its configuration and what it has logged."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pyobshell.deadline import Deadline
from pyobshell.engines import ServerConfig
from pyobshell.engines.observer import Observer
from standin.control import OBSERVER, Faults
from support.standin_clusters import PATIENCE_S, Node


@dataclass
class ObserverServer:
    """One server, run by its engine as an agent does."""

    engine: Observer
    config: ServerConfig
    lines: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, node: Node, **config: object) -> ObserverServer:
        """The engine of a stand-in, deployed or not."""
        engine = Observer(node.home, OBSERVER, node.home / ".obshell")
        engine.use_password(node.password)
        made = ServerConfig(
            node.home,
            node.sql_port,
            node.rpc_port,
            ip=node.ip,
            zone=node.zone,
            cluster="a cluster",
            cluster_id=node.cluster_id,
            **config,
        )
        return cls(engine, made)

    @property
    def home(self) -> Path:
        return self.engine.home

    @property
    def faults(self) -> Faults:
        return Faults(self.home)

    async def first_start(self) -> int:
        """Deploy and start it; returns its pid."""
        await self.engine.check_start(self.config)
        await self.engine.deploy(self.config, self.lines.append)
        return await self.start()

    async def start(self) -> int:
        """Start it and return its pid."""
        await self.engine.start(self.config, self.lines.append, in_time())
        return await self.pid()

    async def kill(self) -> None:
        await self.engine.kill(self.config, self.lines.append, in_time())

    async def pid(self) -> int:
        with await self.engine.process() as process:
            return process.pid


def in_time() -> Deadline:
    """A deadline that only a fault reaches."""
    return Deadline.after(PATIENCE_S)
