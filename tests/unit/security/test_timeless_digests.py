from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from pyobshell.security.timeless import TimelessDigests


def digest(number: int) -> bytes:
    return (number * 0x9E3779B97F4A7C15 % 2**64).to_bytes(8)  # in no order


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "headers.timeless"


def known(digests: TimelessDigests, count: int) -> list[int]:
    return [number for number in range(count) if digest(number) in digests]


def test_what_was_added_is_in_it_and_in_its_next_life(file: Path) -> None:
    digests = TimelessDigests(file, most=160)
    for number in range(0, 100, 2):
        digests.add([digest(number)])
    assert known(digests, 100) == list(range(0, 100, 2))
    assert known(TimelessDigests(file, most=160), 100) == list(range(0, 100, 2))


def test_when_it_is_full_the_oldest_make_way_in_small_parts(file: Path) -> None:
    digests = TimelessDigests(file, most=160)
    for number in range(400):
        digests.add([digest(number)])
        oldest, *_ = there = known(digests, number + 1)
        assert there == list(range(oldest, number + 1))
        assert len(digests) == len(there) > min(number, 149)
    again = TimelessDigests(file, most=160)
    assert known(again, 400)[-150:] == list(range(250, 400))


def test_memory_and_file_are_bounded(file: Path) -> None:
    digests, longest = TimelessDigests(file, most=160), 0
    for number in range(1000):
        digests.add([digest(number)])
        longest = max(longest, file.stat().st_size)
    assert len(digests) <= 160
    assert 160 * 8 < longest <= 2 * 160 * 8


def test_a_million_take_no_more_than_some_mib(file: Path) -> None:
    digests = TimelessDigests(file)
    digests.add(map(digest, range(200_000)))
    in_memory = sum(shelf.itemsize * shelf.buffer_info()[1] for shelf in digests._shelves)
    assert file.stat().st_size == 200_000 * 8
    assert in_memory <= file.stat().st_size
    assert digest(5) in digests


def test_one_that_was_cut_off_costs_no_other(file: Path) -> None:
    TimelessDigests(file).add([digest(1), digest(2)])
    file.write_bytes(file.read_bytes()[:-3])
    digests = TimelessDigests(file)
    digests.add([digest(3)])
    assert known(digests, 4) == [1, 3]
    assert known(TimelessDigests(file), 4) == [1, 3]


def test_what_a_full_disk_did_not_take_is_written_later(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = TimelessDigests(file)
    digests.add([digest(1)])

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        digests.add([digest(2)])
    assert known(digests, 4) == [1, 2]
    digests.add([digest(3)])
    assert known(TimelessDigests(file), 4) == [1, 2, 3]


def test_it_is_its_own_users_alone(file: Path) -> None:
    TimelessDigests(file).add([digest(1)])
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
