"""Digests of very many pieces of headers, of which the oldest are forgotten first; small, and kept.

The youngest are in a set, the others in sorted arrays of 8 bytes each, in the order of their age.
The file has all of them one after the other, the oldest first.
"""

from __future__ import annotations

import contextlib
from array import array
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Final

from pyobshell.whole_file import append_to_file, replace_file

MOST: Final = 1 << 20
"""How many are remembered, in 8 MiB of memory and at most 16 MiB of disk."""

DIGEST_BYTES: Final = 8
_SHELVES = 16


class TimelessDigests:
    """A set of digests of ``DIGEST_BYTES``; used from the event loop only.

    When ``most`` are in it the oldest make way, a sixteenth of them at once. A full disk is in
    nobody's way: then they are written later.
    """

    def __init__(self, file: Path, most: int = MOST) -> None:
        """Go on from what is in ``file``; raises OSError."""
        self._file = file
        self._shelf_size = max(1, most // _SHELVES)
        self._young: dict[int, None] = {}  # in the order in which they came
        self._shelves: deque[array[int]] = deque(maxlen=_SHELVES - 1)
        content = file.read_bytes() if file.exists() else b""
        self._records, rest = divmod(len(content), DIGEST_BYTES)
        self._is_behind = rest != 0  # the last was cut off
        for number in _numbers(content[-most * DIGEST_BYTES - rest : len(content) - rest]):
            self._take(number)

    def __contains__(self, digest: bytes) -> bool:
        """Whether it is remembered."""
        number = int.from_bytes(digest)
        return number in self._young or any(_has(shelf, number) for shelf in self._shelves)

    def __len__(self) -> int:
        """How many are remembered."""
        return len(self._young) + sum(map(len, self._shelves))

    def add(self, digests: Iterable[bytes]) -> None:
        """Remember them, on disk too if that can be."""
        added = [int.from_bytes(one) for one in digests]
        for number in added:
            self._take(number)
        with contextlib.suppress(OSError):
            self._write(added)

    def forget_all(self) -> None:
        """Forget them: what they stand for is of no use to anybody any more."""
        self._young.clear()
        self._shelves.clear()
        self._is_behind = True
        with contextlib.suppress(OSError):
            self._file.unlink(missing_ok=True)
            self._records, self._is_behind = 0, False

    def _take(self, number: int) -> None:
        self._young[number] = None
        if len(self._young) >= self._shelf_size:
            self._shelves.append(array("Q", sorted(self._young)))
            self._young.clear()

    def _write(self, added: list[int]) -> None:
        anew = self._is_behind or self._records + len(added) > 2 * self._shelf_size * _SHELVES
        self._is_behind = True  # until it has been written
        if anew:
            replace_file(self._file, _packed(chain(*self._shelves, self._young)))
            self._records = len(self)
        else:
            append_to_file(self._file, _packed(added))
            self._records += len(added)
        self._is_behind = False


def _has(shelf: array[int], number: int) -> bool:
    at = bisect_left(shelf, number)
    return at < len(shelf) and shelf[at] == number


def _numbers(content: bytes) -> Iterable[int]:
    for at in range(0, len(content), DIGEST_BYTES):
        yield int.from_bytes(content[at : at + DIGEST_BYTES])


def _packed(numbers: Iterable[int]) -> bytes:
    return b"".join(number.to_bytes(DIGEST_BYTES) for number in numbers)
