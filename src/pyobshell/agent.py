"""One agent, put together in one place from its settings: made, started, served, stopped."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import structlog
import uvicorn

from pyobshell.api import access, forward
from pyobshell.api.app import make_app
from pyobshell.api.door import Door
from pyobshell.api.first_byte import network_port
from pyobshell.api.gateway import Gateway
from pyobshell.api.local_caller import LocalHttp
from pyobshell.api.recording import Recorder
from pyobshell.api.rpc import Rpc
from pyobshell.cluster.doorway import Doorway
from pyobshell.cluster.model import Identity
from pyobshell.cluster.peers import Peers
from pyobshell.cluster.procedures import ProcedureTable
from pyobshell.cluster.state import ClusterState
from pyobshell.engines import Engine, make_engine
from pyobshell.home import opening
from pyobshell.home.kept import KeptCopy
from pyobshell.home.opening import BaseDirInUseError
from pyobshell.home.presence import BACKLOG, listening, named_by, require_own
from pyobshell.operations import (
    audit,
    birth,
    configure,
    delete_zone,
    departure,
    emergency,
    executor,
    in_sql,
    init,
    inquire,
    invited,
    join,
    keeping,
    local_scale_out,
    maintainer,
    parameters,
    passwords,
    release,
    remove,
    retirement,
    rolling,
    roster,
    rotation,
    scale_out,
    server,
    start,
    stop,
    sub_dag,
    takeover,
    together,
    views,
)
from pyobshell.operations.agent_password import set_agent_password
from pyobshell.operations.keeper import ServerKeeper
from pyobshell.operations.ocs import Ocs
from pyobshell.operations.site import Site
from pyobshell.security.tls import Tls
from pyobshell.security.turns import CryptoTurns
from pyobshell.settings import Settings
from pyobshell.store.audit import AuditLog
from pyobshell.store.database import Database
from pyobshell.store.mysql import Connect
from pyobshell.tasks.engine import TaskEngine
from pyobshell.tasks.model import Dag
from pyobshell.tasks.stage import Catalogue

__all__ = ["AddressChangedError", "Agent", "BaseDirInUseError", "TakeOver"]

FindOcs = Callable[[Engine], Connect | None]
MakeEngine = Callable[[str | None, Path, Path, Path | None], Engine]
_log = structlog.get_logger(__name__)
_NOT_TAKEN_OVER = (
    "there is a server of a cluster here; to take it over restart the agent with the password of "
    "root@sys (OB_ROOT_PASSWORD)"
)
_SHUTDOWN_S = 3
_KEEP_ALIVE_S = 75  # longer than clients and agents keep one: who closes must not be who is asked


class AddressChangedError(Exception):
    """The agent is known to its cluster under another address than the one it is started with."""


@dataclass(frozen=True, slots=True)
class TakeOver:
    """What an agent that knows nothing does about a server of a cluster that it finds beside it.

    ``agent_password`` is set before anybody can reach an agent that has none.
    """

    wanted: bool = True
    root_password: str | None = field(default=None, repr=False)
    agent_password: str | None = field(default=None, repr=False)


def find_ocs(engine: Engine) -> Connect | None:
    """How to reach the cluster's own database; None for servers that share none."""
    return None if engine.cluster is None else engine.cluster.connect


