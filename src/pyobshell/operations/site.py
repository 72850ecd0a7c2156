"""What the operations work with: everything one agent has, gathered in one object."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from pyobshell import errors
from pyobshell.address import Address
from pyobshell.cluster.doorway import Doorway
from pyobshell.cluster.peers import Peers
from pyobshell.cluster.state import ClusterState
from pyobshell.engines.base import Engine, ObState
from pyobshell.engines.ob_cluster import ObCluster
from pyobshell.operations.keeper import ServerKeeper
from pyobshell.operations.line import Line
from pyobshell.security.backoff import LoginBackoff
from pyobshell.security.keyring import Keyring
from pyobshell.security.keys import PrivateKey
from pyobshell.security.replay import ReplayGuard
from pyobshell.security.tls import Tls
from pyobshell.security.vault import Vault
from pyobshell.settings import Settings
from pyobshell.store.audit import AuditLog
from pyobshell.tasks.engine import TaskEngine
from pyobshell.tasks.locks import MaintenanceConflictError
from pyobshell.tasks.model import Dag, DagPlan, Maintenance, MaintenanceType
from pyobshell.tasks.stage import Run as StageRun
from pyobshell.tasks.stage import Stage
from pyobshell.undivided import OnceForAll, Shared, Undivided

if TYPE_CHECKING:
    from pyobshell.operations.ocs import Ocs

_LOGINS = 8  # at once
_GUESTS = 2  # at once
_IN_PASSING = 8  # at once
Application = Callable[..., Awaitable[None]]
"""The routes of the API, as an ASGI application."""


@dataclass(slots=True)
class Site:
    """One agent's settings, keys, cluster, server, tasks and peers.

    ``works`` has for each kind of work that all agents do together the name of the sub DAG and
    the stages a target runs. ``line`` waits for this agent's lock; ``refused`` tells, by number, of
    main DAGs that an agent has refused, ``releasing`` are those whose agents are just released.
    ``logging_in`` are those who try a password at the server, ``guests`` those who have it asked
    for what anybody may know, ``in_passing`` those whose password the master is asked for
    though they were let in: of none there are many at once.
    ``logins`` has whoever offers wrong passwords wait, ``replays`` knows the headers used so far.
    ``health``, which anybody may ask for, is the server's state and whether the agent is locked.
    ``ocs`` is the cluster's own database, where servers share one. ``unidentified`` says of an
    agent that is so why it does not know yet what it is, ``doubting`` asks whether it is still a
    member. ``tls`` is what it speaks TLS with, if it does.
    """

    settings: Settings
    keyring: Keyring
    vault: Vault
    cluster: ClusterState
    engine: Engine
    keeper: ServerKeeper
    works: dict[str, tuple[str, tuple[Stage[Any, Any], ...]]]
    started_at: int = field(default_factory=time.time_ns)
    background: Undivided = field(default_factory=Undivided)
    line: Line = field(default_factory=Line)
    logging_in: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_LOGINS))
    guests: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_GUESTS))
    in_passing: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_IN_PASSING))
    refused: WeakValueDictionary[int, asyncio.Event] = field(default_factory=WeakValueDictionary)
    releasing: OnceForAll = field(default_factory=OnceForAll)
    tasks: TaskEngine[Site] = field(init=False)
    peers: Peers[Site] = field(init=False)
    doorway: Doorway[Site] = field(init=False)
    audit: AuditLog = field(init=False)
    logins: LoginBackoff = field(init=False)
    replays: ReplayGuard = field(init=False)
    api: Application = field(init=False)
    health: Shared[tuple[ObState, bool]] = field(init=False)
    ocs: Ocs | None = None
    unidentified: str = ""
    doubting: asyncio.Task[None] | None = None
    tls: Tls | None = None

    def __post_init__(self) -> None:
        self.health = Shared(self._look_at_health)

    async def _look_at_health(self) -> tuple[ObState, bool]:
        locked = await self.tasks.lock_holder(Maintenance(MaintenanceType.GLOBAL)) is not None
        return await self.engine.state(), locked

    def require_ocs(self) -> Ocs:
        """The cluster's own database; raises ``Agent.Maintainer.NotActive`` if there is none."""
        if self.ocs is None:
            raise errors.MAINTAINER_NOT_ACTIVE(cause="these servers share no database")
        return self.ocs

    @property
    def key(self) -> PrivateKey:
        """This agent's private key as it is at this moment."""
        return self.keyring.key

    @property
    def own(self) -> Address:
        """This agent's address."""
        return self.cluster.view.own

    async def try_password(self, offered: str) -> bool:
        """Whether the server takes a password that is not the one we know; if so it is kept.

        Thus a password that was changed in the database is noticed.
        """
        try:
            async with self.logging_in:
                accepted = await self.engine.login(offered)
        except errors.OBShellError:
            return False
        if accepted:
            self.engine.use_password(offered)
            await self.keep_root_password(offered)
        return accepted

    async def keep_root_password(self, password: str) -> None:
        """Remember the password of root, for this agent's next start too."""
        await self.cluster.change(lambda view: view, lambda known: known.with_root(password))

    async def submit(self, plan: DagPlan) -> Dag:
        """Record and start a DAG; a held lock becomes the error that names its holder."""
        try:
            return await self.tasks.submit(plan)
        except MaintenanceConflictError as conflict:
            holder = await self.tasks.dag(conflict.dag_id, logs=False)
            raise refusal(self.own, holder) from conflict


Run = StageRun[Site]


def require_cluster(site: Site) -> ObCluster:
    """The cluster of servers; raises where each is whole by itself."""
    if site.engine.cluster is None:
        raise errors.ILLEGAL_ARGUMENT(
            name="engine", reason=f"servers of the kind {site.engine.name} form no cluster"
        )
    return site.engine.cluster


def refusal(own: Address, holder: Dag) -> errors.OBShellError:
    """Why an agent whose lock ``holder`` has takes no other maintenance."""
    main_dag_id = holder.data.get("main_dag_id")
    if main_dag_id is None:
        return errors.AGENT_UNDER_MAINTENANCE(agent=own)
    return errors.AGENT_UNDER_MAINTENANCE_DAG(
        agent=own, main_dag_id=main_dag_id, dag_name=holder.name
    )
