from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from pyobshell import errors
from pyobshell.security import backoff
from pyobshell.security.backoff import FREE, LONGEST_S, MOST_WAITING, PER_S, LoginBackoff
from support.staging import turns

pytestmark = pytest.mark.anyio

HERE, ELSEWHERE = "10.0.0.1", "10.0.0.2"


class Time:
    """A clock that goes on while somebody sleeps, and notes for how long."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def logins(time: Time) -> LoginBackoff:
    return LoginBackoff(time, time.sleep)


async def nothing() -> None:
    """Judge at once."""


async def offer(
    logins: LoginBackoff,
    address: str = HERE,
    error: errors.ErrorCode | None = errors.INCORRECT_OCEANBASE_PASSWORD,
    judge: Callable[[], Awaitable[None]] = nothing,
) -> errors.ErrorCode | None:
    """Offer a password that is wrong in this way, or right."""
    try:
        async with logins.judging(address):
            await judge()
            if error is not None:
                raise error()
    except errors.OBShellError as refused:
        return refused.code
    return None


async def test_some_wrong_passwords_are_judged_at_once_and_the_next_ones_later(logins, time):
    for _ in range(FREE):
        assert await offer(logins) is errors.INCORRECT_OCEANBASE_PASSWORD
    assert time.slept == []
    for _ in range(3):
        assert await offer(logins) is errors.INCORRECT_OCEANBASE_PASSWORD
    assert time.slept == [1, 1, 1]


async def test_a_right_one_has_its_turn_too(logins, time):
    for _ in range(FREE + 5):
        await offer(logins)
    assert await offer(logins, error=None) is None
    assert time.slept[-1] == 1


async def test_others_are_not_concerned(logins, time):
    for _ in range(FREE):
        await offer(logins)
    assert await offer(logins, ELSEWHERE) is errors.INCORRECT_OCEANBASE_PASSWORD
    assert time.slept == []


async def test_time_makes_up_for_it(logins, time):
    for _ in range(FREE):
        await offer(logins)
    time.now += FREE
    for _ in range(FREE):
        await offer(logins)
    assert time.slept == []


async def test_right_passwords_and_other_failures_cost_nothing(logins, time):
    for _ in range(3 * FREE):
        await offer(logins, error=None)
        await offer(logins, error=errors.EXPIRED)
    assert time.slept == []
    assert not logins._debtors


async def test_a_debt_is_kept_as_long_as_one_is_judged_that_may_be_wrong(logins, time):
    answered = asyncio.Event()
    slow = asyncio.create_task(offer(logins, judge=answered.wait))
    await turns(2)
    time.now += FREE
    assert await offer(logins, error=None) is None
    for _ in range(FREE):
        await offer(logins)
    assert time.slept == []
    answered.set()
    assert await slow is errors.INCORRECT_OCEANBASE_PASSWORD
    await offer(logins)
    assert len(time.slept) == 1


async def test_who_has_waited_elsewhere_hardly_waits_again(logins, time):
    for _ in range(FREE):
        await offer(logins)
    async with logins.judging(HERE, LONGEST_S) as waited_s:
        assert time.slept == [pytest.approx(LONGEST_S / MOST_WAITING)]
        assert waited_s == pytest.approx(LONGEST_S + time.slept[0])
    async with logins.judging(HERE, 2.0) as waited_s:
        assert waited_s == pytest.approx(2 + time.slept[1])
        assert 0.9 < time.slept[1] < 1


async def test_of_many_at_once_only_some_are_judged_before_they_are_known_to_be_wrong(logins, time):
    judged, answered = [], asyncio.Event()

    async def judge() -> None:
        judged.append(time.now)
        await answered.wait()

    async with asyncio.TaskGroup() as offers:
        for _ in range(FREE + 5):
            offers.create_task(offer(logins, judge=judge))
        await turns(200)
        assert judged.count(1000.0) == FREE
        answered.set()
    assert len(judged) == FREE + 5
    assert judged[FREE:] == [1000.0 + n for n in range(1, 6)]


@pytest.mark.parametrize("guessers", [100, MOST_WAITING - 1])
async def test_a_right_one_has_its_turn_in_time_among_many_wrong_ones(logins, time, guessers):
    for _ in range(FREE):
        await offer(logins)
    async with asyncio.TaskGroup() as offers:
        right = asyncio.Event()

        async def guess() -> None:
            while not right.is_set():
                assert await offer(logins) is errors.INCORRECT_OCEANBASE_PASSWORD

        for _ in range(guessers):
            offers.create_task(guess())
        await turns(20)
        asked_at = time.now
        assert await offer(logins, error=None) is None
        right.set()
        assert time.now <= asked_at + LONGEST_S + 0.001


@pytest.mark.parametrize(("guessers", "most"), [(1, 60), (20, 60), (100, 200), (1000, 2000)])
async def test_guessing_stays_slow_however_many_guess(logins, time, guessers, most):
    guesses, over = [], time.now + 60
    async with asyncio.TaskGroup() as offers:

        async def guess() -> None:
            while time.now < over:
                await offer(logins)
                guesses.append(time.now)
                await offer(logins, error=errors.WITH_AGENT_PASSWORD)  # which pays nothing off

        for _ in range(guessers):
            offers.create_task(guess())
    assert len([one for one in guesses if one <= over]) <= FREE + most + 1


async def test_after_a_flood_of_guesses_who_comes_alone_waits_no_longer_than_before_it(
    logins, time
):
    async with asyncio.TaskGroup() as offers:
        for _ in range(FREE + MOST_WAITING):
            offers.create_task(offer(logins))
    assert await offer(logins, error=None) is None
    assert time.slept[-1] <= 1 / PER_S


async def test_who_gives_up_waiting_leaves_no_place_behind(logins, time):
    over = asyncio.Event()

    async def sleep(_: float) -> None:
        await over.wait()

    logins = LoginBackoff(time, sleep)
    for _ in range(FREE):
        await offer(logins)
    async with asyncio.TaskGroup() as offers:
        waiting = [offers.create_task(offer(logins)) for _ in range(5)]
        await turns(20)
        for one in waiting:
            one.cancel()
        await asyncio.wait(waiting)
        assert logins._debtors[HERE].due == {}
        over.set()


async def test_who_hangs_up_while_he_is_judged_has_paid_for_it(logins, time):
    """What is right is let in at once: who waits no longer than that would guess for nothing."""
    async with asyncio.TaskGroup() as offers:
        judged = [
            offers.create_task(offer(logins, judge=asyncio.Event().wait)) for _ in range(FREE)
        ]
        await turns(20)
        for one in judged:
            one.cancel()
    assert time.slept == []
    assert await offer(logins, error=None) is None
    assert time.slept == [1]


async def test_when_too_many_wait_the_others_are_refused_at_once(time):
    waiting, over = [], asyncio.Event()

    async def sleep(_: float) -> None:
        await over.wait()

    logins = LoginBackoff(time, sleep)
    for _ in range(FREE):
        await offer(logins)
    async with asyncio.TaskGroup() as offers:
        for _ in range(MOST_WAITING):
            waiting.append(offers.create_task(offer(logins)))
        await turns(200)
        assert await offer(logins, error=None) is errors.TOO_MANY_FAILURES
        assert await offer(logins, ELSEWHERE, error=None) is None
        over.set()
    assert all(one.result() is errors.INCORRECT_OCEANBASE_PASSWORD for one in waiting)


@pytest.mark.parametrize(
    ("other", "same"),
    [("fd00::1:2:3:4", True), ("fd00::5", True), ("fd00:0:0:1::", False), ("10.0.0.1", False)],
)
async def test_of_ipv6_a_whole_network_counts_as_one_host(logins, time, other, same):
    for _ in range(FREE):
        await offer(logins, "fd00::1%eth0")
    await offer(logins, other)
    assert bool(time.slept) == same


async def test_only_so_many_addresses_are_remembered(logins, monkeypatch):
    monkeypatch.setattr(backoff, "_MOST_ADDRESSES", 3)
    for number in range(10):
        await offer(logins, f"10.0.1.{number}")
    assert list(logins._debtors) == ["10.0.1.7", "10.0.1.8", "10.0.1.9"]
