"""The connections of strangers: how many there may be, and which one ends for a new one."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import chain
from typing import Final, Protocol

MOST_STRANGERS: Final = 2000
MOST_OF_AN_ADDRESS: Final = 1000

_ON_ITS_WAY_S = 1.0  # for a first request to come


class Connection(Protocol):
    """One of them."""

    address: str

    def drop(self) -> None:
        """End it, for somebody else; it leaves."""


@dataclass(slots=True)
class _Group:
    """Those of one address, of each kind the oldest first."""

    new: dict[Connection, float] = field(default_factory=dict)  # nothing was asked yet; since when
    resting: dict[Connection, None] = field(default_factory=dict)
    busy: dict[Connection, None] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.new) + len(self.resting) + len(self.busy)

    def idle(self, now: float) -> Connection | None:
        """The one on which nothing is asked that is missed least.

        On a new one something soon is, and many that were answered are closed by their clients.
        """
        oldest = next(iter(self.new), None)
        if oldest is None or (self.resting and now - self.new[oldest] < _ON_ITS_WAY_S):
            return next(iter(self.resting), None)
        return oldest


class Strangers:
    """Them all, by address."""

    def __init__(
        self,
        most: int = MOST_STRANGERS,
        most_of_one: int = MOST_OF_AN_ADDRESS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most = most
        self._most_of_one = most_of_one
        self._clock = clock
        self._count = 0
        self._groups: dict[str, _Group] = {}

    def enter(self, connection: Connection) -> bool:
        """Take a new connection in, if there is room or room can be made."""
        own = self._groups.get(connection.address)
        if own is None:
            own = _Group()
        if len(own) >= self._most_of_one and not _drop(own.idle(self._clock())):
            return False
        if self._count >= self._most and not self._make_room(len(own)):
            return False
        self._count += 1
        group = self._groups.setdefault(connection.address, own)
        group.new[connection] = self._clock()
        return True

    def ask(self, connection: Connection) -> None:
        """Something is asked on it now."""
        group = self._groups.get(connection.address)
        if group is not None and (connection in group.new or connection in group.resting):
            group.new.pop(connection, None)
            group.resting.pop(connection, None)
            group.busy[connection] = None

    def rest(self, connection: Connection) -> None:
        """Nothing is asked on it any more."""
        group = self._groups.get(connection.address)
        if group is not None and connection in group.busy:
            del group.busy[connection]
            group.resting[connection] = None

    def leave(self, connection: Connection) -> None:
        """It has ended, or is no stranger's any more."""
        group = self._groups.get(connection.address)
        if group is None:
            return
        before = len(group)
        for kind in (group.new, group.resting, group.busy):
            kind.pop(connection, None)
        self._count -= before - len(group)
        if not group:
            del self._groups[connection.address]

    def _make_room(self, own: int) -> bool:
        """End a connection for one of an address that has ``own``, of nobody who has fewer.

        Whoever keeps very many busy must not keep others out.
        """
        largest = max(self._groups.values(), key=len)
        if len(largest) > own + 1:
            return _drop(next(chain(largest.resting, largest.new, largest.busy)))
        now = self._clock()
        idle = [(len(one), found) for one in self._groups.values() if (found := one.idle(now))]
        size, found = max(idle, key=lambda one: one[0], default=(0, None))
        return size >= own and _drop(found)


def _drop(connection: Connection | None) -> bool:
    """Whether there was one to drop."""
    if connection is not None:
        connection.drop()
    return connection is not None
