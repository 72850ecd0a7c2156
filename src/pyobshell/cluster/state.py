"""Keeps the cluster's snapshot and its passwords: on disk first, in memory after."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

from sqlalchemy import Connection, text

from pyobshell.address import Address
from pyobshell.cluster import member_table
from pyobshell.cluster.model import ClusterView, Identity, Member
from pyobshell.security.vault import Vault
from pyobshell.security.verify import Passwords
from pyobshell.store.database import Database
from pyobshell.undivided import Undivided

_SETTINGS = text("SELECT name, value FROM setting")
_FORGET_SETTING = text("DELETE FROM setting WHERE name = :name")
_ADD_SETTING = text("INSERT INTO setting (name, value) VALUES (:name, :value)")
_ADD_OPTION = text(
    "INSERT INTO server_setting (scope, target, name, value)"
    " VALUES (:scope, :target, :name, :value)"
)
_FORGET_OPTIONS = text("DELETE FROM server_setting")
# Later values come later, whatever the scope they were set for.
_OPTIONS_OF_MEMBER = text(
    "SELECT name, value FROM server_setting WHERE scope = 'GLOBAL'"
    " OR (scope = 'ZONE' AND target = :zone) OR (scope = 'SERVER' AND target = :address)"
    " ORDER BY id"
)
# How often all this has changed: of a copy it tells the age.
CHANGES = "essential_changes"
COUNT_CHANGE = text(
    f"INSERT INTO setting (name, value) VALUES ('{CHANGES}', '1')"  # noqa: S608 - a constant
    " ON CONFLICT (name) DO UPDATE SET value = CAST(value AS INTEGER) + 1"
)
WANTED = "server_wanted"
WANTED_BEFORE = "server_wanted_before"  # before an order that has not ended yet, or was cut off
FAILED_START = "failed_start"  # why the server could not be started when that was asked for last
ACTED_ALONE = "acted_alone"
SECRETS = ("root_password", "agent_password")
NUMBERS = (CHANGES, "cluster_id", "members_version", ACTED_ALONE)  # settings that are some
AlterPasswords = Callable[[Passwords], Passwords]
_WANTED_AS = {"yes": True, "no": False}
_UNSAID = "unsaid"


class ClusterState:
    """What this agent knows of its cluster; ``view`` is replaced as a whole, never changed.

    ``changed`` is called after each change.
    """

    def __init__(
        self,
        database: Database,
        vault: Vault,
        own: Address,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._changed = changed
        self._database = database
        self._vault = vault
        self._changing = asyncio.Lock()
        self._undivided = Undivided()
        self.view = ClusterView(own=own)
        self.is_identified = False  # whether it was ever recorded what this agent is
        self.passwords = Passwords(root=None, agent=None)
        self.server_wanted: bool | None = None  # none: nobody has said yet whether it shall run
        self.has_order = False  # an order to the server has begun, maybe in an earlier life
        self.wanted_before: bool | None = None  # before that order
        self.failed_start: str | None = None
        self.server_settings: str | None = None
        self.acted_alone_at = 0  # nanoseconds since the epoch, of the newest order in an emergency
        # Agents that are no members yet but may ask already: the master that took this agent in.
        self.acquaintances: dict[Address, str] = {}

    async def load(self) -> None:
        """Read what an earlier life of this agent knew."""

        def read(connection: Connection) -> tuple[dict[str, str], tuple[Member, ...]]:
            settings = {row.name: row.value for row in connection.execute(_SETTINGS)}
            return settings, member_table.read(connection)

        settings, members = await self._database.read(read)
        self.view = ClusterView(
            own=self.view.own,
            identity=Identity(settings.get("identity", Identity.SINGLE)),
            cluster_id=int(settings.get("cluster_id", 0)),
            cluster_name=settings.get("cluster_name", ""),
            members=members,
            members_version=int(settings.get("members_version", 0)),
        )
        self.is_identified = "identity" in settings
        root, agent = (
            self._vault.open_text(settings[name]) if name in settings else None for name in SECRETS
        )
        self.passwords = Passwords(root=root, agent=agent)
        self.server_wanted = _WANTED_AS.get(settings.get(WANTED, ""))
        self.has_order = WANTED_BEFORE in settings
        self.wanted_before = _WANTED_AS.get(settings.get(WANTED_BEFORE, ""))
        self.failed_start = settings.get(FAILED_START)
        self.server_settings = settings.get("server_settings")
        self.acted_alone_at = int(settings.get(ACTED_ALONE, 0))

    async def save(
        self, view: ClusterView, passwords: Passwords | AlterPasswords | None = None
    ) -> None:
        """Replace the snapshot, and the passwords if given, or by what is made of them."""
        await self.change(lambda _: view, passwords)

    async def change(
        self,
        alter: Callable[[ClusterView], ClusterView],
        passwords: Passwords | AlterPasswords | None = None,
    ) -> None:
        """Put what ``alter`` makes of the newest snapshot in its place; one change at a time.

        So with the passwords, if something is to be made of those.
        """

        async def change() -> None:
            async with self._changing:
                known = self.passwords
                made = passwords(known) if callable(passwords) else passwords or known
                changed = alter(self.view), made
                await self._write(*changed)
                self.view, self.passwords = changed

        await self._undivided.do(change())

    async def _write(self, view: ClusterView, passwords: Passwords) -> None:
        settings = {
            "identity": str(view.identity),
            "cluster_id": str(view.cluster_id),
            "cluster_name": view.cluster_name,
            "members_version": str(view.members_version),
            "root_password": self._sealed(passwords.root),
            "agent_password": self._sealed(passwords.agent),
        }

        def write(connection: Connection) -> None:
            _put(connection, settings)
            member_table.write(connection, view.members)

        await self._change(write)

    async def _change(self, write: Callable[[Connection], object]) -> None:
        def counted(connection: Connection) -> None:
            write(connection)
            connection.execute(COUNT_CHANGE)

        await self._database.write(counted)
        self._changed()

    async def want_server(self, wanted: bool | None, failed_start: str | None = None) -> None:
        """Record whether the server shall run; it is restarted after a crash only if so.

        An order that had begun has ended with that. ``failed_start``: it was to be started, and why
        it could not be.
        """

        async def want() -> None:
            setting = {WANTED: _in_word(wanted), WANTED_BEFORE: None, FAILED_START: failed_start}
            await self._change(lambda c: _put(c, setting))
            self.server_wanted, self.failed_start = wanted, failed_start
            self.has_order = False

        await self._undivided.do(want())

    @property
    def before_an_order(self) -> bool | None:
        """What is wanted before an order that begins now, or before one that it replaces."""
        return self.wanted_before if self.has_order else self.server_wanted

    async def order_server(self, runs: bool) -> None:
        """Record that an order begins, to have the server run or not; ``want_server`` ends it.

        Until then ``wanted_before`` tells, in a later life too, what was wanted before that order,
        or before one that it replaces.
        """

        async def order() -> None:
            before = self.before_an_order
            setting = {WANTED: _in_word(runs), WANTED_BEFORE: _in_word(before) or _UNSAID}
            setting[FAILED_START] = None
            await self._change(lambda c: _put(c, setting))
            self.server_wanted, self.wanted_before, self.failed_start = runs, before, None
            self.has_order = True

        await self._undivided.do(order())

    async def note_failed_start(self, why: str | None) -> None:
        """Record why the server could not be started, or that it was."""

        async def note() -> None:
            await self._change(lambda c: _put(c, {FAILED_START: why}))
            self.failed_start = why

        await self._undivided.do(note())

    async def note_acted_alone(self, moment: int) -> None:
        """Record when an order was given to this agent alone: older ones no longer count.

        The latest of those counts, unless it lies in the future: the clock was ahead then.
        """

        async def note() -> None:
            known = self.acted_alone_at
            latest = max(moment, known) if known <= time.time_ns() else moment
            await self._change(lambda c: _put(c, {ACTED_ALONE: str(latest)}))
            self.acted_alone_at = latest

        await self._undivided.do(note())

    async def remember_server(self, settings: str | None) -> None:
        """Record how the server here was deployed (JSON), or that there is none."""

        async def remember() -> None:
            await self._change(lambda c: _put(c, {"server_settings": settings}))
            self.server_settings = settings

        await self._undivided.do(remember())

    async def add_server_options(
        self, scope: str, targets: list[str], options: dict[str, str]
    ) -> None:
        """Keep options for the servers to be of a zone, an agent, or (no targets) all."""
        rows = [
            {"scope": scope, "target": target, "name": name, "value": value}
            for target in targets or [""]
            for name, value in options.items()
        ]
        await self._change(lambda c: c.execute(_ADD_OPTION, rows))

    async def server_options(self, member: Member) -> dict[str, str]:
        """The options kept for a member's server; of two values for one the later."""
        who = {"zone": member.zone, "address": str(member.address)}
        return await self._database.read(
            lambda c: {row.name: row.value for row in c.execute(_OPTIONS_OF_MEMBER, who)}
        )

    async def forget_server_options(self) -> None:
        """Drop all options kept."""
        await self._change(lambda c: c.execute(_FORGET_OPTIONS))

    def known_key(self, address: Address) -> str | None:
        """The key of a member, or of the master this agent is joining; none of anybody else."""
        member = self.view.member(address)
        return member.public_key if member else self.acquaintances.get(address)

    async def learn_key(self, address: Address, old: str, new: str) -> None:
        """Know an agent, whose key was another one, by its new key from now on."""

        def learn(view: ClusterView) -> ClusterView:
            return view.with_members(
                m.model_copy(update={"public_key": new})
                if (m.address, m.public_key) == (address, old)
                else m
                for m in view.members
            )

        if self.acquaintances.get(address) == old:
            self.acquaintances[address] = new
        await self.change(learn)

    def knows(self, address: Address, public_key: str) -> bool:
        """Whether that key is that of a member, or of the master this agent is joining.

        A FOLLOWER knows its MASTER alone: of the others nobody tells it who was removed.
        """
        member = self.view.member(address)
        if member is None:
            return self.acquaintances.get(address) == public_key
        follows = self.view.identity is Identity.FOLLOWER and address != self.view.own
        if follows and member.identity is not Identity.MASTER:
            return False
        return member.public_key == public_key

    def _sealed(self, secret: str | None) -> str | None:
        return None if secret is None else self._vault.seal(secret)


def _in_word(wanted: bool | None) -> str | None:
    return None if wanted is None else "yes" if wanted else "no"


def _put(connection: Connection, settings: Mapping[str, str | None]) -> None:
    for name, value in settings.items():
        connection.execute(_FORGET_SETTING, {"name": name})
        if value is not None:
            connection.execute(_ADD_SETTING, {"name": name, "value": value})
