"""An operator brings servers up and down at their own hosts, while no other agent answers."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from support.observer_clusters import Member, SixServers
from support.running import end_process
from support.standin_clusters import eventually

ALONE = "this agent acts alone, on its own server, without a lock"


def order(member: Member, *words: str) -> str:
    """What `obshell cluster` prints when it succeeds."""
    done = member.command(*words, of="cluster")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextmanager
def paused(members: Sequence[Member]) -> Iterator[None]:
    """Their agents, as if their hosts were lost."""
    pids = [member.pid() for member in members]
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def test_agents_that_hang_keep_no_one_from_the_own_server(cluster: SixServers) -> None:
    first, *others = cluster.members
    with paused(others):
        began = time.monotonic()
        stopped = order(first, "stop", "-f", "-y")
        assert first.server_pid() is None
        started = order(first, "start")
        took_s = time.monotonic() - began
    assert first.server_pid()
    for told in (stopped, started):
        assert f"Emergency mode, as no other agent of the cluster answers: {ALONE}" in told
    assert "the server runs and serves SQL" in started
    assert took_s < 20  # to ask agents that hang in the ordinary way takes 12 s, each time


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_cluster_that_is_down_is_brought_back_host_by_host(cluster: SixServers) -> None:
    cluster.stop("GLOBAL", [], force=True)
    first, *others = cluster.members
    for member in others:
        end_process(member.pid())
    told = order(first, "start")
    assert f"Emergency mode, as no other agent of the cluster answers: {ALONE}" in told
    assert "its cluster has no majority of servers yet" in told
    assert [member.node.runs() for member in cluster.members] == [True, *[False] * 5]
    for member in others:
        member.start()
        told = order(member, "start")
        assert member.server_pid()
        if member is others[0]:  # one answers by now, but no server serves
            assert ALONE in told
    eventually(cluster.all_well)
    assert cluster.sdk.get_unfinished_dags() == []
    order(others[-1], "start", "-a")
