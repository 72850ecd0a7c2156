"""Handshakes of TLS in turns: each costs a signature, and anybody may begin one.

One step of one handshake is made in each round of the event loop, so that all else goes on between
them; and each address has its turn, so that one with many does not keep the others waiting.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable


class Handshakes:
    """The steps that wait for their turn, by address; used from the event loop only."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, deque[Callable[[], None]]] = OrderedDict()

    def later(self, address: str, step: Callable[[], None]) -> None:
        """Make a step when it is the turn of its address; those of one keep their order."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._next)
        self._waiting.setdefault(address, deque()).append(step)

    def _next(self) -> None:
        address, steps = self._waiting.popitem(last=False)
        step = steps.popleft()
        if steps:
            self._waiting[address] = steps  # behind the others
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._next)
        step()
