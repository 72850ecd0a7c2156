"""Who gives no sign of life: found out within seconds, and remembered for a short while.

An agent at work shows it at once: the head of its answer, or of a refusal, comes before the work is
done. So whoever need not be waited for is given up when not even that comes, and for some seconds
after that is waited for a fraction of the time, until it is heard again.

Where all are slow nobody is silent: the time is longer by a multiple of what the slowest of the
others has taken meanwhile, as on hosts that are busy, or when many agents speak for the first time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

from pyobshell.address import Address

T = TypeVar("T")
_REMEMBERED_S = 30.0
_SHORTER = 4  # so many times, for one that was silent a moment ago
_SLOWER = 3  # so many times the slowest of the others
_LOOKS = (
    4  # several short waits rather than one: this process itself may stand still in one of them
)


class SilentError(TimeoutError):
    """An agent has given no sign of life."""


class Silence:
    """What was heard of other agents, and what was not; times are those of the monotonic clock."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._heard: dict[Address, float] = {}
        self._missed: dict[Address, float] = {}
        self._waiting: dict[Address, float] = {}  # since when for its next sign
        self._took: dict[Address, float] = {}  # seconds that its last sign was waited for

    def heard(self, peer: Address) -> None:
        """Something has come from an agent."""
        now = time.monotonic()
        self._took[peer] = now - self._waiting.pop(peer, now)
        self._heard[peer] = now
        self._missed.pop(peer, None)

    def missed(self, peer: Address, since: float) -> None:
        """An agent is out of reach, unless it was heard since that moment."""
        if not self._was_heard(peer, since):
            self._missed[peer] = time.monotonic()

    def lasts(self, peer: Address) -> bool:
        """Whether an agent was out of reach a moment ago, and was not heard since."""
        missed = self._missed.get(peer)
        return missed is not None and time.monotonic() - missed < _REMEMBERED_S

    async def broken(self, peer: Address, asking: Coroutine[Any, Any, T]) -> T:
        """The answer of an agent, however long it takes, once anything was heard of it.

        Raises :class:`SilentError` if nothing was, and what asking it raises.
        """
        begun, remembered = time.monotonic(), self.lasts(peer)
        patience_s = self._patience_s / _SHORTER if remembered else self._patience_s
        self._waiting.setdefault(peer, begun)
        asked = asyncio.ensure_future(asking)
        waited_s = 0.0
        try:
            while waited_s < patience_s + _SLOWER * self._slowest(begun):
                await asyncio.wait({asked}, timeout=patience_s / _LOOKS)
                if asked.done() or self._was_heard(peer, begun):
                    return await asked
                waited_s += patience_s / _LOOKS
            if not remembered:  # from the first time on, so that it is given the whole time again
                self.missed(peer, begun)
            raise SilentError(f"no sign of life within {waited_s:.1f} s")
        finally:
            self._waiting.pop(peer, None)
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)

    def _was_heard(self, peer: Address, since: float) -> bool:
        return self._heard.get(peer, 0.0) >= since

    def _slowest(self, since: float) -> float:
        """The longest that an agent heard since then was waited for, in seconds."""
        took = (self._took[one] for one, at in self._heard.items() if at >= since)
        return max(took, default=0.0)
