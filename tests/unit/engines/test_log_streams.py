"""Which log streams keep a majority; what is not known is never taken for good."""

from __future__ import annotations

import pytest

from pyobshell import errors
from pyobshell.address import Address
from pyobshell.engines.log_streams import Replica, log_streams, parse_members

A, B, C, D, E = (Address(f"10.0.0.{number}", 2882) for number in range(1, 6))


def stream(*servers, members=None, behind=(), leader=A, replica_num=None):
    """A log stream with replicas on these servers, as GV$OB_LOG_STAT shows it."""
    members = frozenset(servers if members is None else members)
    replicas = [
        Replica(
            tenant="t1",
            ls_id=1001,
            server=server,
            leads=server == leader,
            in_sync=server not in behind,
            members=members if server == leader else frozenset(),
            replica_num=len(members) if replica_num is None else replica_num,
        )
        for server in servers
    ]
    (made,) = log_streams(replicas)
    return made


# --- member lists --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "members"),
    [
        ("", []),
        ("10.0.0.1:2882:1", [A]),
        ("10.0.0.1:2882,10.0.0.2:2882", [A, B]),
        (" 10.0.0.1:2882:1 , 10.0.0.2:2882:0,", [A, B]),
        ("[::1]:2882:1,[fe80::1:2]:2883", [Address("::1", 2882), Address("fe80::1:2", 2883)]),
        ("[::ffff:10.0.0.1]:2882", [Address("::ffff:10.0.0.1", 2882)]),
    ],
)
def test_a_member_list_is_read_in_all_its_forms(text, members):
    assert parse_members(text) == set(members)


@pytest.mark.parametrize("item", ["fe80::1:2882", "10.0.0.1", "host:2882", "10.0.0.1:x", "NULL"])
def test_a_member_that_is_not_understood_is_an_error_not_a_missing_member(item):
    with pytest.raises(errors.OBShellError, match="not understood in a member list") as failed:
        parse_members(f"10.0.0.1:2882:1,{item}")
    assert failed.value.code is errors.SERVER_UNAVAILABLE


# --- majorities ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "without", "outlives"),
    [
        (stream(A, B, C), [], True),
        (stream(A, B, C), [A], True),
        (stream(A, B, C), [A, B], False),
        (stream(A, B, C), [D, E], True),
        (stream(A, B, C, behind=[C]), [], True),
        (stream(A, B, C, behind=[C]), [B], False),
        (stream(A, B, C, behind=[C]), [C], True),
        (stream(A), [], True),
        (stream(A), [A], False),
        (stream(A, B), [B], False),  # two need both
        (stream(A, B, C, D), [D], True),
        (stream(A, B, C, D), [C, D], False),
        (stream(A, B, C, D, E), [D, E], True),
        (stream(A, B, members=[A, B, C]), [], True),  # C cannot be asked
        (stream(A, B, members=[A, B, C]), [B], False),
        (stream(A, B, C, D, members=[A, B, C]), [B, C], False),  # D is no member: it has no vote
        (stream(A, B, C, replica_num=5), [], True),
        (stream(A, B, C, replica_num=5), [C], False),
        (stream(A, B, C, leader=None), [], False),
    ],
)
def test_it_outlives_if_more_than_half_stay_that_are_in_sync(made, without, outlives):
    assert made.outlives(without) is outlives


@pytest.mark.parametrize(
    ("made", "whole"),
    [
        (stream(A, B, C), True),
        (stream(A), True),
        (stream(A, B, C, behind=[C]), False),
        (stream(A, B, members=[A, B, C]), False),
        (stream(A, B, C, replica_num=5), False),
        (stream(A, B, C, D, members=[A, B, C], behind=[D]), True),
        (stream(A, B, C, leader=None), False),
    ],
)
def test_it_is_whole_if_every_member_is_there_and_in_sync(made, whole):
    assert made.is_whole is whole


def test_it_is_on_servers_that_have_it_or_should():
    made = stream(A, B, D, members=[A, B, C])
    assert [made.is_on([server]) for server in (A, C, D, E)] == [True, True, True, False]
    assert str(made) == "t1 LS 1001"


def test_replicas_are_told_apart_by_tenant_and_number():
    one = stream(A, B).replicas
    other = [
        Replica("t2", 1001, A, leads=True, in_sync=True, members=frozenset(), replica_num=1),
        Replica("t1", 1, A, leads=True, in_sync=True, members=frozenset(), replica_num=1),
    ]
    assert [len(made.replicas) for made in log_streams([*one, *other])] == [2, 1, 1]
