"""What one agent asks of another: who may ask, what comes back, and what happens to lost ones."""

from __future__ import annotations

import asyncio

import pytest

from pyobshell import errors
from pyobshell.api import forward, rpc
from pyobshell.cluster import peers
from pyobshell.cluster.model import Identity
from pyobshell.cluster.procedures import (
    Nothing,
    procedure,
)
from pyobshell.deadline import Deadline
from pyobshell.engines.base import ObState
from pyobshell.errors import ErrorCode
from pyobshell.operations import server, sub_dag
from pyobshell.security.verify import Passwords
from support.agents import a_member, a_view, free_address
from support.waiting import PATIENCE_S, in_time, soon

pytestmark = pytest.mark.anyio

MEMBER = Identity.CLUSTER_AGENT
MUCH = sub_dag.Wanting(force_pass=["2" * 300_000])
CODES = {name: code for name, code in vars(errors).items() if isinstance(code, ErrorCode)}


async def refusal(awaited):
    """The coded error that something ends with."""
    with pytest.raises(errors.OBShellError) as caught:
        await soon(awaited)
    return caught.value


async def test_a_member_is_answered(pair):
    asking, asked = pair
    asked.engine.set_state(ObState.CONNECTION_RESTRICTED)
    answer = await asking.site.peers.call(asked.address, server.status, Nothing(), in_time())
    assert answer.state is ObState.CONNECTION_RESTRICTED


async def test_an_agent_asks_itself_without_a_connection(pair):
    asking, _ = pair
    lines = []
    own = asking.address
    await asking.site.peers.call(own, server.freeze, Nothing(), in_time(), lines.append)
    assert lines == ["the fake server does minor_freeze"]


async def test_lines_come_as_they_are_logged_and_errors_as_they_are(pair):
    asking, asked = pair
    gate = asked.engine.hold("minor_freeze")
    asked.engine.failures["minor_freeze"] = errors.MINOR_FREEZE_TIMEOUT(server="s", seconds=2.5)
    heard, lines = asyncio.Event(), []

    def log(line):
        lines.append(line)
        heard.set()

    peers = asking.site.peers
    calling = asyncio.create_task(
        peers.call(asked.address, server.freeze, Nothing(), in_time(), log)
    )
    await gate.reached()
    await soon(heard.wait())
    assert lines == ["the fake server does minor_freeze"]
    assert not calling.done()
    gate.open()
    error = await refusal(calling)
    assert error.code is errors.MINOR_FREEZE_TIMEOUT
    assert error.arguments == {"server": "s", "seconds": 2.5}


async def test_an_error_without_a_code_is_unexpected(pair):
    asking, asked = pair
    asked.engine.failures["minor_freeze"] = ValueError("odd")
    call = asking.site.peers.call(asked.address, server.freeze, Nothing(), in_time())
    error = await refusal(call)
    assert (error.code, error.arguments) == (errors.UNEXPECTED, {"cause": "odd"})


async def test_what_nobody_waits_for_any_more_is_given_up(pair):
    asking, asked = pair
    gate = asked.engine.hold("minor_freeze")
    calling = asyncio.create_task(
        asking.site.peers.call(asked.address, server.freeze, Nothing(), in_time())
    )
    await gate.reached()
    calling.cancel()
    await gate.given_up()


async def test_a_call_ends_with_its_deadline_on_both_sides(pair):
    asking, asked = pair
    gate = asked.engine.hold("minor_freeze")
    call = asking.site.peers.call(asked.address, server.freeze, Nothing(), Deadline.after(0.1))
    error = await refusal(call)
    assert error.code is errors.RPC_REQUEST_FAILED
    assert "within 0.1 s" in str(error)
    await gate.given_up()


async def test_an_agent_gives_its_own_work_no_more_time_than_that_of_others(pair):
    asking, _ = pair
    gate = asking.engine.hold("minor_freeze")
    call = asking.site.peers.call(asking.address, server.freeze, Nothing(), Deadline.after(0.1))
    error = await refusal(call)
    assert error.code is errors.RPC_REQUEST_FAILED
    assert "it was not done within 0.1 s" in str(error)
    await gate.given_up()


