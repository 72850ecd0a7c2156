"""The line before a lock: the same order at every agent, and who leaves it waits no longer."""

from __future__ import annotations

import pytest

from pyobshell.operations.line import Claimant, Line
from pyobshell.tasks.ids import GenericId
from support.agents import free_address

OWN = free_address()


def claimant(number, attempt=1):
    return Claimant(main_dag_id=str(GenericId(number, OWN)), attempt=attempt)


def test_who_waits_keeps_those_out_that_come_later_in_the_order():
    line = Line()
    with line.waiting(claimant(9)), line.waiting(claimant(10)):
        assert line.before(claimant(11).main_dag_id) == claimant(9).main_dag_id
        assert line.before(claimant(10).main_dag_id) == claimant(9).main_dag_id
        assert line.before(claimant(9).main_dag_id) is None
        assert line.before(claimant(2).main_dag_id) is None
    assert line.before(claimant(11).main_dag_id) is None


@pytest.mark.parametrize("early", [True, False])
def test_who_leaves_waits_no_longer_also_if_it_left_before_it_came(early):
    line = Line()
    if early:
        line.leave(claimant(9))
    with line.waiting(claimant(9)) as leaves, line.waiting(claimant(9, attempt=2)) as again:
        if not early:
            assert not leaves.is_set()
            line.leave(claimant(9))
        assert leaves.is_set()
        assert not again.is_set()


def test_of_those_that_left_only_some_are_remembered():
    line = Line()
    for number in range(1, 1000):
        line.leave(claimant(number))
    with line.waiting(claimant(1)) as first, line.waiting(claimant(999)) as last:
        assert (first.is_set(), last.is_set()) == (False, True)