class Agent:
    """An agent; ``serve`` runs it until ``stop`` is called.

    ``make_engine`` makes the door to its database server, ``find_ocs`` that to its cluster's
    database. ``note`` is what whoever started it should know.
    """

    def __init__(
        self,
        settings: Settings,
        make_engine: MakeEngine = make_engine,
        take_over: TakeOver | None = None,
        find_ocs: FindOcs = find_ocs,
    ) -> None:
        self.settings = settings
        self.note = ""
        self._take_over = take_over or TakeOver()
        self._make_engine = make_engine
        self._find_ocs = find_ocs
        self.paths = settings.paths
        self._stop_asked = asyncio.Event()
        self._crypto = CryptoTurns()

    def stop(self) -> None:
        """Ask the agent to end."""
        self._stop_asked.set()

    async def serve(self, ready: asyncio.Event | None = None) -> None:
        """Run the agent: open its files, recover its tasks, listen, and clean up in the end.

        Raises BaseDirInUseError, AddressChangedError, OSError when an address cannot be had, and
        for files of its own that cannot be used what ``home.opening`` raises.
        """
        paths, own = self.paths, self.settings.address
        paths.base_dir.mkdir(mode=0o750, parents=True, exist_ok=True)
        require_own(paths.base_dir)
        for directory, mode in ((paths.state_dir, 0o700), (paths.run_dir, 0o750)):
            directory.mkdir(mode=mode, exist_ok=True)
        require_own(paths.base_dir, paths.run_dir, paths.state_dir)
        with (
            opening.holding(paths.lock),
            listening(own.ip, own.port, paths.socket) as sockets,
            named_by(paths.pid_file),
        ):
            database = await asyncio.to_thread(opening.open_database, paths)
            try:
                await self._run(database, *sockets, ready)
            finally:
                await asyncio.to_thread(database.close)
                self._crypto.close()

    async def _run(
        self,
        database: Database,
        tcp: socket.socket,
        local: socket.socket,
        ready: asyncio.Event | None,
    ) -> None:
        site = await self._assemble(database)
        if self._take_over.agent_password and site.cluster.passwords.agent is None:
            await set_agent_password(site, self._take_over.agent_password)
        self._kept_copy.renew()
        await site.tasks.start()
        await site.keeper.resume()
        await release.look_after_all(site)
        await self._take_part(site)
        self.note = site.unidentified
        await invited.look_after_all(site)
        retirement.look_whether_parted(site)
        passwords.look_whether_changed(site)
        tidying = partial(keeping.tidy_own_store, site, database)
        site.background.begin(keeping.every_hour(tidying))
        servers = [
            _Server(self._config(site, trusted=False), tcp),
            _Server(self._config(site, trusted=True), local),
        ]
        serving = [asyncio.create_task(one.serve([one.socket])) for one in servers]
        for one in servers:
            await one.up.wait()
        _log.info("agent is up", action="agent.up", address=str(site.own), pid=os.getpid())
        if ready is not None:
            ready.set()
        await self._stop_asked.wait()
        _log.info("agent goes down", action="agent.down")
        if site.ocs is not None:
            await site.ocs.leave()
        await site.background.abandon()
        await site.tasks.stop()
        for one in servers:
            one.should_exit = True
        self._crypto.go_down()
        await asyncio.gather(*serving)
        if site.ocs is not None:
            await site.ocs.close()
        await site.keeper.close()
        await site.peers.close()
        await site.engine.close()
        await self._kept_copy.settled()

    async def _take_part(self, site: Site) -> None:
        """Take part in the cluster's own store, or first find out what this agent is in it."""
        view, recorded = site.cluster.view, site.engine.recorded()
        if view.identity in (Identity.CLUSTER_AGENT, *takeover.IDENTITIES):
            if site.ocs is not None:
                await takeover.resume(site)
        elif view.identity is Identity.UNIDENTIFIED and recorded is not None:
            password = self._take_over.root_password
            if password is None:
                site.unidentified = _NOT_TAKEN_OVER
                _log.warning(_NOT_TAKEN_OVER, action="takeover.wait")
                return
            await takeover.check_password(site, password)
            site.background.begin(takeover.identify(site, recorded, password))

    async def _assemble(self, database: Database) -> Site:
        """Put the site together, from the store up to the API."""
        settings, paths = self.settings, self.paths
        tls = await asyncio.to_thread(Tls.of, settings)
        self._door = Door.of(paths, time.time(), tls)
        vault = opening.open_vault(paths, await database.read(opening.sealed_secrets))
        self._kept_copy = KeptCopy(database, paths.kept_copy)
        cluster = ClusterState(database, vault, settings.address, self._kept_copy.renew)
        await cluster.load()
        view = cluster.view
        known = view.identity is not Identity.SINGLE
        keyring = await asyncio.to_thread(opening.own_key, paths, known=known)
        if known and view.member(view.own) is None:
            others = ", ".join(map(str, view.addresses))
            raise AddressChangedError(f"{view.own} is no member of this agent's cluster ({others})")
        await rotation.know_own_key(cluster, keyring)
        engine = self._make_engine(
            settings.engine, settings.base_dir, paths.state_dir, settings.observer
        )
        if self._take_over.wanted and not cluster.is_identified and engine.recorded() is not None:
            cluster.view = view.model_copy(update={"identity": Identity.UNIDENTIFIED})
        keeper = ServerKeeper(engine, cluster, settings.start_timeout_s)
        if cluster.passwords.root is not None and keeper.has_password:
            engine.use_password(cluster.passwords.root)
        site = Site(
            settings=settings,
            keyring=keyring,
            vault=vault,
            cluster=cluster,
            engine=engine,
            keeper=keeper,
            works={"stop": stop.WORK, "start": start.WORK, "restart": rolling.WORK},
        )
        site.audit = AuditLog(database)
        site.logins, site.replays = self._door.logins, self._door.replays

        def ended(dag: Dag) -> None:
            self._kept_copy.renew()  # by its numbers it is known whether the database is older
            together.let_go(site, dag)

        site.tasks = TaskEngine(database, catalogue(), site.own, site, ended=ended)
        site.tls = tls
        site.peers = Peers(cluster, keyring, site, settings.retry_s, settings.silent_agent_s, tls)
        site.doorway = Doorway(cluster, keyring, procedures(), site, self._crypto)
        connect = self._find_ocs(engine)
        if connect is not None:
            site.ocs = Ocs(site, connect, catalogue())
        site.api = make_app(site)
        return site

    def _gateway(self, site: Site, *, trusted: bool) -> Gateway:
        return Gateway(
            Recorder(site.api, site.audit),
            Rpc(site),
            site.keyring,
            self._crypto,
            self._door,
            partial(access.let_in, site),
            partial(access.use_up, site),
            trusted=trusted,
        )

    def _config(self, site: Site, *, trusted: bool) -> uvicorn.Config:
        return uvicorn.Config(
            self._gateway(site, trusted=trusted),
            http=LocalHttp if trusted else network_port(self._door),  # type: ignore[arg-type]  # it makes one
            log_config=None,
            access_log=False,
            ws="none",
            lifespan="off",
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=_SHUTDOWN_S,
            timeout_keep_alive=_KEEP_ALIVE_S,
            backlog=BACKLOG,
        )


def catalogue() -> Catalogue:
    """Every stage of every operation."""
    modules = (
        join,
        remove,
        configure,
        init,
        birth,
        takeover,
        sub_dag,
        stop,
        start,
        emergency,
        rolling,
        scale_out,
        local_scale_out,
        departure,
        delete_zone,
        retirement,
    )
    return Catalogue(one for module in modules for one in module.STAGES)


def procedures() -> ProcedureTable:
    """Everything one agent answers another."""
    modules = (
        join,
        remove,
        init,
        takeover,
        server,
        passwords,
        views,
        in_sql,
        parameters,
        sub_dag,
        emergency,
        release,
        inquire,
        maintainer,
        executor,
        forward,
        invited,
        retirement,
        roster,
        rotation,
        access,
        audit,
        keeping,
    )
    return ProcedureTable(one for module in modules for one in module.PROCEDURES)


class _Server(uvicorn.Server):
    """Uvicorn without its signal handlers, and with an event that says it listens."""

    def __init__(self, config: uvicorn.Config, listening: socket.socket) -> None:
        super().__init__(config)
        self.socket = listening
        self.up = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()
