from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyobshell import errors
from pyobshell.security import replay
from pyobshell.security.hybrid import Section
from pyobshell.security.replay import KEPT_S, ReplayGuard

ONE, TWO, THREE = b"1" * 256, b"2" * 256, b"3" * 256
RECORD_BYTES = 24


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "headers.used"


def a_guard(file: Path, now: float, **more: int) -> ReplayGuard:
    return ReplayGuard(file, file.with_name("headers.timeless"), now, **more)


def admits(
    guard: ReplayGuard, *sections: bytes, expiry: int = 100, now: float = 0, timeless: bytes = b""
) -> bool:
    """Whether a header is not refused as a replay; its ``timeless`` section goes before others."""
    header = [Section(timeless, timeless=True)] if timeless else []
    header += [Section(one) for one in sections]
    try:
        guard.admit(header, expiry, now)
    except errors.OBShellError as error:
        return error.code is not errors.HEADER_REPLAYED
    return True


def test_a_header_is_admitted_once(file: Path) -> None:
    guard = a_guard(file, 0)
    assert admits(guard, ONE, TWO)
    assert not admits(guard, ONE, TWO)
    assert admits(guard, THREE)


@pytest.mark.parametrize("sections", [(ONE,), (TWO,), (TWO, ONE), (ONE, THREE), (THREE, TWO)])
def test_no_part_of_it_opens_anything_in_another_place(
    file: Path, sections: tuple[bytes, ...]
) -> None:
    guard = a_guard(file, 0)
    assert admits(guard, ONE, TWO)
    assert not admits(guard, *sections)


def test_what_was_refused_has_not_been_used(file: Path) -> None:
    guard = a_guard(file, 0)
    assert admits(guard, ONE)
    assert not admits(guard, ONE, TWO)
    assert admits(guard, TWO)


def test_it_is_remembered_a_little_longer_than_it_is_valid_for_clocks_are_set_back(
    file: Path,
) -> None:
    guard = a_guard(file, 0)
    assert admits(guard, ONE, expiry=100)
    assert admits(guard, TWO, expiry=200, now=100.9 + KEPT_S)
    for one in (guard, a_guard(file, 100.9 + KEPT_S)):
        assert not admits(one, ONE, expiry=100, now=99)
    assert admits(guard, ONE, expiry=200, now=101 + KEPT_S)  # for others see that it is expired
    assert a_guard(file, 201 + KEPT_S)._expiries == {}


def test_those_that_are_only_kept_for_that_make_way(file: Path) -> None:
    guard = a_guard(file, 0, most=1)
    assert admits(guard, ONE, expiry=10)
    assert admits(guard, TWO, expiry=100, now=11)


def test_of_what_anybody_sends_no_more_is_in_memory_than_is_remembered(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "_SLACK", 10)
    monkeypatch.setattr(replay, "_MOST_ADDRESSES", 8)
    guard = a_guard(file, 0, most_of_anybody=6, most_of_address=2)
    for number in range(1000):
        address = f"10.0.{number % 7}.{number % 16}"
        guard.admit([Section(number.to_bytes(256))], 100, 0, of_anybody=address)
        assert len(guard._expiries) == guard._shared <= 6
    assert len(guard._by_expiry) <= 2 * 6 + 10
    assert sum(map(len, guard._anybodys.values())) == guard._shared
    assert len(guard._anybodys) <= 8
    for number in range(1000):
        address = f"fd00::{number:x}"
        guard.admit([Section(b"6" + number.to_bytes(255))], 100, 0, of_anybody=address)
    assert [one for one in guard._anybodys if ":" in one] == ["fd00::/64"]  # it is one host's


def test_the_next_life_of_the_agent_knows_it_too(file: Path) -> None:
    assert admits(a_guard(file, 0), ONE)
    second = a_guard(file, 50)
    assert not admits(second, ONE, now=50)
    assert admits(second, TWO, now=50)
    assert not admits(a_guard(file, 60), TWO, now=60)


def test_a_record_that_was_cut_off_costs_no_other(file: Path) -> None:
    guard = a_guard(file, 0)
    assert admits(guard, ONE)
    assert admits(guard, TWO)
    file.write_bytes(file.read_bytes()[:-1])
    guard = a_guard(file, 0)
    assert not admits(guard, ONE)
    assert admits(guard, THREE)
    assert not admits(a_guard(file, 0), THREE)


