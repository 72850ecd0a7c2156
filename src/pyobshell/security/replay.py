"""The replay guard: no encrypted header opens the door twice, also not after a restart.

A header is a chain of RSA sections, and whoever knows the public key can make further ones. So it
is sections that are remembered: one that was in an accepted header is in none that is accepted
later, whatever it is put beside.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import heapq
import os
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from pyobshell import errors
from pyobshell.whole_file import replace_file

MOST: Final = 200_000
"""How many sections are remembered at most; a header of the official SDK has three to five."""

_DIGEST_BYTES = 16
_RECORD = struct.Struct(f">{_DIGEST_BYTES}sQ")
_SLACK = 10_000  # records of the file that may be of no more use


class ReplayGuard:
    """The sections used so far, until they expire; used from the event loop only.

    They are written to ``file`` as well, which outlives the agent (if not the crash of a host, as
    far as its last seconds go). A full disk keeps nobody out: then they are written later.
    """

    def __init__(self, file: Path, now: float, most: int = MOST) -> None:
        """Go on from what is in ``file``, at ``now`` (Unix seconds); raises OSError."""
        self._file = file
        self._most = most
        self._expiries: dict[bytes, int] = {}
        self._by_expiry: list[tuple[int, bytes]] = []
        for digest, expiry in _read(file):
            self._remember(digest, expiry)
        self._forget_expired(now)
        self._records = 0
        self._is_behind = file.exists()
        if self._is_behind:
            with contextlib.suppress(OSError):
                self._write([])

    def admit(self, sections: Sequence[bytes], expiry: int, now: float) -> None:
        """Take the sections of a header for used until the Unix second in which it expires.

        Raises ``Security.Authentication.Header.Replayed`` if one was used before,
        ``Security.Authentication.Header.TooMany`` if no more can be remembered.
        """
        self._forget_expired(now)
        digests = [hashlib.blake2b(one, digest_size=_DIGEST_BYTES).digest() for one in sections]
        if not self._expiries.keys().isdisjoint(digests):
            raise errors.HEADER_REPLAYED()
        if len(self._expiries) + len(digests) > self._most:
            raise errors.TOO_MANY_HEADERS()
        for digest in digests:
            self._remember(digest, expiry)
        with contextlib.suppress(OSError):
            self._write([(digest, expiry) for digest in digests])

    def _remember(self, digest: bytes, expiry: int) -> None:
        self._expiries[digest] = expiry
        heapq.heappush(self._by_expiry, (expiry, digest))

    def _forget_expired(self, now: float) -> None:
        while self._by_expiry and self._by_expiry[0][0] < int(now):
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
            self._append(_packed(added))
            self._records += len(added)
        self._is_behind = False

    def _append(self, content: bytes) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        descriptor = os.open(self._file, flags, 0o600)
        try:
            if os.write(descriptor, content) < len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._file))
        finally:
            os.close(descriptor)


def _read(file: Path) -> Iterable[tuple[bytes, int]]:
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return ()
    whole = len(content) - len(content) % _RECORD.size  # the last may have been cut off
    return _RECORD.iter_unpack(content[:whole])


def _packed(records: Iterable[tuple[bytes, int]]) -> bytes:
    return b"".join(_RECORD.pack(*record) for record in records)
