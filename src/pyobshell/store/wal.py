"""Reads SQLite's write-ahead log without SQLite: which pages of the database it holds."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_HEADER = struct.Struct(">8I")  # magic, version, page size, number, two salts, two checksums
_FRAME = struct.Struct(">6I")  # page, pages of the database if it commits, two salts, two checksums
_BYTE_ORDERS = {0x377F0682: "<", 0x377F0683: ">"}  # of the words that are summed up
_WORD = 0xFFFFFFFF


def holds_all_after(log: Path, page: int) -> bool:
    """Whether every page of the database after this one is in the log, and committed.

    False as well if there is no log, or it commits nothing. Raises OSError.
    """
    committed: set[int] = set()
    begun: set[int] = set()
    pages = 0
    try:
        with log.open("rb") as file:
            for number, pages_then in _frames(file):
                begun.add(number)
                if pages_then:
                    pages = pages_then
                    committed |= begun
                    begun.clear()
    except FileNotFoundError:
        return False
    return pages > 0 and all(one in committed for one in range(page + 1, pages + 1))


def _frames(file: BinaryIO) -> Iterator[tuple[int, int]]:
    """The frames up to the first that is not whole, or of an earlier log: page, pages then."""
    header = file.read(_HEADER.size)
    if len(header) < _HEADER.size:
        return
    magic, _, page_size, _, *salts, first, second = _HEADER.unpack(header)
    order = _BYTE_ORDERS.get(magic)
    if order is None:
        return
    sums = _summed(header[:24], order, (0, 0))
    if sums != (first, second):
        return
    while len(frame := file.read(_FRAME.size + page_size)) == _FRAME.size + page_size:
        number, pages_then, *of_frame, first, second = _FRAME.unpack_from(frame)
        sums = _summed(frame[_FRAME.size :], order, _summed(frame[:8], order, sums))
        if of_frame != salts or sums != (first, second):
            return
        yield number, pages_then


def _summed(content: bytes, order: str, sums: tuple[int, int]) -> tuple[int, int]:
    first, second = sums
    for even, odd in struct.iter_unpack(f"{order}2I", content):
        first = (first + even + second) & _WORD
        second = (second + odd + first) & _WORD
    return first, second
