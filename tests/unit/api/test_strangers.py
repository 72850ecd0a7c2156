"""Which connections of strangers there may be, and which one ends for a new one."""

from __future__ import annotations

from pyobshell.api.strangers import Strangers


class Connection:
    def __init__(self, strangers: Strangers, address: str) -> None:
        self.address = address
        self.lives = True
        self.strangers = strangers

    def drop(self) -> None:
        self.lives = False
        self.strangers.leave(self)


def test_who_leaves_makes_room_and_nothing_is_remembered_of_him():
    strangers = Strangers(most=2, most_of_one=2)
    one, two, three = (Connection(strangers, "10.0.0.1") for _ in range(3))
    for connection in (one, two):
        assert strangers.enter(connection)
        strangers.ask(connection)
    assert not strangers.enter(three)
    strangers.leave(one)
    assert strangers.enter(three)
    for connection in (one, two, three, three):
        strangers.leave(connection)
    assert (strangers._count, strangers._groups) == (0, {})


def one_and_many(strangers: Strangers, number: int) -> tuple[Connection, list[Connection]]:
    """A connection of one address, and so many of another."""
    single = Connection(strangers, "10.0.0.1")
    many = [Connection(strangers, "10.0.0.2") for _ in range(number)]
    assert all(strangers.enter(connection) for connection in (single, *many))
    return single, many


def test_when_all_places_are_taken_who_has_most_gives_one():
    strangers = Strangers(most=4, most_of_one=3)
    single, many = one_and_many(strangers, 3)
    assert strangers.enter(Connection(strangers, "10.0.0.3"))
    assert [one.lives for one in (single, *many)] == [True, False, True, True]


def test_who_has_most_gives_one_also_if_he_is_busy_with_all():
    strangers = Strangers(most=3, most_of_one=3)
    single, many = one_and_many(strangers, 2)
    for connection in many:
        strangers.ask(connection)
    assert strangers.enter(Connection(strangers, "10.0.0.3"))
    assert [one.lives for one in (single, *many)] == [True, False, True]


def test_two_who_keep_all_places_busy_keep_nobody_else_out_nor_throw_him_out():
    strangers = Strangers(most=8, most_of_one=4)
    for address in ("10.0.0.1", "10.0.0.2"):
        for connection in [Connection(strangers, address) for _ in range(4)]:
            assert strangers.enter(connection)
            strangers.ask(connection)
    other = Connection(strangers, "10.0.0.3")
    assert strangers.enter(other)
    for address in ("10.0.0.1", "10.0.0.2"):
        assert not strangers.enter(Connection(strangers, address))
    assert other.lives
    strangers.ask(other)
    assert strangers.enter(Connection(strangers, "10.0.0.4"))
    assert other.lives
    assert strangers._count == 8


def test_of_many_who_have_one_each_nobody_is_thrown_out_who_is_busy():
    strangers = Strangers(most=2, most_of_one=2)
    first, second = (Connection(strangers, f"10.0.0.{number}") for number in (1, 2))
    for connection in (first, second):
        assert strangers.enter(connection)
        strangers.ask(connection)
    assert not strangers.enter(Connection(strangers, "10.0.0.3"))
    strangers.rest(second)
    assert strangers.enter(Connection(strangers, "10.0.0.3"))
    assert [one.lives for one in (first, second)] == [True, False]


def test_one_on_which_a_request_may_be_on_its_way_ends_after_those_that_were_answered():
    now = 0.0
    strangers = Strangers(most=9, most_of_one=3, clock=lambda: now)
    three = [Connection(strangers, "10.0.0.1") for _ in range(3)]
    for connection in three:
        assert strangers.enter(connection)
    for connection in three[1:]:
        strangers.ask(connection)
        strangers.rest(connection)
    assert strangers.enter(Connection(strangers, "10.0.0.1"))
    assert [one.lives for one in three] == [True, False, True]
    now = 1.5
    assert strangers.enter(Connection(strangers, "10.0.0.1"))
    assert [one.lives for one in three] == [False, False, True]
