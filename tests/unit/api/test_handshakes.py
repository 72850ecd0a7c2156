from __future__ import annotations

import asyncio

import pytest

from pyobshell.api.handshakes import Handshakes

pytestmark = pytest.mark.anyio

ONE, TWO, THREE = "10.0.0.1", "10.0.0.2", "10.0.0.3"


async def made(given: list[tuple[str, int]]) -> list[list[tuple[str, int]]]:
    """Which steps are made in each round of the loop until all are."""
    handshakes, rounds, left = Handshakes(), [], len(given)
    for address, number in given:
        handshakes.later(address, lambda one=(address, number): rounds[-1].append(one))
    while sum(map(len, rounds)) < left:
        rounds.append([])
        await asyncio.sleep(0)
    assert not handshakes._waiting
    return rounds


async def test_each_round_of_the_loop_makes_one_step_so_that_all_else_goes_on():
    rounds = await made([(ONE, number) for number in range(100)])
    assert max(map(len, rounds)) == 1


async def test_who_shakes_many_hands_does_not_keep_others_waiting():
    rounds = await made([*((ONE, number) for number in range(100)), (TWO, 0), (THREE, 0), (TWO, 1)])
    steps = [step for steps in rounds for step in steps]
    assert steps[:5] == [(ONE, 0), (TWO, 0), (THREE, 0), (ONE, 1), (TWO, 1)]
    assert [number for address, number in steps if address == ONE] == list(range(100))


async def test_a_step_that_fails_keeps_no_other_from_being_made():
    handshakes, rest = Handshakes(), asyncio.Event()
    complaints = []
    asyncio.get_running_loop().set_exception_handler(lambda _, told: complaints.append(told))

    def fail() -> None:
        raise ValueError

    handshakes.later(ONE, fail)
    handshakes.later(ONE, rest.set)
    await asyncio.wait_for(rest.wait(), 10)
    assert len(complaints) == 1
