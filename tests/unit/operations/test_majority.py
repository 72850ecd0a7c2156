"""Which log streams would lose their majority, and everything else a cluster is asked to spare."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyobshell import errors
from pyobshell.address import Address
from pyobshell.engines.log_streams import LogStream, Replica
from pyobshell.engines.ob_cluster import ServerRow, ZoneRow
from pyobshell.operations import majority
from pyobshell.operations.majority import Leaving, lost
from pyobshell.operations.views import Views

SERVERS = [Address(f"10.0.0.{number}", 2882) for number in range(1, 8)]
some_servers = st.frozensets(st.sampled_from(SERVERS))


def a_stream(members, in_sync, *, leads=True, visible=SERVERS, tenant="shop", ls_id=1):
    """A log stream led by the first of its members that can be seen."""
    seen = [one for one in SERVERS if one in members and one in visible]
    return LogStream(
        tenant,
        ls_id,
        tuple(
            Replica(
                tenant,
                ls_id,
                one,
                leads=leads and one == seen[0],
                in_sync=one in in_sync,
                members=frozenset(members),
                replica_num=len(members),
            )
            for one in seen
        ),
    )


@given(members=some_servers.filter(bool), in_sync=some_servers, leaving=some_servers)
def test_what_is_left_in_sync_is_more_than_half_or_the_log_stream_is_lost(
    members, in_sync, leaving
):
    left = len((members & in_sync) - leaving)
    concerned = bool(members & leaving)
    found = lost([a_stream(members, in_sync)], leaving)
    assert bool(found) == (concerned and 2 * left <= len(members))


@given(members=some_servers.filter(bool), in_sync=some_servers, visible=some_servers)
def test_a_replica_that_cannot_be_seen_is_not_counted(members, in_sync, visible):
    visible = visible | {next(one for one in SERVERS if one in members)}
    stream = a_stream(members, in_sync, visible=visible)
    assert stream.left(()) == len(members & in_sync & visible)
    assert stream.outlives(()) == (2 * stream.left(()) > len(members))


@given(members=some_servers.filter(bool), leaving=some_servers, more=some_servers)
def test_who_spares_many_spares_fewer(members, leaving, more):
    stream = a_stream(members, members)
    if stream.outlives(leaving | more):
        assert stream.outlives(leaving)


@given(members=some_servers.filter(bool), leaving=some_servers)
def test_without_a_leader_nothing_is_spared(members, leaving):
    found = lost([a_stream(members, members, leads=False)], leaving)
    assert bool(found) == bool(members & leaving)


@given(members=some_servers.filter(bool), in_sync=some_servers, asked=some_servers)
def test_a_log_stream_is_behind_where_a_member_is_not_in_sync(members, in_sync, asked):
    behind = a_stream(members, in_sync).is_behind_on(asked)
    assert behind == bool((members & asked) - in_sync)


# --- everything that speaks against it -----------------------------------------------------------


def views(stopped=(), stopped_zones=(), in_sync=SERVERS[:3], streams=True):
    """Three servers in three zones, with two tenants."""
    three = SERVERS[:3]
    places = dict(zip(three, ("zone1", "zone2", "zone3"), strict=True))
    shown = [
        a_stream(three, in_sync, tenant="sys"),
        a_stream(three, in_sync, tenant="META$1002"),
        a_stream(three, in_sync, ls_id=1001),
    ]
    return Views(
        servers=[
            ServerRow(one, zone, 2881, False, "ACTIVE", True, one in stopped, "4.3")
            for one, zone in places.items()
        ],
        zones=[
            ZoneRow(zone, "INACTIVE" if zone in stopped_zones else "ACTIVE", "here")
            for zone in places.values()
        ],
        log_streams=shown if streams else [],
    )


ZONE2 = Leaving(zones=["zone2"], alone=True)
SERVER2 = Leaving(servers=[SERVERS[1]], alone=True)
MULTI, LOST = "OB.Server.StoppedInMultiZone", "OB.Cluster.Tenant.Replica.Invalid"


@pytest.mark.parametrize("leaving", [ZONE2, SERVER2])
@pytest.mark.parametrize(
    ("shown", "codes"),
    [
        (views(), []),
        (views(stopped=SERVERS[1:2], stopped_zones=["zone2"]), []),
        (views(stopped=SERVERS[2:3]), [MULTI]),
        (views(stopped_zones=["zone3"]), [MULTI]),
        (views(in_sync=SERVERS[:2]), [LOST]),
        (views(stopped_zones=["zone1"], in_sync=SERVERS[1:3]), [MULTI, LOST]),
        (views(streams=False), ["OB.Server.Unavailable"]),
    ],
    ids=["well", "stopped already", "server", "zone", "lost", "zone and lost", "unknown"],
)
def test_every_reason_is_told_in_order(leaving, shown, codes):
    assert [one.code.name for one in majority.objections(shown, leaving)] == codes


@pytest.mark.parametrize(
    ("leaving", "code", "named"),
    [
        (Leaving(zones=["zone9"], alone=True), errors.ZONE_NOT_EXIST, "zone9"),
        (Leaving(servers=SERVERS[5:6], alone=True), errors.SERVER_UNAVAILABLE, "10.0.0.6:2882"),
        (
            Leaving(servers=SERVERS[:2], alone=True),
            errors.SERVER_STOPPED_IN_MULTI_ZONE,
            "zone1, zone2",
        ),
    ],
)
def test_stop_keeps_to_one_zone_that_is_known(leaving, code, named):
    first = next(majority.objections(views(), leaving))
    assert first.code is code
    assert named in str(first)


def test_servers_that_are_killed_need_no_zone_of_their_own_but_a_majority():
    shown = views(stopped_zones=["zone3"])
    assert list(majority.objections(shown, Leaving(servers=SERVERS[:1]))) == []
    (lost_,) = majority.objections(shown, Leaving(servers=SERVERS[:2]))
    assert str(lost_) == (
        "Without servers 10.0.0.1:2882, 10.0.0.2:2882 there would be no majority of: "
        "tenant META$1002 (LS 1); tenant shop (LS 1001); tenant sys (LS 1); "
        "only 'force' does not ask"
    )
    assert "tenant shop (LS 1001)" in lost_.text("zh")


def test_a_log_stream_without_leader_is_said_to_have_none():
    found = lost([a_stream(SERVERS[:3], SERVERS[:3], leads=False)], SERVERS[:1])
    assert majority.in_words(found) == "tenant shop (LS 1, now without a leader)"
