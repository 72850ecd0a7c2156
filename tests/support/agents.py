"""Agents in this process, of any identity and with any members, in front of fake servers."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import shutil
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from pyobshell.address import Address
from pyobshell.agent import Agent
from pyobshell.cluster.model import ClusterView, Identity, Member
from pyobshell.cluster.state import ClusterState
from pyobshell.operations.keeper import ServerSettings
from pyobshell.operations.site import Site
from pyobshell.security.keys import PrivateKey
from pyobshell.security.vault import Vault
from pyobshell.security.verify import Passwords
from pyobshell.settings import API_VERSION, Settings, architecture
from pyobshell.store.database import Database
from support.asking import Api
from support.fake_engine import VERSION, FakeEngine
from support.waiting import soon

ROOT_PASSWORD = 'root\'s "password" 密码'
SERVER = ServerSettings(mysql_port=2881, rpc_port=2882)
_numbers = itertools.count(1)


def free_address() -> Address:
    """An address of the loopback network that nothing else uses: its ip is this process's own."""
    number, pid = next(_numbers), os.getpid()
    ip = f"127.{128 + (pid >> 8) % 127}.{pid % 256}.{number % 254 + 1}"
    with socket.socket() as probe:
        probe.bind((ip, 0))
        return Address(ip, probe.getsockname()[1])


class Keys:
    """Private keys, made once for the whole run: making one takes long."""

    def __init__(self) -> None:
        self._made: list[PrivateKey] = []

    def __getitem__(self, number: int) -> PrivateKey:
        while len(self._made) <= number:
            self._made.append(PrivateKey.generate())
        return self._made[number]


def a_member(
    address: Address, key: PrivateKey, zone: str, identity: Identity = Identity.CLUSTER_AGENT
) -> Member:
    """A member of a cluster."""
    return Member(
        ip=address.ip,
        port=address.port,
        identity=identity,
        zone=zone,
        version=API_VERSION,
        server_version=VERSION,
        public_key=key.public_text,
        mysql_port=2881,
        rpc_port=2882,
        home_path=f"/home/{address.port}",
        architecture=architecture(),
    )


def a_view(own: Address, identity: Identity, members: Sequence[Member]) -> ClusterView:
    """What an agent of that identity knows of its cluster."""
    return ClusterView(
        own=own, identity=identity, cluster_id=7, cluster_name="test", members=tuple(members)
    )


@dataclass
class Host:
    """An agent, its server, and the doors to it.

    ``api`` comes over the network and has to authenticate, ``local`` over the agent's own socket.
    ``site`` is there only if the agent runs without sockets.
    """

    address: Address
    key: PrivateKey
    agent: Agent
    engine: FakeEngine
    api: Api
    local: Api
    _site: Site | None = None

    @property
    def site(self) -> Site:
        assert self._site is not None
        return self._site


