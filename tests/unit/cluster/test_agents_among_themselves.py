"""What one agent asks of another: who may ask, what comes back, and what happens to lost ones."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import socket

import pytest

from pyobshell import errors
from pyobshell.api import forward, rpc
from pyobshell.api.call import Call
from pyobshell.api.hung_up import has_hung_up
from pyobshell.cluster import exchange, peers
from pyobshell.cluster.model import Identity
from pyobshell.cluster.procedures import (
    Nothing,
    procedure,
)
from pyobshell.deadline import Deadline
from pyobshell.engines.base import ObState
from pyobshell.errors import ErrorCode
from pyobshell.operations import server, sub_dag
from pyobshell.security.peer import PeerSession
from pyobshell.security.verify import Passwords
from support.agents import a_member, a_view, free_address
from support.asking import check_envelope
from support.waiting import PATIENCE_S, Gate, soon

pytestmark = pytest.mark.anyio

MEMBER = Identity.CLUSTER_AGENT
MUCH = sub_dag.Wanting(force_pass=["2" * 300_000])
CODES = {name: code for name, code in vars(errors).items() if isinstance(code, ErrorCode)}


def in_time():
    return Deadline.after(PATIENCE_S)


@pytest.fixture(scope="module")
async def two_members(anyio_backend, hosts, keys):
    """A member without sockets, that asks, and its fellow, that is asked."""
    own, other = free_address(), free_address()
    members = [a_member(own, keys[0], "zone1"), a_member(other, keys[1], "zone2")]
    async with (
        hosts.serve(a_view(other, MEMBER, members), keys[1], Passwords()) as asked,
        hosts.in_process(MEMBER, members, address=own) as asking,
    ):
        yield asking, asked


@pytest.fixture
async def pair(two_members):
    """These two, with servers that run and have done nothing yet."""
    for host in two_members:
        host.engine.start_afresh()
    return two_members


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


async def test_members_may_say_much_and_are_no_strangers(pair):
    asking, asked = pair
    await soon(asking.site.peers.call(asked.address, sub_dag.ready, MUCH, in_time()))
    assert asked.agent._door.strangers._count == 0


def seen_on_the_wire(asking, asked) -> tuple[PeerSession, bytes, str]:
    """A session of a member, what its frames are bound to, and where they go."""
    session, _ = asking.site.peers._sessions[asked.address]
    path = exchange.RPC_PREFIX + sub_dag.ready.name
    return session, exchange.frame_binding("POST", path), path


async def sent_with(asked, session: PeerSession, path: str, frame: bytes, **more: str):
    """What a stranger is answered who has seen the id of a session."""
    headers = {exchange.SESSION_HEADER: session.id, **more}
    answer = await soon(asked.api.plain("POST", path, frame, headers))
    return answer.message


async def test_of_a_stranger_who_has_seen_a_session_little_is_read(pair):
    asking, asked = pair
    await soon(asking.site.peers.call(asked.address, server.status, Nothing(), in_time()))
    session, _, path = seen_on_the_wire(asking, asked)
    large = bytes(exchange.UNANNOUNCED + 1)
    assert "the body exceeds 262144 bytes" in await sent_with(asked, session, path, large)
    for made_up in ("300000", base64.b64encode(bytes(40)).decode(), "?"):
        announcement = {exchange.ANNOUNCEMENT_HEADER: made_up}
        message = await sent_with(asked, session, path, large, **announcement)
        assert "could not prove who it is" in message


async def test_an_announcement_counts_once_for_as_much_as_it_says(pair):
    asking, asked = pair
    await soon(asking.site.peers.call(asked.address, server.status, Nothing(), in_time()))
    session, binding, path = seen_on_the_wire(asking, asked)
    length, large = b"300000", bytes(300_001)
    sealed = session.seal(length, exchange.announcement_binding(binding))
    announcement = {exchange.ANNOUNCEMENT_HEADER: base64.b64encode(sealed).decode()}
    message = await sent_with(asked, session, path, large, **announcement)
    assert "the body exceeds 300000 bytes" in message
    message = await sent_with(asked, session, path, large, **announcement)
    assert "was sent before" in message
    await soon(asking.site.peers.call(asked.address, sub_dag.ready, MUCH, in_time()))


async def test_what_another_agent_has_given_up_before_it_was_looked_at_is_not_done(
    pair, monkeypatch
):
    asking, asked = pair
    await soon(asking.site.peers.call(asked.address, server.status, Nothing(), in_time()))
    session, _, _ = seen_on_the_wire(asking, asked)
    found, looked = [], Gate()

    async def look(receive):
        found.append(await has_hung_up(receive))
        looked.open()
        return found[-1]

    monkeypatch.setattr(rpc, "has_hung_up", look)
    path = exchange.RPC_PREFIX + server.freeze.name
    content = json.dumps({"timeout_s": 60, "request": {}}).encode()
    frame = session.seal(content, exchange.frame_binding("POST", path))
    head = [f"POST {path} HTTP/1.1", "host: x", f"content-length: {len(frame)}"]
    head += [f"{exchange.SESSION_HEADER}: {session.id}", "", ""]
    with socket.socket() as sending:  # all of it before the other one can have a look
        sending.connect(asked.address)
        sending.sendall("\r\n".join(head).encode() + frame)
    await soon(looked._opened.wait())
    assert found == [True]
    await soon(asking.site.peers.call(asked.address, server.status, Nothing(), in_time()))
    assert asked.engine.deeds == []


async def test_of_one_address_only_so_many_large_frames_are_read_before_they_are_proven(
    pair, monkeypatch
):
    asking, _ = pair
    monkeypatch.setattr(rpc, "MOST_LARGE_FRAMES", 1)
    monkeypatch.setattr(asking.site.doorway, "is_members", lambda *_: False)
    door, gate, large = rpc.Rpc(asking.site), Gate(), b"x" * (rpc._SMALL_FRAME + 1)

    async def sent(frame: bytes, client: str = "10.0.0.1", *, whole: bool = True) -> str:
        """What a frame is answered; the rest of one that is not whole waits at the gate."""
        said = [frame, b""]

        async def receive():
            if not said:
                await asyncio.Event().wait()  # nobody hangs up
            if not whole and len(said) == 1:
                await gate.pass_through()
            return {"type": "http.request", "body": said.pop(0), "more_body": bool(said)}

        async def send(message):
            answers.append(message.get("body", b""))

        answers = []
        path = exchange.RPC_PREFIX + sub_dag.ready.name
        scope = {"type": "http", "method": "POST", "path": path, "query_string": b""}
        scope |= {"headers": [], "client": (client, 1), "call": Call.of({}, path, trusted=False)}
        await door(scope, receive, send)
        return b"".join(answers).decode()

    first = asyncio.create_task(sent(large, whole=False))
    await gate.reached()
    assert "too many large frames come from 10.0.0.1" in await sent(large)
    for others in (sent(large, "10.0.0.2"), sent(large[1:])):
        assert errors.PEER_SESSION_UNKNOWN.name in await others
    gate.open()
    assert errors.PEER_SESSION_UNKNOWN.name in await soon(first)
    assert errors.PEER_SESSION_UNKNOWN.name in await sent(large)


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


async def test_what_is_not_sealed_opens_nothing(pair):
    _, asked = pair
    bodies = [b"", b"{}", b"[]", b"garbage", bytes(64), b"[" * 10_000]
    expected = {"server/status": (401,), "session": (400, 401), "": (404,), "nothing": (404,)}
    for path, body in itertools.product(expected, bodies):
        for door in (asked.api, asked.local):
            headers = {"X-Pyobshell-Session": "0" * 32}
            answer = await door.plain("POST", f"/rpc/v1/{path}", body, headers)
            check_envelope(answer)
            assert answer.status in expected[path], path


async def test_an_api_can_be_asked_of_another_agent_without_a_session(pair):
    asking, asked = pair
    info = await asking.site.peers.ask(asked.address, "/api/v1/info")
    assert info["identity"] == MEMBER
    for address, path in [(asked.address, "/api/v1/nothing"), (free_address(), "/api/v1/info")]:
        error = await refusal(asking.site.peers.ask(address, path))
        assert error.code is errors.RPC_REQUEST_FAILED
