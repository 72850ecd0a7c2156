"""The cluster that chaos is done to: its agents and servers, killed, stopped and started again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from chaos.cluster import Cluster, Place
from chaos.plans import Scene
from pyobshell.address import Address
from pyobshell.cli import agents
from pyobshell.cli.startwith import kept
from pyobshell.client import ApiError, Client, Unreachable
from pyobshell.deadline import Deadline
from support.running import end_process

T = TypeVar("T")
Answers = (ApiError, Unreachable)
PACE_S = 0.2
_STARTING_S = 90.0


@dataclass
class Host:
    """An agent with its server. One thing at a time goes wrong with the agent."""

    number: int
    place: Place
    client: Client
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def is_hit(self) -> bool:
        """Whether its agent is down, or paused."""
        return self.lock.locked()

    @property
    def server_runs(self) -> bool:
        """Whether the server beside it lives."""
        return self.place.server.runs()

    @property
    def server_serves(self) -> bool:
        """Whether the server takes statements."""
        return self.server_runs and self.place.server.serves()

    def kill_agent(self) -> None:
        """kill -9; it may take a moment to end."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.place.agent.pid(), signal.SIGKILL)

    async def agent_ended(self) -> None:
        """Return once the agent that was killed has ended."""
        await asyncio.to_thread(end_process, self.place.agent.pid())

    async def pause_agent(self, for_s: float) -> None:
        """SIGSTOP, and SIGCONT after a while."""
        with _pidfd(self.place.agent.pid()) as pidfd:
            signal.pidfd_send_signal(pidfd, signal.SIGSTOP)
            try:
                await asyncio.sleep(for_s)  # this long: that is the fault
            finally:
                signal.pidfd_send_signal(pidfd, signal.SIGCONT)


@dataclass(frozen=True)
class Kill:
    """A server that was killed by us, when (seconds since 1970)."""

    at: float
    server: str


class Box:
    """All hosts, what writes to their cluster, and what was done to them."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.hosts = [
            Host(number, one, Client(Address(one.agent.ip, one.agent.port), one.password))
            for number, one in enumerate(cluster.places)
        ]
        self.kills: list[Kill] = []

    @property
    def scene(self) -> Scene:
        """The members, as plans see them."""
        return self.cluster.scene

    @property
    def rows(self) -> int:
        """How many rows were written."""
        return sum(writer.count for writer in self.cluster.writers)

    def server(self, number: int) -> str:
        """What a host's server is called in the cluster."""
        return self.hosts[number].place.server.address

    def process_ids(self) -> list[int | None]:
        """The processes of the servers, where they run."""
        return [host.place.agent.server_pid() for host in self.hosts]

    @contextlib.asynccontextmanager
    async def in_use(self) -> AsyncIterator[None]:
        """While rounds are run: rows are written."""
        if self.cluster.journal is not None:
            self.cluster.journal.news()
        await asyncio.to_thread(self.cluster.make_tables)
        for writer in self.cluster.writers:
            writer.start()
        try:
            yield
        finally:
            for writer in self.cluster.writers:
                await asyncio.to_thread(writer.end)
            await asyncio.to_thread(self.cluster.remove_tables)
            for host in self.hosts:
                await host.client.__aexit__(None, None, None)

    async def kill_server(self, number: int) -> bool:
        """kill -9; False: it is down."""
        server = self.hosts[number].place.server
        if not server.runs():
            return False
        self.kills.append(Kill(time.time(), server.address))
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
            await asyncio.to_thread(server.kill)
        return True

    async def ask(self, question: Callable[[Client], Awaitable[T]], patience_s: float = 60.0) -> T:
        """What an agent that is up answers; asks others, again and again, while there is none."""
        end = time.monotonic() + patience_s
        while True:
            up = [host for host in self.hosts if not host.is_hit]
            try:
                return await question(random.choice(up or self.hosts).client)
            except Answers:
                if time.monotonic() > end:
                    raise
            await asyncio.sleep(PACE_S)

    async def all_back(self) -> None:
        """Return once nothing goes wrong with any agent any more."""
        for host in self.hosts:
            async with host.lock:
                if not host.place.agent.agent_runs():
                    await start_agents([host])


async def start_agents(hosts: Sequence[Host]) -> None:
    """As a service manager does, all at once; they are started with what they were started with."""
    homes = [host.place.agent.base_dir for host in hosts]
    deadline = Deadline.after(_STARTING_S)
    launches = await asyncio.to_thread(
        agents.launch, [kept(home) | {"base_dir": str(home)} for home in homes]
    )
    await asyncio.gather(*(asyncio.to_thread(one.wait, deadline) for one in launches))


@contextlib.contextmanager
def _pidfd(pid: int) -> Iterator[int]:
    pidfd = os.pidfd_open(pid)
    try:
        yield pidfd
    finally:
        os.close(pidfd)