class Hosts:
    """Makes agents below a directory, with keys that are made already."""

    def __init__(self, directory: Path, empty_database: Path, keys: Keys) -> None:
        self._directory = directory
        self._empty_database = empty_database
        self.keys = keys

    def settings(self, address: Address, **more: Any) -> Settings:
        """Settings that wait for nothing longer than a test does."""
        home = self._directory / f"{address.ip}-{address.port}"
        defaults = {"dag_hold_ms": 0, "lost_agent_s": 0.2, "retry_s": 0.2, "engine": "fake"}
        return Settings(ip=address.ip, port=address.port, base_dir=home, **{**defaults, **more})

    def prepare(self, settings: Settings, key: PrivateKey) -> None:
        """Give an agent's home its key and an empty database."""
        state_dir = settings.paths.state_dir
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not settings.paths.database.exists():
            settings.paths.private_key.write_text(key.to_pem())
            shutil.copy(self._empty_database, settings.paths.database)

    @contextlib.asynccontextmanager
    async def in_process(
        self,
        identity: Identity,
        members: Sequence[Member] = (),
        *,
        address: Address | None = None,
        passwords: Passwords = Passwords(),  # noqa: B008 (frozen)
        running: bool = True,
        cluster: Any = None,
        **settings: Any,
    ) -> AsyncIterator[Host]:
        """An agent without sockets, with these members; it uses the first of the keys.

        A member's agent has a server that was deployed, and runs unless told otherwise; it is one
        of ``cluster``, if any.
        """
        own = address or free_address()
        declared = self.settings(own, **settings)
        self.prepare(declared, self.keys[0])
        engines: list[FakeEngine] = []

        def make_engine(_name: str, home: Path, *_: object) -> FakeEngine:
            engines.append(FakeEngine(home, running=running and identity is _MEMBER))
            engines[0].cluster = cluster
            return engines[0]

        agent = Agent(declared, make_engine, find_ocs=lambda _: None)
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(agent._crypto.close)
            database = Database.sqlite(declared.paths.database)
            stack.callback(database.close)
            await remember(database, declared, a_view(own, identity, members), passwords)
            site = await agent._assemble(database)
            stack.push_async_callback(site.peers.close)
            stack.push_async_callback(site.keeper.close)
            stack.push_async_callback(site.tasks.stop)
            stack.push_async_callback(site.background.abandon)
            (engine,) = engines
            engine.password = passwords.root or ""
            await site.tasks.start()
            doors = []
            for trusted in (False, True):
                app = agent._config(site, trusted=trusted).app
                doors.append(Api(httpx.ASGITransport(app), own, trusted))
                stack.push_async_callback(doors[-1].close)
            yield Host(own, self.keys[0], agent, engine, *doors, site)

    @contextlib.asynccontextmanager
    async def serving(
        self,
        count: int,
        identities: Sequence[Identity] = (),
        passwords: Passwords = Passwords(),  # noqa: B008 (frozen)
        own: Callable[[Address], dict[str, Any]] = lambda _: {},
        **settings: Any,
    ) -> AsyncIterator[list[Host]]:
        """So many agents that listen on loopback addresses and know each other as members.

        Without identities they are members of a running cluster, one in each zone. ``own`` are
        settings of the agent at an address.
        """
        identities = identities or [_MEMBER] * count
        addresses = [free_address() for _ in range(count)]
        members = [
            a_member(address, self.keys[n], f"zone{n + 1}", identities[n])
            for n, address in enumerate(addresses)
            if identities[n] is not Identity.SINGLE
        ]
        async with contextlib.AsyncExitStack() as stack:
            starting = []
            for n, address in enumerate(addresses):
                known = members if identities[n] is not Identity.SINGLE else []
                view = a_view(address, identities[n], known)
                more = {**settings, **own(address)}
                serving = self.serve(view, self.keys[n], passwords, **more)
                starting.append(stack.enter_async_context(serving))
            hosts = await asyncio.gather(*starting)
            yield hosts
            for host in hosts:
                host.agent.stop()  # all at once, then wait for each

    @contextlib.asynccontextmanager
    async def serve(
        self,
        view: ClusterView,
        key: PrivateKey,
        passwords: Passwords,
        make_agent: Callable[..., Agent] = Agent,
        **settings: Any,
    ) -> AsyncIterator[Host]:
        """One agent that listens."""
        declared = self.settings(view.own, **settings)
        self.prepare(declared, key)
        database = Database.sqlite(declared.paths.database)
        await remember(database, declared, view, passwords)
        database.close()
        engine = FakeEngine(declared.base_dir, running=view.identity is _MEMBER)
        engine.password = passwords.root or ""
        agent = make_agent(declared, lambda *_: engine)
        api = Api(transport(), view.own, trusted=False)
        local = Api(transport(declared.paths.socket), view.own, trusted=True)
        async with _running(agent):
            yield Host(view.own, key, agent, engine, api, local)
        await api.close()
        await local.close()


_MEMBER = Identity.CLUSTER_AGENT


def transport(unix_socket: Path | None = None) -> httpx.AsyncHTTPTransport:
    """Plain HTTP; to read the system's certificates would take longer than most tests do."""
    uds = str(unix_socket) if unix_socket else None
    return httpx.AsyncHTTPTransport(uds=uds, verify=False)


@contextlib.asynccontextmanager
async def _running(agent: Agent) -> AsyncIterator[None]:
    up = asyncio.Event()
    serving = asyncio.create_task(agent.serve(up))
    ready = asyncio.create_task(up.wait())
    await soon(asyncio.wait({serving, ready}, return_when=asyncio.FIRST_COMPLETED))
    try:
        if not up.is_set():
            await serving  # raises what it came to grief with
        yield
    finally:
        ready.cancel()
        agent.stop()
        await soon(serving)


async def remember(
    database: Database, settings: Settings, view: ClusterView, passwords: Passwords
) -> None:
    """Write down what the agent is to know when it starts."""
    state = ClusterState(database, Vault.open(settings.paths.vault_key), settings.address)
    await state.save(view, passwords)
    if view.identity is _MEMBER:
        await state.remember_server(SERVER.model_dump_json())
