from __future__ import annotations

import pytest
import structlog

from pyobshell.api import sparing
from pyobshell.api.sparing import FREE, FREE_OF_ALL, PER_S_OF_ALL, Sparing

HERE, THERE = "10.0.0.1", "10.0.0.2"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_after_some_lines_one_a_second_is_written_and_says_how_many_were_not(clock: Clock) -> None:
    refusals = Sparing(clock)
    assert [refusals.left_out(HERE) for _ in range(FREE + 5)] == [0] * FREE + [None] * 5
    assert refusals.left_out(THERE) == 0
    clock.now = 1
    assert [refusals.left_out(HERE) for _ in range(3)] == [5, None, None]
    clock.now = 1000
    assert [refusals.left_out(HERE) for _ in range(FREE + 1)] == [2] + [0] * (FREE - 1) + [None]


def test_all_addresses_together_cause_only_so_many(clock: Clock) -> None:
    refusals = Sparing(clock)
    addresses = [f"10.0.{number // 250}.{number % 250}" for number in range(FREE_OF_ALL)]
    assert [refusals.left_out(address) for address in addresses] == [0] * FREE_OF_ALL
    assert [refusals.left_out(address) for address in (HERE, THERE)] == [None, None]
    clock.now = 1 / PER_S_OF_ALL
    assert [refusals.left_out(address) for address in (HERE, THERE)] == [1, None]


def test_only_so_many_addresses_are_remembered(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sparing, "_MOST_ADDRESSES", 3)
    refusals = Sparing(clock)
    for number in range(10):
        refusals.left_out(f"10.0.1.{number}")
    assert list(refusals._known) == ["10.0.1.7", "10.0.1.8", "10.0.1.9"]


@pytest.mark.anyio
async def test_a_flood_of_strangers_is_logged_in_few_lines_and_users_in_all(unchanged_member):
    host = unchanged_member
    host.agent._door.refusals._clock = lambda: 1e9
    with structlog.testing.capture_logs() as lines:
        for _ in range(2 * FREE):
            await host.api.plain("POST", "/api/v1/ob/stop", headers={"x-ocs-header": "garbage"})
            await host.api.plain("POST", "/elsewhere")
        for _ in range(3):
            await host.local.post("/ob/stop", {"scope": {"type": "NONE"}})
            await host.api.post("/ob/stop", {"scope": {"type": "NONE"}})
    requests = [line for line in lines if line.get("action") == "request"]
    strangers = [line for line in requests if line["status"] in (401, 404)]
    assert len(strangers) == FREE
    assert {line["log_level"] for line in strangers} == {"warning", "info"}
    assert len([line for line in requests if line["status"] == 400]) == 6
