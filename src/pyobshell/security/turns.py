"""Work with the private key, in turns: it is most of what a stranger can make an agent do."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final, TypeVar

from pyobshell import errors

T = TypeVar("T")

HUNG_UP: Final = "whoever asked has hung up"

_AT_ONCE = 2
_SMALL = 8  # sections; what clients really send costs no more, and waits for nothing larger
_NICE = 10


@dataclass(slots=True)
class _Sender:
    """Somebody whose work waits: how much, and where in the order his next piece begins."""

    waiting: int = 0
    next: int = 0


@dataclass(order=True, slots=True)
class _Turn:
    """A piece of work that waits. What is small goes first, then by the order of fairness."""

    large: bool
    begin: int
    arrival: int
    sender: str = field(compare=False)
    come: asyncio.Future[bool] = field(compare=False)  # whether, or else its sender is gone


class CryptoTurns:
    """Threads for it. What costs little goes first; of that each sender has the same share.

    Thus one sender's flood does not keep others waiting. While some wait the event loop comes
    before these threads.
    """

    def __init__(self) -> None:
        self._prompt = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="crypto")
        self._patient = ThreadPoolExecutor(
            _AT_ONCE, thread_name_prefix="crypto-flood", initializer=_step_back
        )
        self._free = _AT_ONCE
        self._arrivals = itertools.count()
        self._waiting: list[_Turn] = []
        self._senders: dict[str, _Sender] = {}
        self._order = 0  # where the piece that was begun last stood in it

    async def run(
        self,
        sender: str,
        cost: int,
        work: Callable[..., T],
        *arguments: object,
        gone: asyncio.Future[None] | None = None,
    ) -> T:
        """Do it when it is its turn; ``cost`` counts RSA operations.

        Raises ``Common.BadRequest`` if its sender is ``gone`` before that.
        """
        loop = asyncio.get_running_loop()
        threads = self._prompt if self._free else self._patient
        if self._free:
            self._free -= 1
        else:
            await self._my_turn(sender, cost, gone)
        try:
            return await loop.run_in_executor(threads, work, *arguments)
        finally:
            self._pass_on()

    def close(self) -> None:
        """End the threads."""
        self._prompt.shutdown()
        self._patient.shutdown()

    async def _my_turn(self, name: str, cost: int, gone: asyncio.Future[None] | None) -> None:
        come: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        sender = self._senders.setdefault(name, _Sender())
        begin = max(self._order, sender.next)
        sender.waiting, sender.next = sender.waiting + 1, begin + max(1, cost)
        turn = _Turn(cost > _SMALL, begin, next(self._arrivals), name, come)
        heapq.heappush(self._waiting, turn)

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
        while self._waiting:
            turn = heapq.heappop(self._waiting)
            sender = self._senders[turn.sender]
            sender.waiting -= 1
            if not sender.waiting:
                del self._senders[turn.sender]
            if not turn.come.done():
                self._order = max(self._order, turn.begin)
                turn.come.set_result(True)
                return
        self._free += 1


def _step_back() -> None:
    """Let other threads have the processor before this one."""
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
