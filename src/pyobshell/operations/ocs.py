"""The cluster's own database ``ocs`` as one agent uses it: DAGs, members, the maintainer."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import structlog
from sqlalchemy import Connection

from pyobshell.address import Address
from pyobshell.cluster import member_table
from pyobshell.cluster.member_table import MemberList
from pyobshell.cluster.model import Member
from pyobshell.errors import OBShellError
from pyobshell.operations.cluster_tasks import ClusterTasks
from pyobshell.operations.executor import Executor
from pyobshell.operations.maintainer import Maintainer
from pyobshell.operations.retirement import look_whether_parted
from pyobshell.operations.site import Site
from pyobshell.security.keyring import has_succeeded
from pyobshell.store.database import Database
from pyobshell.store.migrate import migrate_ocs
from pyobshell.store.mysql import Connect
from pyobshell.tasks import lease
from pyobshell.tasks.stage import Catalogue

T = TypeVar("T")

_log = structlog.get_logger(__name__)
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 10.0


class Ocs:
    """The database ``ocs``; of use once the cluster is initialized and the agent has opened it."""

    def __init__(self, site: Site, connect: Connect, catalogue: Catalogue) -> None:
        self._site = site
        self._connect = connect
        self._database = Database.mysql(connect, lease.wait_for_turn)
        self._synchronizing = asyncio.Lock()
        self._life: asyncio.Task[None] | None = None
        self.tasks = ClusterTasks(site, self._database)
        self.executor = Executor(site, catalogue, self.tasks)
        self.maintainer = Maintainer(site, connect, catalogue, self.executor)

    @property
    def is_open(self) -> bool:
        """Whether this agent takes part in the cluster's tasks."""
        return self._life is not None

    async def create(self) -> None:
        """Make the database and its tables as far as they are missing; harmless when repeated."""
        await asyncio.to_thread(migrate_ocs, self._connect)

    def open(self) -> None:
        """Take part from now on, as soon as the database can be used; harmless when repeated."""
        if self._life is None:
            # In a context of its own: its life is not part of the request that began it.
            self._life = asyncio.create_task(self._live(), context=contextvars.Context())

    async def leave(self) -> None:
        """Take part no longer; if this agent is the maintainer, another one takes over at once."""
        if self._life is not None:
            self._life.cancel()
            await asyncio.gather(self._life, return_exceptions=True)
            self._life = None

    async def close(self) -> None:
        """Close every connection, once it takes part no longer."""
        await self.maintainer.close()
        await asyncio.to_thread(self._database.close)

    # --- members ---------------------------------------------------------------------------------

    async def members(self) -> MemberList:
        """The cluster's list of members."""
        return await self._database.read(member_table.read_shared)

    async def write_members(self, members: Sequence[Member]) -> None:
        """Replace the list as a whole, as when the cluster is deployed."""
        await self._database.write(lambda c: member_table.write_shared(c, members), again=True)

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Have a transaction of one's own, the only one that writes at that moment."""
        return await self._database.write(work)

    async def put_member(self, member: Member) -> None:
        """Add a member, or alter the one that has its address."""
        await self._database.write(lambda c: member_table.put_shared(c, member), again=True)

    async def enter_member(self, member: Member) -> None:
        """As ``put_member``, but for the key, which the member may have changed meanwhile."""

        def enter(connection: Connection) -> None:
            listed = member_table.read_shared(connection).members
            keys = {one.address: one.public_key for one in listed}
            key = keys.get(member.address, member.public_key)
            member_table.put_shared(connection, member.model_copy(update={"public_key": key}))

        await self._database.write(enter, again=True)

    async def remove_member(self, agent: Address) -> None:
        """Strike a member off the list; no harm if it is none."""
        await self._database.write(lambda c: member_table.remove_shared(c, agent), again=True)

    async def synchronize(self) -> None:
        """Make the cluster's list of members this agent's, if it has another version.

        An agent that is not on it (any more) keeps what it knows: to part is for it to decide.
        """
        async with self._synchronizing:
            listed = await self.members()

            view = self._site.cluster.view
            if all(member.address != view.own for member in listed.members):
                _log.warning("is no member of its cluster", action="members.missing")
                look_whether_parted(self._site)
            elif listed.version != view.members_version:
                await self._site.cluster.change(listed.adopted_by)

    async def show_own_key(self) -> None:
        """Have the list show this agent's key, if it shows one that it has succeeded."""
        own, keyring = self._site.own, self._site.keyring
        key, successions = keyring.public_text, keyring.successions

        def outdated(members: Sequence[Member]) -> Member | None:
            me = next((member for member in members if member.address == own), None)
            shown = None if me is None else me.public_key
            if me is None or shown is None or shown == key:
                return None
            return me if has_succeeded(shown, key, successions) else None

        def show(connection: Connection) -> None:
            me = outdated(member_table.read_shared(connection).members)
            if me is not None:
                shown = me.model_copy(update={"public_key": key})
                member_table.put_shared(connection, shown)

        if outdated((await self.members()).members) is not None:
            await self._database.write(show, again=True)
            await self.synchronize()

    # --- its life --------------------------------------------------------------------------------

    async def _live(self) -> None:
        await persistently(self.create)
        await persistently(self.synchronize)
        await persistently(self.show_own_key)
        await self.maintainer.compete()


async def persistently(work: Callable[[], Awaitable[None]]) -> None:
    """Try again until it is done: the server may not be up yet."""
    pause = _FIRST_PAUSE_S
    while True:
        try:
            await work()
        except OBShellError as error:
            _log.warning("the database is not there yet", action="ocs.open", cause=str(error))
        else:
            return
        await asyncio.sleep(pause)  # back off: no event tells that a database can be used
        pause = min(2 * pause, _LONGEST_PAUSE_S)
