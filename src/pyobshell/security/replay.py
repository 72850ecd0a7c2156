"""The replay guard: no encrypted header opens the door twice, also not after a restart.

A header is a chain of RSA sections, and whoever knows the public key can make further ones. So it
is sections that are remembered: one that was in an accepted header is in none that is accepted
later, whatever it is put beside.

Most sections are of no use once the header has expired, and are forgotten. Those that have the
password without the whole time would be of use as long as password and key are in use: of them
very many are remembered, and the oldest make way, so that they keep nobody out.

A header that let nobody in is remembered by whose password it has, and only for who comes with the
same: who knows one password could find out otherwise whether he has guessed another.
"""

from __future__ import annotations

import contextlib
import hashlib
import heapq
import struct
from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from pyobshell import errors
from pyobshell.address import network_of
from pyobshell.errors import OBShellError
from pyobshell.security.hybrid import Section
from pyobshell.security.timeless import DIGEST_BYTES as SHORT
from pyobshell.security.timeless import TimelessDigests
from pyobshell.whole_file import append_to_file, replace_file

MOST: Final = 200_000
"""How many sections are remembered at most; a header of the official SDK has three to five."""

MOST_OF_ANYBODY: Final = 20_000
"""How many of those are of requests that anybody could make, where nothing is guarded yet."""

MOST_OF_ADDRESS: Final = 2_000
"""How many of these are of one address; then the oldest of it make way."""

KEPT_S: Final = 60
"""How long sections are kept past their expiry, for a clock that is set back a little."""

_DIGEST_BYTES = 16
_RECORD = struct.Struct(f">{_DIGEST_BYTES}sQ")
_SLACK = 10_000  # records of the file, and entries in memory, that may be of no more use
_MOST_ADDRESSES = 1000


