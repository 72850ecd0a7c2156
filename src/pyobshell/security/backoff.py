"""Whoever offers wrong passwords must wait before the next is judged; others need not.

Each address has a debt: a password that is judged adds one, which is taken off if it was right, or
by time. Up to so many nobody waits. With more of it passwords of that address are judged one after
the other, each once the debt has become less; so a right one is late there, but has its turn.
"""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Final

from pyobshell import errors
from pyobshell.errors import OBShellError

FREE: Final = 10
"""How many wrong passwords an address may offer before it has to wait."""

PER_S: Final = 1.0
"""How many it may offer a second after that."""

MOST_WAITING: Final = 64
"""How many passwords of one address wait for their turn; more are refused."""

_MOST_ADDRESSES = 10_000
_WRONG = (errors.INCORRECT_OCEANBASE_PASSWORD, errors.INCORRECT_AGENT_PASSWORD)
_NETWORK_BITS = 64  # of IPv6: less than that nobody has


@dataclass(slots=True)
class _Debtor:
    paid_at: float = 0.0  # when nothing will be left of the debt
    waiting: int = 0
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


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
    async def judging(self, address: str) -> AsyncIterator[None]:
        """Judge a password of an address in the body of this, when it is the address's turn.

        The error of a wrong password, raised there, is noted. Raises
        ``Security.Authentication.TooManyFailures`` if too many wait already.
        """
        network = _network(address)
        debtor = self._debtors.get(network)
        if debtor is None or self._delay(debtor) <= 0:
            with self._charged(network):
                yield
            return
        if debtor.waiting >= MOST_WAITING:
            raise errors.TOO_MANY_FAILURES(address=address)
        debtor.waiting += 1
        try:
            async with debtor.turn:
                await self._sleep(max(0.0, self._delay(debtor)))
                with self._charged(network):
                    yield
        finally:
            debtor.waiting -= 1

    @contextmanager
    def _charged(self, network: str) -> Iterator[None]:
        debtor = self._debtors.setdefault(network, _Debtor())
        debtor.paid_at = max(debtor.paid_at, self._clock()) + 1 / PER_S
        if len(self._debtors) > _MOST_ADDRESSES:
            self._debtors.popitem(last=False)
        wrong = False
        try:
            yield
        except OBShellError as error:
            wrong = error.code in _WRONG
            raise
        finally:
            if wrong:
                self._debtors[network] = debtor
                self._debtors.move_to_end(network)
            else:
                debtor.paid_at -= 1 / PER_S
                if debtor.paid_at <= self._clock() and not debtor.waiting:
                    self._debtors.pop(network, None)

    def _delay(self, debtor: _Debtor) -> float:
        """The seconds until one more wrong password is not too many."""
        return debtor.paid_at - self._clock() - (FREE - 1) / PER_S


def _network(address: str) -> str:
    """An address, or of IPv6 the network of its host."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv4Address):
        return address
    return str(ipaddress.ip_network((ip, _NETWORK_BITS), strict=False))
