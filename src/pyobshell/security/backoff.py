"""Whoever offers wrong passwords must wait before the next is judged; others need not.

Each address has a debt: a password that is judged adds one, which is taken off if it was right, or
by time. Who gives up while his is judged has offered a wrong one: that it takes longer than a right
one has told him. Up to so many nobody waits. With more of it passwords of that address wait in a
line, and each is judged once the debt has become less. Nobody waits for longer than ``LONGEST_S``:
in a line that is too long for that the turns come faster. So a right password is late there, but
has its turn however many wrong ones come from the same place, and as many guesses as can wait are
all there are.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Final

from pyobshell import errors
from pyobshell.address import network_of
from pyobshell.errors import OBShellError

FREE: Final = 10
"""How many wrong passwords an address may offer before it has to wait."""

PER_S: Final = 1.0
"""How many it may offer a second after that."""

LONGEST_S: Final = 30.0
"""How long a password waits at most for its turn."""

MOST_WAITING: Final = 1000
"""How many of one address wait, which has no more connections for strangers; more are refused."""

_MOST_ADDRESSES = 10_000
_WRONG = (errors.INCORRECT_OCEANBASE_PASSWORD, errors.INCORRECT_AGENT_PASSWORD)


@dataclass(slots=True)
class _Debtor:
    paid_at: float = 0.0  # when nothing will be left of the debt
    due: dict[object, float] = field(default_factory=dict)  # of those who wait, in their order
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    judged: int = 0  # at this moment

    def pause(self, now: float, delay: float) -> float:
        """How long the first in the line waits, so that it and those behind have their turns."""
        paces = ((due - now) / place for place, due in enumerate(self.due.values(), 1))
        return max(0.0, min(delay, *paces))


class LoginBackoff:
    """The debts of all addresses; of very many the oldest are forgotten."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._debtors: OrderedDict[str, _Debtor] = OrderedDict()

    @asynccontextmanager
    async def judging(self, address: str, waited_s: float = 0.0) -> AsyncIterator[float]:
        """Judge a password of an address in the body of this, when it is the address's turn.

        It has waited ``waited_s`` elsewhere before; yields how long in all. The error of a wrong
        password, raised there, is noted, and so is a cancellation. Raises
        ``Security.Authentication.TooManyFailures`` if too many wait already.
        """
        network, came = network_of(address), self._clock() - waited_s
        debtor = self._debtors.get(network)
        if debtor is not None and (debtor.due or self._delay(debtor) > 0):
            if len(debtor.due) >= MOST_WAITING:
                raise errors.TOO_MANY_FAILURES(address=address)
            await self._wait(debtor, came + LONGEST_S)
        with self._charged(network):
            yield self._clock() - came

    async def _wait(self, debtor: _Debtor, due: float) -> None:
        place, ahead = object(), len(debtor.due) + 1
        # Not faster than in the longest line, or who has waited elsewhere would hurry all before.
        debtor.due[place] = max(due, self._clock() + ahead * LONGEST_S / MOST_WAITING)
        try:
            async with debtor.turn:
                await self._sleep(debtor.pause(self._clock(), self._delay(debtor)))
        finally:
            del debtor.due[place]

    @contextmanager
    def _charged(self, network: str) -> Iterator[None]:
        debtor, now = self._debtors.setdefault(network, _Debtor()), self._clock()
        before = max(debtor.paid_at, now)
        # More is not owed, or who comes last would wait for what others have done long before.
        debtor.paid_at = max(before, min(before + 1 / PER_S, now + FREE / PER_S))
        charged = debtor.paid_at - before
        debtor.judged += 1
        if len(self._debtors) > _MOST_ADDRESSES:
            self._debtors.popitem(last=False)
        wrong = False
        try:
            yield
        except asyncio.CancelledError:
            wrong = True
            raise
        except OBShellError as error:
            wrong = error.code in _WRONG
            raise
        finally:
            debtor.judged -= 1
            if wrong:
                self._debtors[network] = debtor
                self._debtors.move_to_end(network)
            else:
                debtor.paid_at -= charged
                free = not (debtor.due or debtor.judged) and debtor.paid_at <= self._clock()
                if free and self._debtors.get(network) is debtor:
                    del self._debtors[network]

    def _delay(self, debtor: _Debtor) -> float:
        """The seconds until one more wrong password is not too many."""
        return debtor.paid_at - self._clock() - (FREE - 1) / PER_S
