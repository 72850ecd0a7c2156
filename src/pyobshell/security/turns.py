"""Work with the private key, in turns: it is most of what a stranger can make an agent do."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final, TypeVar

from pyobshell import errors

T = TypeVar("T")

HUNG_UP: Final = "whoever asked has hung up"

_AT_ONCE = 2
_SMALL = 8  # sections; what clients really send costs no more, and waits for nothing larger
_NICE = 10


class Standing(Enum):
    """What is known of a connection by what was asked on it last."""

    LET_IN = auto()
    NEW = auto()  # nothing yet that took such work
    UNPROVEN = auto()


@dataclass(slots=True, eq=False)
class Sender:
    """One connection on which such work is asked for, and whose it is (``address.network_of``)."""

    network: str = ""
    gone: asyncio.Future[None] | None = None
    """Done when it has ended."""
    standing: Standing = Standing.NEW


@dataclass(slots=True, eq=False)
class _Turn:
    """A piece of work that waits."""

    sender: Sender
    cost: int
    come: asyncio.Future[bool]  # whether, or else its sender is gone


class CryptoTurns:
    """Threads for it. What costs little goes first; of that each network has the same share.

    Thus one network's flood does not keep others waiting; and of his own network who was let in
    waits for nobody who was not, and who comes anew for few. While some wait the event loop comes
    before these threads.
    """

    def __init__(self) -> None:
        self._prompt = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="crypto")
        self._patient = ThreadPoolExecutor(
            _AT_ONCE, thread_name_prefix="crypto-flood", initializer=_step_back
        )
        self._free = _AT_ONCE
        self._small, self._large = _Queue(), _Queue()

    async def run(self, sender: Sender, cost: int, work: Callable[..., T], *arguments: object) -> T:
        """Do it when it is its turn; ``cost`` counts RSA operations.

        Raises ``Common.BadRequest`` if its sender is gone before that.
        """
        loop = asyncio.get_running_loop()
        threads = self._prompt if self._free else self._patient
        if self._free:
            self._free -= 1
        else:
            await self._my_turn(_Turn(sender, cost, loop.create_future()))
        sender.standing = Standing.UNPROVEN
        try:
            return await loop.run_in_executor(threads, work, *arguments)
        finally:
            self._pass_on()

    def close(self) -> None:
        """End the threads."""
        self._prompt.shutdown()
        self._patient.shutdown()

    async def _my_turn(self, turn: _Turn) -> None:
        come, gone = turn.come, turn.sender.gone
        (self._small if turn.cost <= _SMALL else self._large).put(turn)

        def leave(_: object) -> None:
            if not come.done():
                come.set_result(False)

        if gone is not None:
            gone.add_done_callback(leave)
        try:
            if not await come:
                raise errors.BAD_REQUEST(cause=HUNG_UP)
        except asyncio.CancelledError:
            if come.done() and not come.cancelled() and come.result():  # it had just come
                self._pass_on()
            raise
        finally:
            if gone is not None:
                gone.remove_done_callback(leave)

    def _pass_on(self) -> None:
        turn = self._small.take() or self._large.take()
        if turn is None:
            self._free += 1
        else:
            turn.come.set_result(True)


@dataclass(slots=True, eq=False)
class _Share:
    """What waits of one network, by the standing of who has asked for it."""

    lines: dict[Standing, deque[_Turn]] = field(
        default_factory=lambda: {one: deque() for one in Standing}
    )
    round: int = -1

    def take(self) -> _Turn | None:
        """After who was let in: the first new one, an unproven one, the first new, the newest.

        The newest, for who has just come is seldom one of many hundred who came a moment ago.
        """
        let_in, new, unproven = (_waiting(line) for line in self.lines.values())
        if let_in:
            return let_in.popleft()
        self.round = (self.round + 1) % 4
        if unproven and (self.round == 1 or not new):
            return unproven.popleft()
        if not new:
            return None
        return new.pop() if self.round == 3 else new.popleft()


def _waiting(line: deque[_Turn]) -> deque[_Turn]:
    """A line without those at its ends who have given up."""
    while line and line[0].come.done():
        line.popleft()
    while line and line[-1].come.done():
        line.pop()
    return line


class _Queue:
    """Work that waits, of which each network has the same share."""

    def __init__(self) -> None:
        self._shares: dict[str, _Share] = {}
        self._order: list[tuple[int, int, str]] = []  # where their next turns begin
        self._arrivals = itertools.count()
        self._now = 0  # where the last one began

    def put(self, turn: _Turn) -> None:
        """Have it wait."""
        network = turn.sender.network
        share = self._shares.get(network)
        if share is None:
            share = self._shares[network] = _Share()
            self._line_up(network, self._now)
        share.lines[turn.sender.standing].append(turn)

    def take(self) -> _Turn | None:
        """Whose turn it is; None if nobody waits any more."""
        while self._order:
            begin, _, network = heapq.heappop(self._order)
            turn = self._shares[network].take()
            if turn is not None:
                self._now = begin
                self._line_up(network, begin + max(1, turn.cost))
                return turn
            del self._shares[network]
        return None

    def _line_up(self, network: str, begin: int) -> None:
        heapq.heappush(self._order, (begin, next(self._arrivals), network))


def _step_back() -> None:
    """Let other threads have the processor before this one."""
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
