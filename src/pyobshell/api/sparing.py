"""Few words about many strangers: else whoever knocks often enough fills the disk."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

FREE: Final = 20
"""How many lines in a row an address may cause."""

PER_S: Final = 1.0
"""How many it may cause a second after that."""

FREE_OF_ALL: Final = 200
PER_S_OF_ALL: Final = 5.0
"""As many, of all addresses together."""

_MOST_ADDRESSES = 1000


@dataclass(slots=True)
class _Known:
    lines: float
    since: float
    left_out: int = 0

    def earn(self, now: float, free: float, per_s: float) -> None:
        """May cause so many more by now."""
        self.lines = min(free, self.lines + (now - self.since) * per_s)
        self.since = now


class Sparing:
    """Decides which lines are written; the last addresses are remembered."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._all = _Known(FREE_OF_ALL, clock())

    def left_out(self, address: str) -> int | None:
        """How many lines about an address were left out before this one; None: this is too."""
        now = self._clock()
        known = self._known.setdefault(address, _Known(FREE, now))
        self._known.move_to_end(address)
        if len(self._known) > _MOST_ADDRESSES:
            self._known.popitem(last=False)
        known.earn(now, FREE, PER_S)
        self._all.earn(now, FREE_OF_ALL, PER_S_OF_ALL)
        if min(known.lines, self._all.lines) < 1:
            known.left_out += 1
            return None
        known.lines -= 1
        self._all.lines -= 1
        left_out, known.left_out = known.left_out, 0
        return left_out
