"""Work with the private key, in turns: it is most of what a stranger can make an agent do."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

_AT_ONCE = 2
_SMALL = 8  # sections; what clients really send costs no more, and waits for nothing larger
_NICE = 10


class CryptoTurns:
    """Threads for it. What costs little goes first, then who came first.

    While some wait there may be a flood: then the event loop comes before these threads.
    """

    def __init__(self) -> None:
        self._prompt = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="crypto")
        self._patient = ThreadPoolExecutor(
            _AT_ONCE, thread_name_prefix="crypto-flood", initializer=_step_back
        )
        self._free = _AT_ONCE
        self._arrivals = itertools.count()
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []

    async def run(self, cost: int, work: Callable[..., T], *arguments: object) -> T:
        """Do it when it is its turn; ``cost`` counts RSA operations."""
        loop = asyncio.get_running_loop()
        threads = self._prompt if self._free else self._patient
        if self._free:
            self._free -= 1
        else:
            turn: asyncio.Future[None] = loop.create_future()
            heapq.heappush(self._waiting, (max(cost, _SMALL), next(self._arrivals), turn))
            await self._my(turn)
        try:
            return await loop.run_in_executor(threads, work, *arguments)
        finally:
            self._pass_on()

    def close(self) -> None:
        """End the threads."""
        self._prompt.shutdown()
        self._patient.shutdown()

    async def _my(self, turn: asyncio.Future[None]) -> None:
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it had just come
                self._pass_on()
            raise

    def _pass_on(self) -> None:
        while self._waiting:
            *_, turn = heapq.heappop(self._waiting)
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1


def _step_back() -> None:
    """Let other threads have the processor before this one."""
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
