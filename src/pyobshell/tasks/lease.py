"""The lease of the maintainer: the one agent that runs the DAGs in the cluster's own store.

It is one row. Whether it has expired is told by the database's clock alone; each change is a
conditional update, believed only if it changed the row. ``epoch`` counts its changes of hands: a
former holder, whatever it still believes, is refused by it at its next write (``check``).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from sqlalchemy import Connection, TextClause, text

from pyobshell import errors
from pyobshell.address import Address
from pyobshell.errors import OBShellError
from pyobshell.store.database import Database

_log = structlog.get_logger(__name__)
_MICROSECONDS = 1_000_000

_READ = text(
    "SELECT agent_ip, agent_port, epoch, members_version,"
    " TIMESTAMPDIFF(MICROSECOND, UTC_TIMESTAMP(6), expires) AS remaining"
    " FROM maintainer WHERE id = 1"
)
_LOCK = text("SELECT agent_ip, agent_port, epoch FROM maintainer WHERE id = 1 FOR UPDATE")
# Its own lease an agent may take before it expires: it holds it no longer, it was restarted.
_TAKE = text(
    "UPDATE maintainer SET agent_ip = :ip, agent_port = :port, epoch = epoch + 1,"
    " expires = UTC_TIMESTAMP(6) + INTERVAL :length MICROSECOND WHERE id = 1"
    " AND (expires <= UTC_TIMESTAMP(6) OR (agent_ip = :ip AND agent_port = :port))"
)
# The clock of the server may stand still for ten milliseconds: only the count is sure to change.
_RENEW = text(
    "UPDATE maintainer SET renewals = renewals + 1,"
    " expires = UTC_TIMESTAMP(6) + INTERVAL :length MICROSECOND WHERE id = 1"
    " AND agent_ip = :ip AND agent_port = :port AND epoch = :epoch AND expires > UTC_TIMESTAMP(6)"
)
_GIVE_UP = text(
    "UPDATE maintainer SET agent_ip = '', agent_port = 0, expires = UTC_TIMESTAMP(6)"
    " WHERE id = 1 AND agent_ip = :ip AND agent_port = :port AND epoch = :epoch"
)


class LeaseLostError(errors.OBShellError):
    """Another agent is the maintainer, or was since: this one may write nothing."""

    def __init__(self, own: Address, epoch: int) -> None:
        why: dict[str, object] = {"cause": f"{own} was the one in epoch {epoch}, which is over"}
        super().__init__(errors.MAINTAINER_NOT_ACTIVE, why)


@dataclass(frozen=True, slots=True)
class Lease:
    """The row as it was read: whose, in which epoch, and for how many seconds still.

    ``members_version`` is that of the list of members, and only stands in the same row because
    every agent reads that now and then.
    """

    holder: Address
    epoch: int
    remaining_s: float
    members_version: int

    @property
    def maintainer(self) -> Address | None:
        """Who is the maintainer, if the lease has not expired."""
        return self.holder if self.remaining_s > 0 else None


@dataclass(frozen=True, slots=True)
class Terms:
    """How long the lease lasts, and how often it is renewed."""

    length_s: float
    renewal_s: float

    @property
    def safe_s(self) -> float:
        """How long its holder relies on it; the rest is for letting go, and for clocks.

        In a distributed cluster each agent asks the clock of the server beside it.
        """
        return 0.8 * self.length_s


# --- functions of one transaction ----------------------------------------------------------------


def read(connection: Connection) -> Lease:
    """The lease as it stands."""
    row = connection.execute(_READ).one()
    holder = Address(row.agent_ip, row.agent_port)
    return Lease(holder, row.epoch, row.remaining / _MICROSECONDS, row.members_version)


def wait_for_turn(connection: Connection) -> None:
    """Have this transaction be the only one that writes to the cluster's own store."""
    connection.execute(_LOCK).one()


def check(connection: Connection, own: Address, epoch: int) -> None:
    """As ``wait_for_turn``; raises LeaseLostError if the lease has changed hands."""
    row = connection.execute(_LOCK).one()
    if (row.agent_ip, row.agent_port, row.epoch) != (*own, epoch):
        raise LeaseLostError(own, epoch)


def take(connection: Connection, own: Address, length_s: float) -> Lease | None:
    """Take the lease if it has expired; None if it has not."""
    return _changed(connection, _TAKE, own, length_s)


def renew(connection: Connection, own: Address, epoch: int, length_s: float) -> Lease | None:
    """Hold the lease for another while; None if it has expired, even if nobody has taken it."""
    return _changed(connection, _RENEW, own, length_s, epoch)


def give_up(connection: Connection, own: Address, epoch: int) -> bool:
    """Let others have the lease at once; False if it is held no more."""
    holder = {**own.wire, "epoch": epoch}
    return connection.execute(_GIVE_UP, holder).rowcount == 1


def _changed(
    connection: Connection, update: TextClause, own: Address, length_s: float, epoch: int = 0
) -> Lease | None:
    values = {**own.wire, "epoch": epoch, "length": int(length_s * _MICROSECONDS)}
    return read(connection) if connection.execute(update, values).rowcount == 1 else None


# --- one agent's side ----------------------------------------------------------------------------


class Candidate:
    """What one agent believes of the lease: never that it holds it when another might.

    Its own clock counts from before the question was sent, so an answer that comes late is a
    lease that is lost. ``database`` is the lease's alone: a renewal waits for no other work.
    """

    def __init__(self, database: Database, own: Address, terms: Terms) -> None:
        self._database = database
        self._own = own
        self._terms = terms
        self._until = 0.0
        self.epoch = 0

    def remaining(self) -> float:
        """For how many seconds still this agent may act as the maintainer."""
        return max(0.0, self._until - time.monotonic())

    async def look(self) -> Lease:
        """The lease as it stands; raises the errors of the database."""
        return await self._database.read(read)

    async def take(self) -> bool:
        """Take the lease if it has expired; raises the errors of the database."""
        sent = time.monotonic()
        lease = await self._database.write(lambda c: take(c, self._own, self._terms.length_s))
        if lease is None:
            return False
        self.epoch = lease.epoch
        self._until = sent + self._terms.safe_s
        return self.remaining() > 0

    async def keep(self, renewed: Callable[[Lease], None]) -> None:
        """Renew the lease as long as that can be done; returns when it is lost."""
        pause = self._terms.renewal_s
        while self.remaining() > 0:
            await asyncio.sleep(min(pause, self.remaining()))  # the clock is meant
            sent = time.monotonic()
            try:
                async with asyncio.timeout(self.remaining()):
                    lease = await self._database.write(self._renew)
            except (TimeoutError, OBShellError) as error:
                _log.warning("not renewed", action="lease.renew", cause=str(error))
                pause = self._terms.renewal_s / 4  # there may be time for another attempt
                continue
            if lease is None or self.remaining() == 0:
                break
            self._until = sent + self._terms.safe_s
            pause = self._terms.renewal_s
            renewed(lease)
        self._until = 0.0

    async def give_up(self) -> None:
        """Let others have the lease at once, if it can be done; else it expires."""
        self._until = 0.0
        try:
            async with asyncio.timeout(self._terms.length_s):
                await self._database.write(lambda c: give_up(c, self._own, self.epoch))
        except (TimeoutError, OBShellError) as error:
            _log.warning("not given up", action="lease.give_up", cause=str(error))

    def _renew(self, connection: Connection) -> Lease | None:
        return renew(connection, self._own, self.epoch, self._terms.length_s)
