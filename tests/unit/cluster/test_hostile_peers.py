"""What answers at an address that a user gives need not be an agent; it is refused then."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time

import aiohttp
import pytest
from pydantic import BaseModel

from pyobshell import errors
from pyobshell.cluster.answers import read_answer
from pyobshell.cluster.exchange import SESSION_PATH, frame_binding
from pyobshell.cluster.procedures import LENGTH_BYTES, parsed
from pyobshell.security.keys import PublicKey
from pyobshell.security.peer import make_hello
from pyobshell.security.turns import Sender
from pyobshell.settings import API_VERSION
from support.agents import free_address
from support.asking import check_envelope
from support.fake_engine import VERSION

pytestmark = pytest.mark.anyio

INFO = {"identity": "MASTER", "version": API_VERSION, "obVersion": VERSION}


def ok(data: object) -> bytes:
    content = json.dumps({"successful": True, "data": data}).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(content) + content


ANSWERS = {
    "nothing": b"",
    "no HTTP": b"\x00\xff" * 100,
    "no JSON": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{]",
    "deep JSON": b"HTTP/1.1 200 OK\r\ncontent-length: 60000\r\n\r\n" + b"[" * 60_000,
    "a list": ok([1]),
    "no fields": ok({}),
    "numbers": ok(dict.fromkeys(INFO, 7)),
    "lists": ok({name: [] for name in INFO}),
    "no versions": ok({"identity": "MASTER"}),
    "odd versions": ok({**INFO, "version": "\x1b[2J" * 100}),
    "no key": ok(INFO),
    "a key that is none": ok({**INFO, "public_key": "AAAA"}),
    "a key that is a number": ok({**INFO, "public_key": 7}),
    "an error of odd shape": b'HTTP/1.1 500 X\r\ncontent-length: 13\r\n\r\n{"error": [1]}',
    "an answer without end": b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 2_000_000,
}


@contextlib.asynccontextmanager
async def answering(answer: bytes, hello: bytes | None = None):
    """The address of something that answers all that is asked of it so, and what it was.

    A ``hello`` may be answered otherwise.
    """
    address, asked = free_address(), []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readline())
        with contextlib.suppress(OSError):
            writer.write(hello if hello and SESSION_PATH.encode() in asked[-1] else answer)
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, address.ip, address.port):
        yield address, asked


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
async def test_whoever_is_to_be_joined_answers_what_he_likes(unchanged_single, answer):
    async with answering(answer) as (address, asked):
        body = {"agentInfo": address.wire, "zoneName": "zone1", "masterPassword": "s3cret"}
        refused = await unchanged_single.local.post("/agent/join", body)
    check_envelope(refused)
    assert refused.status in (400, 500)
    assert str(address) in refused.message
    assert "s3cret" not in refused.text
    assert asked


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"\xff", b"{]", b"[]", b"7", b"null", b"{}", b"[" * 100_000),
        *(b'{"timeout_s": 1}', b'{"request": {}}', b'{"timeout_s": [], "request": {}}'),
        b'{"timeout_s": NaN, "request": {}}',
        b'{"timeout_s": -1, "request": {}}',
        b'{"timeout_s": 1%s, "request": {}}' % (b"0" * 400),
    ],
)
async def test_a_guest_that_proves_who_he_is_may_send_what_he_likes(
    unchanged_single, keys, content
):
    doorway, guest, own = unchanged_single.site.doorway, free_address(), unchanged_single.address
    key = PublicKey.from_text(unchanged_single.key.public_text)
    pending, hello = make_hello(guest, keys[1], own, key, time.time())
    session_id = await doorway.welcome(hello, Sender(guest.ip))
    binding = frame_binding("POST", "/rpc/v1/agent/members")
    frame = pending.confirm(session_id).seal(content, binding)
    with pytest.raises(errors.OBShellError) as refused:
        doorway.open(session_id, "agent/members", frame, binding, guest.ip)
    assert refused.value.code is errors.BAD_REQUEST


class Secretive(BaseModel):
    """A request in which a secret is."""

    root_password: str
    number: int


def test_what_does_not_fit_is_told_without_what_it_was():
    with pytest.raises(errors.OBShellError) as refused:
        parsed(Secretive, {"root_password": ["s3cret"], "number": "s3cret"})
    assert refused.value.code is errors.BAD_REQUEST
    assert "root_password: " in str(refused.value)
    assert "s3cret" not in str(refused.value)
    assert refused.value.__cause__ is None


async def test_nor_with_what_a_hello_is_answered(unchanged_single, keys):
    known = ok({**INFO, "public_key": keys[1].public.text})
    async with answering(ok(INFO)) as (elsewhere, asked):
        there = f"location: http://{elsewhere}/x\r\n".encode()
        hello = b"HTTP/1.1 307 Found\r\ncontent-length: 0\r\n" + there + b"\r\n"
        async with answering(known, hello) as (address, _):
            with pytest.raises(errors.OBShellError, match="HTTP 307"):
                await unchanged_single.site.peers.proven_key(address)
    assert asked == []


async def test_what_a_hello_is_answered_has_an_end(unchanged_single, keys):
    known = ok({**INFO, "public_key": keys[1].public.text})
    async with answering(known, ANSWERS["an answer without end"]) as (address, _):
        with pytest.raises(errors.OBShellError, match="too long"):
            await unchanged_single.site.peers.proven_key(address)


async def test_a_frame_of_an_answer_has_a_size():
    stream = asyncio.StreamReader()
    stream.feed_data((65 << 20).to_bytes(LENGTH_BYTES))
    with pytest.raises(aiohttp.ClientPayloadError, match="too long"):
        await read_answer(stream, None, b"", print)


async def test_nobody_sends_an_agent_elsewhere(unchanged_single):
    async with answering(ok(INFO)) as (elsewhere, asked):
        there = f"location: http://{elsewhere}/x\r\n".encode()
        answer = b"HTTP/1.1 302 Found\r\ncontent-length: 0\r\n" + there + b"\r\n"
        async with answering(answer) as (address, _):
            body = {"agentInfo": address.wire, "zoneName": "zone1"}
            refused = await unchanged_single.local.post("/agent/join", body)
    assert "HTTP 302" in refused.message
    assert asked == []
