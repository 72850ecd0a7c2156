"""Agents in processes of their own, in front of servers that are files, which die at any commit.

What an agent knows is on disk with its commits; so it is enough to kill it before and after each.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import multiprocessing
import os
import signal
from collections.abc import AsyncIterator, Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import httpx
import structlog

from pyobshell.address import Address
from pyobshell.agent import Agent
from pyobshell.cluster.model import Identity
from pyobshell.engines.base import ObState
from pyobshell.security.verify import Passwords
from pyobshell.settings import Settings
from pyobshell.store.database import Database
from support import networks
from support.agents import ROOT_PASSWORD, Hosts, a_member, a_view, free_address, remember, transport
from support.asking import Answer, Api
from support.fake_engine import FakeEngine
from support.networks import Network
from support.waiting import soon

_LONGEST_ANSWER_S = 60.0  # many agents die and start on few cores
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["pyobshell.agent", "pyobshell.engines"])


# --- in the process of an agent ------------------------------------------------------------------


class FileEngine(FakeEngine):
    """A server that runs while there is a file, also when its agent does not."""

    def __init__(self, home: Path) -> None:
        self._file = _server(home)
        super().__init__(home, running=self._file.exists())
        self.initialized = True

    def set_state(self, state: ObState) -> None:
        if state is ObState.PROCESS_NOT_RUNNING:
            self._file.unlink(missing_ok=True)
        else:
            self._file.touch()
        super().set_state(state)


def _live(settings: Settings, ready: Connection, namespace: str | None) -> None:
    if namespace is not None:
        networks.enter(namespace)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    _die_at_a_commit(settings.base_dir)
    asyncio.run(_serve(settings, ready))


async def _serve(settings: Settings, ready: Connection) -> None:
    agent = Agent(settings, lambda *_: FileEngine(settings.base_dir), find_ocs=lambda _: None)
    up = asyncio.Event()
    serving = asyncio.create_task(agent.serve(up))
    waiting = asyncio.create_task(up.wait())
    await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
    ready.send(None)
    await serving


def _die_at_a_commit(home: Path) -> None:
    """Once there is an order to die, count commits, and die before or after the one it names."""
    commit, order, count = Database._commit, _order_to_die(home), 0

    def counted(self: Database, *arguments: Any) -> Any:
        nonlocal count
        if not order.exists():
            count = 0
            return commit(self, *arguments)
        count += 1
        when, number = order.read_text().split()
        if count < int(number):
            return commit(self, *arguments)
        order.unlink()
        if when == "after":
            commit(self, *arguments)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("it is dead")

    Database._commit = counted  # type: ignore[method-assign]


def _server(home: Path) -> Path:
    return home / "server.up"


def _order_to_die(home: Path) -> Path:
    return home / "die"


# --- in the test ---------------------------------------------------------------------------------


class Mortal:
    """An agent that may die, and is started again."""

    def __init__(self, settings: Settings, namespace: str | None = None) -> None:
        self.settings = settings
        self._namespace = namespace
        self.address = settings.address
        self._process: BaseProcess | None = None
        self.api = Api(transport(settings.paths.socket), settings.address, trusted=True)
        self.api.http.timeout = _LONGEST_ANSWER_S

    @property
    def server_runs(self) -> bool:
        return _server(self.settings.base_dir).exists()

    async def start(self) -> None:
        """Start it, and return when it listens."""
        theirs, ours = _FORKS.Pipe()
        life = (self.settings, theirs, self._namespace)
        self._process = _FORKS.Process(target=_live, args=life, daemon=True)
        self._process.start()
        await _readable(ours.fileno())
        theirs.close()
        ours.close()

    def shall_die(self, when: str, commit: int) -> None:
        """Have it die ``before`` or ``after`` so many commits from now."""
        draft = self.settings.base_dir / "draft"
        draft.write_text(f"{when} {commit}")
        draft.rename(_order_to_die(self.settings.base_dir))

    def need_not_die(self) -> None:
        """Take that back."""
        _order_to_die(self.settings.base_dir).unlink(missing_ok=True)

    async def dead(self) -> None:
        """Return when it has died."""
        assert self._process is not None
        await _readable(self._process.sentinel)

    async def kill(self) -> None:
        """Kill it, if it lives."""
        assert self._process is not None
        self._process.kill()
        await soon(self.dead())

    async def ask(self, method: str, path: str, body: Any = None) -> Answer:
        """Ask; connections to its earlier life are of no use."""
        with contextlib.suppress(httpx.TransportError):
            return await self.api.ask(method, path, body)
        return await self.api.ask(method, path, body)

    async def ended(self, task_id: str) -> dict[str, Any]:
        """A task once it has ended."""
        async with asyncio.timeout(_LONGEST_ANSWER_S):
            while True:
                dag = (await self.ask("GET", f"/task/dag/{task_id}?hold_ms=20000")).data
                if dag["state"] in ("SUCCEED", "FAILED"):
                    return dict(dag)

    def signal(self, number: signal.Signals) -> None:
        """Send its process a signal."""
        assert self._process is not None
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    async def let_go(self) -> None:
        """Return when its newest part of a task has ended for good, so that it is not locked."""
        newest = (await self.ask("GET", "/task/dag/maintain/agent")).envelope.get("data")
        while newest is not None and newest["state"] != "SUCCEED":
            newest = await self.ended(newest["id"])
            if newest["state"] == "FAILED":  # until it is passed
                await asyncio.sleep(0)


async def _readable(descriptor: int) -> None:
    loop, seen = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(descriptor, seen.set)
    try:
        await seen.wait()
    finally:
        loop.remove_reader(descriptor)


@contextlib.asynccontextmanager
async def mortals(
    hosts: Hosts, count: int, network: Network | None = None, **settings: Any
) -> AsyncIterator[Sequence[Mortal]]:
    """So many members of a running cluster, one in each zone, which find each other.

    In a network each has a host of its own.
    """
    addresses = [free_address() for _ in range(count)]
    if network is not None:
        addresses = [Address(ip, 2886) for ip in network.ips]
    members = [a_member(one, hosts.keys[n], f"zone{n + 1}") for n, one in enumerate(addresses)]
    made = []
    for n, address in enumerate(addresses):
        declared = hosts.settings(address, **settings)
        hosts.prepare(declared, hosts.keys[n])
        database = Database.sqlite(declared.paths.database)
        view = a_view(address, Identity.CLUSTER_AGENT, members)
        await remember(database, declared, view, Passwords(root=ROOT_PASSWORD))
        database.close()
        _server(declared.base_dir).touch()
        made.append(Mortal(declared, network and network.namespace(n)))
    try:
        await asyncio.gather(*(one.start() for one in made))
        yield made
    finally:
        await asyncio.gather(*(one.kill() for one in made))
        await asyncio.gather(*(one.api.close() for one in made))
