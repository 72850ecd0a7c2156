"""Agents that give no sign of life: paused, or on a host that is lost."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time

import pytest

from pyobshell import errors
from pyobshell.cluster import silence
from pyobshell.cluster.model import Identity
from pyobshell.cluster.procedures import Nothing
from pyobshell.deadline import Deadline
from pyobshell.engines.base import ObState
from pyobshell.operations import server
from pyobshell.security.verify import Passwords
from pyobshell.tasks.ids import GenericId
from support.agents import ROOT_PASSWORD, a_member, a_view, free_address
from support.undertakings import FORCE_ALL, logs_of, wait_end
from support.waiting import PATIENCE_S, soon

pytestmark = pytest.mark.anyio

MEMBER = Identity.CLUSTER_AGENT
SILENT_S = 0.4


@contextlib.contextmanager
def paused(address):
    """An agent of which the kernel alone is there: it takes connections, and says nothing."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address.ip, address.port))
        listener.listen()
        yield


@pytest.fixture
async def asking(start_host, keys):
    """A member whose fellow may be there or not; it would be asked for long."""
    own, other = free_address(), free_address()
    members = [a_member(own, keys[0], "zone1"), a_member(other, keys[1], "zone2")]
    passwords = Passwords(root=ROOT_PASSWORD)
    waits = {"silent_agent_s": SILENT_S, "retry_s": PATIENCE_S, "rpc_timeout_s": PATIENCE_S}
    return await start_host(MEMBER, members, address=own, passwords=passwords, **waits)


@pytest.fixture
def other(asking):
    (address,) = asking.site.cluster.view.others
    return address


def served(hosts, keys, asking, other):
    """The fellow, when it is there."""
    return hosts.serve(
        a_view(other, MEMBER, asking.site.cluster.view.members), keys[1], Passwords()
    )


async def ask(asking, other, *, again=False):
    """What the fellow answers, or the error, and how long that took."""
    began = time.monotonic()
    patience = Deadline.after(PATIENCE_S)
    how = {"again": again, "if_there": True}
    try:
        answer = await soon(
            asking.site.peers.call(other, server.status, Nothing(), patience, **how)
        )
    except errors.OBShellError as error:
        answer = error
    return answer, time.monotonic() - began


async def test_one_that_is_silent_is_given_up_and_then_costs_little(asking, other):
    with paused(other):
        for again, patience_s in ((True, SILENT_S), (True, SILENT_S / 4), (False, SILENT_S / 4)):
            answer, took_s = await ask(asking, other, again=again)
            assert answer.code is errors.RPC_REQUEST_FAILED
            assert f"no sign of life within {patience_s:.1f} s" in str(answer)
            assert patience_s <= took_s < PATIENCE_S / 2


async def test_one_that_was_silent_and_is_down_now_is_asked_only_once(asking, other):
    with paused(other):
        await ask(asking, other)
    answer, took_s = await ask(asking, other, again=True)
    assert "connection refused" in str(answer)
    assert took_s < PATIENCE_S / 2


async def test_one_that_is_back_is_used_at_once_and_has_all_the_time_again(
    hosts, keys, asking, other, monkeypatch
):
    with paused(other):
        await ask(asking, other)
    monkeypatch.setattr(silence, "_SHORTER", 1)  # the machine may be busy
    async with served(hosts, keys, asking, other):
        answer, _ = await ask(asking, other)
        assert answer.state is ObState.CONNECTION_AVAILABLE
    with paused(other):
        answer, _ = await ask(asking, other)
    assert f"no sign of life within {SILENT_S:.1f} s" in str(answer)


async def test_one_that_is_slow_at_its_work_is_not_silent(hosts, keys, asking, other):
    async with served(hosts, keys, asking, other) as slow:
        gate = slow.engine.hold("minor_freeze")
        peers, patience = asking.site.peers, Deadline.after(PATIENCE_S)
        call = peers.call(other, server.freeze, Nothing(), patience, if_there=True)
        calling = asyncio.create_task(call)
        await gate.reached()
        done, _ = await asyncio.wait([calling], timeout=2 * SILENT_S)
        assert not done
        gate.open()
        assert await soon(calling) == Nothing()


async def test_what_nobody_waits_for_any_more_is_not_asked_on(asking, other):
    with paused(other):
        calling = asyncio.create_task(ask(asking, other))
        await asyncio.wait([calling], timeout=0.1)
        calling.cancel()
        await asyncio.wait([calling], timeout=PATIENCE_S)
        assert calling.cancelled()


async def test_a_stop_of_others_and_questions_go_on_without_one_that_is_silent(asking, other):
    with paused(other):
        scope = {"type": "SERVER", "target": [str(asking.address)]}
        made = await asking.api.post("/ob/stop", {"scope": scope, "force": True})
        dag = await wait_end(asking, made.data["id"])
        unfinished = await asking.api.get("/task/dag/unfinish?show_details=false")
    assert dag["state"] == "SUCCEED"
    (warning,) = [line for line in logs_of(dag["nodes"][1]) if line.startswith("WARNING")]
    assert f"{other} is left out" in warning
    assert f"no sign of life within {SILENT_S:.1f} s" in warning
    assert unfinished.status == 200


async def test_it_is_said_where_to_look_for_one_that_is_not_reached(asking, other):
    look = f"on {other.ip}: obshell agent doctor --base-dir /home/{other.port}"
    with paused(other):
        shown = await asking.api.get("/task/dag/agent/main_dags")
        task_id = str(GenericId(7, other))
        cancelled = await asking.api.get(f"/task/dag/{task_id}")
    assert shown.data["unreachable"][0]["message"].count(look) == 1
    assert cancelled.refusal == ("Agent.RPC.RequestFailed", 500)
    assert look in cancelled.message


async def test_the_verdict_on_targets_that_are_not_reached_says_where_to_look(member):
    dag = await wait_end(member, (await member.api.post("/ob/stop", FORCE_ALL)).data["id"])
    verdict = logs_of(dag["nodes"][-1])[-1]
    for other in member.site.cluster.view.others:
        assert f"on {other.ip}: obshell agent doctor --base-dir /home/{other.port}" in verdict


async def test_where_others_are_slow_as_well_nobody_is_silent():
    known = silence.Silence(0.2)
    loop, (slow, slower) = asyncio.get_running_loop(), (free_address(), free_address())

    async def answer_of(peer, seconds):
        come = asyncio.Event()
        loop.call_later(seconds, come.set)
        await come.wait()
        known.heard(peer)
        return peer

    asked = [
        known.broken(slow, answer_of(slow, 0.15)),
        known.broken(slower, answer_of(slower, 0.4)),
    ]
    assert await soon(asyncio.gather(*asked)) == [slow, slower]
    with pytest.raises(silence.SilentError, match=r"within 0\.2 s"):
        await known.broken(slower, answer_of(slower, PATIENCE_S))
