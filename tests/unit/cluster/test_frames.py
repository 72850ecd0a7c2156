"""What comes sealed from another agent: how much of it is read, and of whom."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import socket
import threading

import pytest

from pyobshell import errors
from pyobshell.api import rpc
from pyobshell.api.call import Call
from pyobshell.api.hung_up import has_hung_up
from pyobshell.cluster import exchange
from pyobshell.cluster.procedures import Nothing
from pyobshell.operations import server, sub_dag
from pyobshell.security.peer import PeerSession
from pyobshell.security.turns import Sender
from support.asking import check_envelope
from support.staging import turns
from support.waiting import Gate, in_time, soon

pytestmark = pytest.mark.anyio

MUCH = sub_dag.Wanting(force_pass=["2" * 300_000])


def seen_on_the_wire(asking, asked) -> tuple[PeerSession, bytes, str]:
    """A session of a member, what its frames are bound to, and where they go."""
    session, *_ = asking.site.peers._sessions[asked.address]
    path = exchange.RPC_PREFIX + sub_dag.ready.name
    return session, exchange.frame_binding("POST", path), path


async def sent_with(asked, session: PeerSession, path: str, frame: bytes, **more: str):
    """What a stranger is answered who has seen the id of a session."""
    headers = {exchange.SESSION_HEADER: session.id, **more}
    answer = await soon(asked.api.plain("POST", path, frame, headers))
    return answer.message


async def test_members_may_say_much_and_are_no_strangers(pair):
    asking, asked = pair
    await soon(asking.site.peers.call(asked.address, sub_dag.ready, MUCH, in_time()))
    assert asked.agent._door.strangers._count == 0


async def test_a_hello_of_whoever_has_hung_up_is_not_looked_at(pair):
    doorway = pair[0].site.doorway
    end, gone = threading.Event(), asyncio.get_running_loop().create_future()
    busy = [asyncio.create_task(doorway._crypto.run(Sender("x"), 1, end.wait)) for _ in range(2)]
    await turns(3)
    waiting = asyncio.create_task(doorway.welcome({}, Sender("10.0.0.1", gone)))
    await turns(3)
    gone.set_result(None)
    try:
        with pytest.raises(errors.OBShellError, match="hung up"):
            await soon(waiting)
    finally:
        end.set()
        await soon(asyncio.gather(*busy))


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