async def test_an_agent_at_work_gives_signs_of_life_one_that_is_silent_is_lost(pair, monkeypatch):
    asking, asked = pair
    monkeypatch.setattr(peers, "LONGEST_SILENCE_S", 0.4)
    monkeypatch.setattr(rpc, "_ALIVE_S", 0.1)
    gate = asked.engine.hold("minor_freeze")
    call = asyncio.create_task(
        asking.site.peers.call(asked.address, server.freeze, Nothing(), in_time())
    )
    done, _ = await asyncio.wait([call], timeout=1.0)
    assert not done
    monkeypatch.setattr(rpc, "_ALIVE_S", 100)
    error = await refusal(call)
    assert error.code is errors.RPC_REQUEST_FAILED
    await gate.given_up()


async def test_many_are_asked_at_once_and_failures_stand_beside_answers(pair):
    asking, asked = pair
    lost = free_address()
    lines = []
    answers = await asking.site.peers.call_all(
        [asking.address, asked.address, lost], server.freeze, Nothing(), in_time(), lines.append
    )
    assert list(answers) == [asking.address, asked.address, lost]
    assert answers[asking.address] == answers[asked.address] == Nothing()
    assert answers[lost].code is errors.RPC_REQUEST_FAILED
    assert answers[lost].arguments["agent"] == lost
    assert answers[lost].arguments["cause"] == "connection refused"
    assert sorted(lines) == sorted(
        f"{one} the fake server does minor_freeze" for one in (asking.address, asked.address)
    )


async def test_an_agent_that_has_started_anew_is_spoken_with_all_the_same(hosts, keys, start_host):
    own, other = free_address(), free_address()
    members = [a_member(own, keys[0], "zone1"), a_member(other, keys[1], "zone2")]
    asking = await start_host(MEMBER, members, address=own)
    view = a_view(other, MEMBER, members)
    for _ in range(2):
        async with hosts.serve(view, keys[1], Passwords()):
            answer = await asking.site.peers.call(other, server.status, Nothing(), in_time())
            assert answer.state is ObState.CONNECTION_AVAILABLE
    call = asking.site.peers.call(other, server.status, Nothing(), in_time())
    assert (await refusal(call)).code is errors.RPC_REQUEST_FAILED


async def test_one_session_serves_calls_that_come_at_once(pair):
    asking, asked = pair
    peers = asking.site.peers
    answers = await asyncio.gather(
        *(peers.call(asked.address, server.status, Nothing(), in_time()) for _ in range(50))
    )
    assert {answer.state for answer in answers} == {ObState.CONNECTION_AVAILABLE}
    assert len(peers._sessions) == 1


async def test_who_is_no_member_is_refused(hosts, keys, start_host):
    other = free_address()
    members = [a_member(other, keys[1], "zone2")]
    async with hosts.serve(a_view(other, MEMBER, members), keys[1], Passwords()) as asked:
        own = free_address()
        told = [*members, a_member(own, keys[0], "zone1")]
        stranger = await start_host(MEMBER, told, address=own)
        call = stranger.site.peers.call(other, server.status, Nothing(), in_time())
        assert (await refusal(call)).code is errors.INCORRECT_TOKEN
        assert asked.engine.deeds == []
        assert asked.agent._door.strangers._count > 0
        call = stranger.site.peers.call(other, sub_dag.ready, MUCH, in_time())
        assert "the body exceeds" in str(await refusal(call))


async def test_a_member_of_a_cluster_cannot_have_another_do_what_its_own_user_may(pair):
    asking, asked = pair
    for path in ("/api/v1/agent/password", "/api/v1/ob/agents"):
        handed = forward.Forwarded(
            method="GET" if "ob" in path else "POST",
            target=path,
            body='{"password": "mine"}',
            trace_id="1",
            language="en",
            trusted=True,
            kind=None,
            password=None,
        )
        call = asking.site.peers.call(asked.address, forward.take_over, handed, in_time())
        assert (await soon(call)).status in (400, 404)
    assert (await asked.api.get("/info")).data["security"] is False


