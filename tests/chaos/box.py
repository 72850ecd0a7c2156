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
from pathlib import Path
from typing import TypeVar

from chaos.truth import Journal
from chaos.writer import Writer
from pyobshell.address import Address
from pyobshell.cli import agents
from pyobshell.cli.startwith import kept
from pyobshell.client import ApiError, Client, Unreachable
from pyobshell.deadline import Deadline
from standin.places import JOURNAL
from support.observer_clusters import Member, SixServers
from support.running import end_process

T = TypeVar("T")
Answers = (ApiError, Unreachable)
PACE_S = 0.2
_STARTING_S = 90.0


@dataclass
class Host:
    """An agent with its server. One thing at a time goes wrong with the agent."""

    number: int
    member: Member
    client: Client
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def is_hit(self) -> bool:
        """Whether its agent is down, or paused."""
        return self.lock.locked()

    async def kill_agent(self) -> None:
        """kill -9."""
        await asyncio.to_thread(end_process, self.member.pid())

    async def pause_agent(self, for_s: float) -> None:
        """SIGSTOP, and SIGCONT after a while."""
        with _pidfd(self.member.pid()) as pidfd:
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

    def __init__(self, cluster: SixServers) -> None:
        self.cluster = cluster
        self.hosts = [
            Host(number, one, Client(Address(one.ip, one.port), one.password))
            for number, one in enumerate(cluster.members)
        ]
        self.journal = Journal(cluster.servers.directory / JOURNAL)
        self.writer = Writer([host.member.node for host in self.hosts])
        self.kills: list[Kill] = []

    @property
    def zones(self) -> list[str]:
        """The zone of each host."""
        return [host.member.zone for host in self.hosts]

    def server(self, number: int) -> str:
        """What a host's server is called in the cluster."""
        return self.hosts[number].member.server

    @contextlib.asynccontextmanager
    async def in_use(self) -> AsyncIterator[None]:
        """While rounds are run: rows are written."""
        self.journal.news()
        await asyncio.to_thread(self.writer.start)
        try:
            yield
        finally:
            await asyncio.to_thread(self.writer.end)
            for host in self.hosts:
                await host.client.__aexit__(None, None, None)

    async def kill_server(self, number: int) -> bool:
        """kill -9; False: it is down."""
        node = self.hosts[number].member.node
        if not node.runs():
            return False
        self.kills.append(Kill(time.time(), node.address))
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
            await asyncio.to_thread(node.kill)
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
                if not host.member.agent_runs():
                    await start_agents([host])

    def sql(self, statement: str) -> tuple[tuple[object, ...], ...]:
        """Ask whichever server serves."""
        return self.cluster.sql(statement)

    def log_files(self) -> list[Path]:
        """The logs of the agents."""
        return [host.member.base_dir / "log_obshell/obshell.log" for host in self.hosts]


async def start_agents(hosts: Sequence[Host]) -> None:
    """As a service manager does, all at once; they are started with what they were started with."""
    homes = [host.member.base_dir for host in hosts]
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
