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
_GOES_DOWN = "the agent goes down"

_AT_ONCE = 2
_SMALL = 8  # sections; what clients really send costs no more
_SMALL_IN_A_ROW = 32  # pieces, after which a large one that waits has its turn
_MOST_GIVEN_UP = 256  # and as many as do wait
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
    come: asyncio.Future[str]  # why it does not come; empty: it has


class CryptoTurns:
    """Threads for it. Who was let in goes first; of what costs little each network has its share.

    Thus no flood keeps who was let in waiting, and no network's flood another's; and of his own
    network who comes anew waits for few. What costs much has one thread at the most, and seldom.
    While strangers wait the event loop comes before what is done for them.
    """

    def __init__(self) -> None:
        self._prompt = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="crypto")
        self._patient = ThreadPoolExecutor(
            _AT_ONCE, thread_name_prefix="crypto-flood", initializer=_step_back
        )
        self._free = _AT_ONCE
        self._let_in, self._small, self._large = _Queue(), _Queue(), _Queue()
        self._has_large = False  # under way
        self._small_in_a_row = 0
        self._goes_down = False

    async def run(self, sender: Sender, cost: int, work: Callable[..., T], *arguments: object) -> T:
        """Do it when it is its turn; ``cost`` counts RSA operations.

        Raises ``Common.BadRequest`` if its sender is gone before that, or the agent goes down.
        """
        loop = asyncio.get_running_loop()
        let_in = sender.standing is Standing.LET_IN
        is_large = cost > _SMALL and not let_in
        at_once = self._free > 0 and not (is_large and self._has_large)
        threads = self._prompt if at_once or let_in else self._patient
        if at_once:
            self._free -= 1
            self._has_large |= is_large
        else:
            queue = self._let_in if let_in else self._large if is_large else self._small
            await self._come(_Turn(sender, cost, loop.create_future()), queue, is_large)
        sender.standing = Standing.UNPROVEN
        try:
            return await loop.run_in_executor(threads, work, *arguments)
        finally:
            self._pass_on(is_large)

    def go_down(self) -> None:
        """Have nobody wait any more."""
        self._goes_down = True
        for queue in (self._let_in, self._small, self._large):
            while (turn := queue.take()) is not None:
                turn.come.set_result(_GOES_DOWN)

    def close(self) -> None:
        """End the threads."""
        self._prompt.shutdown()
        self._patient.shutdown()

    async def _come(self, turn: _Turn, queue: _Queue, is_large: bool) -> None:
        """Wait for its turn."""
        if self._goes_down:
            raise errors.BAD_REQUEST(cause=_GOES_DOWN)
        come, gone = turn.come, turn.sender.gone
        queue.put(turn)

        def leave(_: object) -> None:
            if not come.done():
                come.set_result(HUNG_UP)

        if gone is not None:
            gone.add_done_callback(leave)
        try:
            if cause := await come:
                raise errors.BAD_REQUEST(cause=cause)
        except asyncio.CancelledError:
            if come.done() and not come.cancelled() and not come.result():  # it had just come
                self._pass_on(is_large)
            raise
        finally:
            if gone is not None:
                gone.remove_done_callback(leave)

    def _pass_on(self, was_large: bool) -> None:
        """A piece is done: begin the next."""
        if was_large:
            self._has_large = False
        turn = self._let_in.take() or self._next_of_strangers()
        if turn is None:
            self._free += 1
        else:
            turn.come.set_result("")

    def _next_of_strangers(self) -> _Turn | None:
        if self._small_in_a_row < _SMALL_IN_A_ROW and (small := self._small.take()) is not None:
            self._small_in_a_row += 1
            return small
        self._small_in_a_row = 0
        large = None if self._has_large else self._large.take()
        self._has_large |= large is not None
        return large or self._small.take()


@dataclass(slots=True, eq=False)
class _Share:
    """What waits of one network: of who comes anew, and of others."""

    new: deque[_Turn] = field(default_factory=deque)
    others: deque[_Turn] = field(default_factory=deque)
    round: int = -1

    def put(self, turn: _Turn) -> None:
        """Have it wait."""
        (self.new if turn.sender.standing is Standing.NEW else self.others).append(turn)

    def take(self) -> _Turn | None:
        """Whose turn it is of those who still wait."""
        while (turn := self._next()) is not None:
            if not turn.come.done():
                return turn
        return None

    def tidy(self) -> int:
        """Forget those who have given up; returns how many wait."""
        self.new = deque(one for one in self.new if not one.come.done())
        self.others = deque(one for one in self.others if not one.come.done())
        return len(self.new) + len(self.others)

    def _next(self) -> _Turn | None:
        """The first new one, one of the others, the first new one, the newest, and so on.

        The newest, for who has just come is seldom one of many hundred who came a moment ago.
        """
        self.round = (self.round + 1) % 4
        if self.others and (self.round == 1 or not self.new):
            return self.others.popleft()
        if not self.new:
            return None
        return self.new.pop() if self.round == 3 else self.new.popleft()


class _Queue:
    """Work that waits, of which each network has the same share."""

    def __init__(self) -> None:
        self._shares: dict[str, _Share] = {}
        self._order: list[tuple[int, int, str]] = []  # where their next turns end
        self._arrivals = itertools.count()
        self._now = 0  # where the last one that was taken ends
        self._put = 0  # since it was tidied
        self._kept = 0

    def put(self, turn: _Turn) -> None:
        """Have it wait."""
        self._put += 1
        if self._put > _MOST_GIVEN_UP + self._kept:
            self._tidy()
        network = turn.sender.network
        share = self._shares.get(network)
        if share is None:
            share = self._shares[network] = _Share()
            self._line_up(network, self._now + max(1, turn.cost))
        share.put(turn)

    def take(self) -> _Turn | None:
        """Whose turn it is; None if nobody waits any more."""
        while self._order:
            end, _, network = heapq.heappop(self._order)
            turn = self._shares[network].take()
            if turn is not None:
                self._now = end
                self._line_up(network, end + max(1, turn.cost))
                return turn
            del self._shares[network]
        return None

    def _line_up(self, network: str, end: int) -> None:
        heapq.heappush(self._order, (end, next(self._arrivals), network))

    def _tidy(self) -> None:
        """Forget those who have given up, lest they add up while others go first."""
        waiting = {name: share.tidy() for name, share in self._shares.items()}
        self._shares = {name: self._shares[name] for name, number in waiting.items() if number}
        self._order = [one for one in self._order if one[2] in self._shares]
        heapq.heapify(self._order)
        self._put, self._kept = 0, sum(waiting.values())


def _step_back() -> None:
    """Let other threads have the processor before this one."""
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