async def test_who_speaks_for_a_member_with_another_key_is_refused(hosts, keys, start_host):
    own, other = free_address(), free_address()
    asked_knows = [a_member(own, keys[2], "zone1"), a_member(other, keys[1], "zone2")]
    async with hosts.serve(a_view(other, MEMBER, asked_knows), keys[1], Passwords()):
        members = [a_member(own, keys[0], "zone1"), asked_knows[1]]
        impostor = await start_host(MEMBER, members, address=own)
        call = impostor.site.peers.call(other, server.status, Nothing(), in_time())
        error = await refusal(call)
        assert error.code is errors.RPC_REQUEST_FAILED
        assert "another key" in str(error)


async def test_an_agent_with_another_key_than_expected_is_not_spoken_with(hosts, keys, start_host):
    own, other = free_address(), free_address()
    served = [a_member(own, keys[0], "zone1"), a_member(other, keys[1], "zone2")]
    async with hosts.serve(a_view(other, MEMBER, served), keys[1], Passwords()) as impostor:
        members = [served[0], a_member(other, keys[2], "zone2")]
        host = await start_host(MEMBER, members, address=own)
        call = host.site.peers.call(other, server.freeze, Nothing(), in_time())
        await refusal(call)
        assert impostor.engine.deeds == []


async def test_nor_in_a_session_that_was_opened_when_its_key_was_the_members(
    hosts, keys, start_host
):
    own, other = free_address(), free_address()
    served = [a_member(own, keys[0], "zone1"), a_member(other, keys[1], "zone2")]
    async with hosts.serve(a_view(other, MEMBER, served), keys[1], Passwords()) as removed:
        host = await start_host(MEMBER, served, address=own)
        await host.site.peers.call(other, server.status, Nothing(), in_time())
        rebuilt = [served[0], a_member(other, keys[2], "zone2")]
        await host.site.cluster.change(lambda view: view.with_members(rebuilt))
        await refusal(host.site.peers.call(other, server.freeze, Nothing(), in_time()))
        assert removed.engine.deeds == []


@procedure("nobody/knows")
async def unheard_of(site, caller, request: Nothing) -> Nothing:
    """A procedure of another release."""


async def test_a_procedure_that_is_not_known_there_is_not_found(pair):
    asking, asked = pair
    call = asking.site.peers.call(asked.address, unheard_of, Nothing(), in_time())
    error = await refusal(call)
    assert error.code is errors.NOT_FOUND
    assert error.arguments["path"] == "nobody/knows"


async def test_an_agent_that_is_just_starting_is_asked_again_if_that_is_wanted(
    hosts, keys, start_host
):
    own, other = free_address(), free_address()
    members = [a_member(own, keys[0], "zone1"), a_member(other, keys[1], "zone2")]
    asking = await start_host(MEMBER, members, address=own, retry_s=PATIENCE_S)
    call = asking.site.peers.call(other, server.status, Nothing(), in_time())
    assert (await refusal(call)).code is errors.RPC_REQUEST_FAILED
    peers = asking.site.peers
    again = asyncio.create_task(peers.call(other, server.status, Nothing(), in_time(), again=True))
    async with hosts.serve(a_view(other, MEMBER, members), keys[1], Passwords()):
        assert (await soon(again)).state is ObState.CONNECTION_AVAILABLE


async def test_an_api_can_be_asked_of_another_agent_without_a_session(pair):
    asking, asked = pair
    info = await asking.site.peers.ask(asked.address, "/api/v1/info")
    assert info["identity"] == MEMBER
    for address, path in [(asked.address, "/api/v1/nothing"), (free_address(), "/api/v1/info")]:
        error = await refusal(asking.site.peers.ask(address, path))
        assert error.code is errors.RPC_REQUEST_FAILED
