"""A deadline is one moment: it can only come nearer."""

from __future__ import annotations

import pytest

from pyobshell.deadline import Deadline


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is set."""

    class Clock:
        now = 1000.0

    clock = Clock()
    monkeypatch.setattr("pyobshell.deadline.time.monotonic", lambda: clock.now)
    return clock


def test_a_deadline_comes_nearer_with_the_clock_and_never_lies_behind(clock):
    deadline = Deadline.after(10)
    assert (deadline.remaining(), deadline.passed(), deadline.seconds) == (10, False, 10)
    clock.now += 9.5
    assert (deadline.remaining(), deadline.passed()) == (0.5, False)
    clock.now += 0.5
    assert (deadline.remaining(), deadline.passed()) == (0, True)
    clock.now += 100
    assert (deadline.remaining(), deadline.passed(), deadline.seconds) == (0, True, 10)


def test_a_timer_may_ring_some_milliseconds_early(clock):
    deadline = Deadline.after(10)
    clock.now += 9.9
    assert not deadline.has_rung()
    clock.now += 0.099
    assert (deadline.passed(), deadline.has_rung()) == (False, True)


def test_a_part_of_the_work_gets_less_time_but_never_more(clock):
    whole = Deadline.after(10)
    clock.now += 4
    assert whole.within(3).at == 1007
    assert whole.within(3).seconds == 3
    assert whole.within(6) is whole
    assert whole.within(60) is whole
    clock.now += 10
    assert whole.within(60).passed()