def test_when_no_more_can_be_remembered_nobody_gets_in_until_some_expire(file: Path) -> None:
    guard = a_guard(file, 0, most=2)
    assert admits(guard, ONE, TWO, expiry=10)
    with pytest.raises(errors.OBShellError) as refused:
        guard.admit([Section(THREE)], 100, now=10)
    assert refused.value.code is errors.TOO_MANY_HEADERS
    assert admits(guard, THREE, now=11)


def test_the_file_has_no_more_of_what_is_expired_than_a_little(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "_SLACK", 10)
    monkeypatch.setattr(replay, "KEPT_S", 0)
    guard = a_guard(file, 0)
    longest = 0
    for second in range(100):
        assert admits(guard, second.to_bytes(256), expiry=second + 2, now=second)
        longest = max(longest, file.stat().st_size // RECORD_BYTES)
    assert 10 < longest < 20
    assert not admits(a_guard(file, 99), (99).to_bytes(256), now=99)


def test_the_file_is_its_own_users_alone_and_says_nothing(file: Path) -> None:
    assert admits(a_guard(file, 0), ONE)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert ONE[:8] not in file.read_bytes()


def test_a_full_disk_keeps_nobody_out_and_what_was_used_is_written_later(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guard = a_guard(file, 0)
    assert admits(guard, ONE)

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        assert admits(guard, TWO)
    assert not admits(guard, TWO)
    assert admits(a_guard(file, 0), TWO)
    assert admits(guard, THREE)
    next_life = a_guard(file, 0)
    for section in (ONE, TWO, THREE):
        assert not admits(next_life, section)


def test_a_timeless_section_is_known_for_ever_and_by_the_next_life(file: Path) -> None:
    guard = a_guard(file, 0)
    assert admits(guard, ONE, timeless=TWO, expiry=100)
    for late in (guard, a_guard(file, 10**9)):
        assert not admits(late, THREE, timeless=TWO, expiry=10**9 + 1, now=10**9)
        assert not admits(late, TWO, expiry=10**9 + 1, now=10**9)
        assert admits(late, ONE, expiry=10**9, now=10**9 + 1 + KEPT_S)


def test_timeless_sections_keep_nobody_out_however_many_there_are(file: Path) -> None:
    guard = a_guard(file, 0, most=2)
    for number in range(100):
        assert admits(guard, timeless=number.to_bytes(256))


def test_they_are_forgotten_when_the_key_is_changed(file: Path) -> None:
    guard = a_guard(file, 0)
    assert admits(guard, timeless=ONE)
    guard.forget_timeless()
    assert admits(guard, timeless=ONE)
    guard.forget_timeless()
    assert admits(a_guard(file, 0), timeless=ONE)


def test_of_what_anybody_sends_the_oldest_of_the_same_address_make_way(file: Path) -> None:
    guard = a_guard(file, 0, most=9, most_of_anybody=3, most_of_address=2)
    guard.admit([Section(ONE)], 10, 0, of_anybody="a")
    for section in (TWO, THREE, b"4"):
        guard.admit([Section(section)], 10, 0, of_anybody="b")
    assert not admits(guard, ONE)
    assert not admits(guard, b"4")
    assert admits(guard, TWO)
    guard.admit([Section(b"5")], 10, 0, of_anybody="c")  # then of the address that has most
    assert not admits(guard, ONE)
    assert admits(guard, THREE)


def test_of_a_repetition_that_is_noted_nothing_more_is_kept(file: Path) -> None:
    guard = a_guard(file, 0)
    guard.note([Section(ONE)], 100, 0)
    guard.note([Section(ONE), Section(TWO)], 100, 0)
    assert not admits(guard, ONE)
    assert admits(guard, TWO)


@settings(deadline=None)
@given(
    uses=st.lists(
        st.tuples(st.integers(0, 8), st.integers(0, 5), st.booleans()), min_size=1, max_size=40
    )
)
def test_nothing_is_admitted_twice_within_its_time(
    tmp_path_factory: pytest.TempPathFactory, uses: list[tuple[int, int, bool]]
) -> None:
    file = tmp_path_factory.mktemp("guard") / "headers.used"
    guard, used = a_guard(file, 0), dict[int, int]()
    for step, (number, lifetime, restarts) in enumerate(uses):
        now, lifetime = step * KEPT_S // 2, lifetime * KEPT_S // 2
        if restarts:
            guard = a_guard(file, now)
        fresh = used.get(number, -KEPT_S - 1) + KEPT_S < now
        assert admits(guard, number.to_bytes(256), expiry=now + lifetime, now=now) == fresh
        if fresh:
            used[number] = now + lifetime