class ReplayGuard:
    """The sections used so far; used from the event loop only.

    They are written to files as well, which outlive the agent (if not the crash of a host, as far
    as its last seconds go): those that expire to ``file``, the timeless ones to ``timeless``. A
    full disk keeps nobody out: then they are written later.
    """

    def __init__(
        self,
        file: Path,
        timeless: Path,
        now: float,
        most: int = MOST,
        most_of_anybody: int = MOST_OF_ANYBODY,
        most_of_address: int = MOST_OF_ADDRESS,
    ) -> None:
        """Go on from what is in the files, at ``now`` (Unix seconds); raises OSError."""
        self._file = file
        self._timeless = TimelessDigests(timeless)
        self._most = most
        self._most_of_anybody = most_of_anybody
        self._most_of_address = most_of_address
        self._expiries: dict[bytes, int] = {}
        self._by_expiry: list[tuple[int, bytes]] = []
        self._anybodys: OrderedDict[str, deque[bytes]] = OrderedDict()  # by network, both by age
        self._shared = 0  # how many are in these
        for digest, expiry in _read(file):
            self._remember(digest, expiry)
        self._forget(now - KEPT_S)
        self._records = 0
        self._is_behind = file.exists()
        if self._is_behind:
            with contextlib.suppress(OSError):
                self._write([])

    def admit(
        self,
        sections: Sequence[Section],
        expiry: int,
        now: float,
        *,
        password: bytes = b"",
        of_anybody: str | None = None,
    ) -> None:
        """Take the sections of a header for used, which expires in that Unix second.

        ``password`` (its fingerprint) is in it. ``of_anybody`` is the address it came from if
        anybody's would have been let in. Raises
        ``Security.Authentication.Header.Replayed`` if one was used before,
        ``Security.Authentication.Header.TooMany`` if no more can be remembered.
        """
        self._use(sections, expiry, now, of_anybody, seen_by=password, of=b"")

    def _use(
        self,
        sections: Sequence[Section],
        expiry: int,
        now: float,
        of_anybody: str | None,
        *,
        seen_by: bytes,
        of: bytes,
    ) -> None:
        self._forget(now - KEPT_S)
        seen = [_digest(one, known) for one in sections for known in {b"", seen_by}]
        if any(one in self._expiries or one[:SHORT] in self._timeless for one in seen):
            raise errors.HEADER_REPLAYED()
        digests = [_digest(one, of) for one in sections]
        pairs = list(zip(digests, sections, strict=True))
        timeless = [digest[:SHORT] for digest, section in pairs if section.timeless]
        expiring = [digest for digest, section in pairs if not section.timeless]
        if len(self._expiries) + len(expiring) > self._most:
            self._forget(now)
        if len(self._expiries) + len(expiring) > self._most:
            raise errors.TOO_MANY_HEADERS()
        for digest in expiring:
            self._remember(digest, expiry)
        if of_anybody is not None:
            self._share(of_anybody, expiring)
        if timeless:
            self._timeless.add(timeless)
        if expiring:
            with contextlib.suppress(OSError):
                self._write([(digest, expiry) for digest in expiring])

    def note(
        self,
        sections: Sequence[Section],
        expiry: int,
        now: float,
        *,
        password: bytes = b"",
        of_anybody: str | None = None,
    ) -> None:
        """As ``admit``, for a header that let nobody in; of one that is refused nothing is kept.

        No header with another ``password`` is refused for it; without one, any is.
        """
        with contextlib.suppress(OBShellError):
            self._use(sections, expiry, now, of_anybody, seen_by=password, of=password)

    def forget_timeless(self) -> None:
        """Forget the sections that do not expire: the key they were made for has been given up."""
        self._timeless.forget_all()

    def _share(self, address: str, digests: Sequence[bytes]) -> None:
        """Have what anybody sends push out no more than what the same address, or a flood, sent."""
        network = network_of(address)
        own = self._anybodys.setdefault(network, deque())
        self._anybodys.move_to_end(network)
        own.extend(digests)
        self._shared += len(digests)
        while len(own) > self._most_of_address:
            self._drop_oldest(network)
        while self._shared > self._most_of_anybody:
            self._drop_oldest(max(self._anybodys, key=lambda one: len(self._anybodys[one])))
        while len(self._anybodys) > _MOST_ADDRESSES:
            self._drop_oldest(next(iter(self._anybodys)))

    def _drop_oldest(self, network: str) -> None:
        own = self._anybodys[network]
        if own:
            self._expiries.pop(own.popleft(), None)
            self._shared -= 1
        if not own:
            del self._anybodys[network]

    def _remember(self, digest: bytes, expiry: int) -> None:
        self._expiries[digest] = expiry
        heapq.heappush(self._by_expiry, (expiry, digest))
        if len(self._by_expiry) > 2 * len(self._expiries) + _SLACK:  # of those that made way
            self._by_expiry = [(until, one) for one, until in self._expiries.items()]
            heapq.heapify(self._by_expiry)

    def _forget(self, moment: float) -> None:
        """Forget what expires before a moment."""
        while self._by_expiry and self._by_expiry[0][0] < int(moment):
            expiry, digest = heapq.heappop(self._by_expiry)
            if self._expiries.get(digest) == expiry:
                del self._expiries[digest]

    def _write(self, added: Sequence[tuple[bytes, int]]) -> None:
        anew = self._is_behind or self._records > 2 * len(self._expiries) + _SLACK
        self._is_behind = True  # until it has been written
        if anew:
            replace_file(self._file, _packed(self._expiries.items()))
            self._records = len(self._expiries)
        else:
            append_to_file(self._file, _packed(added))
            self._records += len(added)
        self._is_behind = False


def _digest(section: Section, of: bytes) -> bytes:
    return hashlib.blake2b(section.ciphertext, digest_size=_DIGEST_BYTES, key=of).digest()


def _read(file: Path) -> Iterable[tuple[bytes, int]]:
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return ()
    whole = len(content) - len(content) % _RECORD.size  # the last may have been cut off
    return _RECORD.iter_unpack(content[:whole])


def _packed(records: Iterable[tuple[bytes, int]]) -> bytes:
    return b"".join(_RECORD.pack(*record) for record in records)
