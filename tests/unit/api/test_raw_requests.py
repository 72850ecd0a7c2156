"""What is no proper request is refused and changes nothing, and the agent goes on serving."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass
from typing import Any

import pytest

from pyobshell.security.verify import Passwords
from support.agents import ROOT_PASSWORD
from support.asking import Answer, check_envelope
from support.waiting import soon

pytestmark = pytest.mark.anyio

HEAD = b"Host: x\r\n"
TIME = b"GET /api/v1/time HTTP/1.1\r\n" + HEAD
STOP = b"POST /api/v1/ob/stop HTTP/1.1\r\n" + HEAD
BODY = b'{"scope": {"type": "GLOBAL"}, "force": true}'
LENGTH = b"Content-Length: %d\r\n" % len(BODY)
CHUNKED = b"Transfer-Encoding: chunked\r\n"
CHUNK = b"%x" % len(BODY)
UPGRADE = b"Connection: Upgrade\r\nUpgrade: "

UNREADABLE = {
    "a length and chunks": STOP + LENGTH + CHUNKED + b"\r\n0\r\n\r\n" + TIME + b"\r\n",
    "chunks and a length": STOP + CHUNKED + LENGTH + b"\r\n0\r\n\r\n" + TIME + b"\r\n",
    "two lengths": STOP + b"Content-Length: 2\r\n" + LENGTH + b"\r\n" + BODY,
    "one length twice": STOP + LENGTH + LENGTH + b"\r\n" + BODY,
    "a list of lengths": STOP + b"Content-Length: 2, 2\r\n\r\n{}",
    "a length below nothing": STOP + b"Content-Length: -2\r\n\r\n{}",
    "a length with a sign": STOP + b"Content-Length: +2\r\n\r\n{}",
    "a length past all numbers": STOP + b"Content-Length: " + b"9" * 23 + b"\r\n\r\n{}",
    "a name followed by a space": STOP + b"Content-Length : 2\r\n\r\n{}",
    "lines without a return": b"GET /api/v1/time HTTP/1.1\nHost: x\n\n",
    "a return within a line": TIME + b"X: a\rContent-Length: 2\r\n\r\n",
    "a folded line": TIME + b"X: a\r\n b\r\n\r\n",
    "an unknown coding": STOP + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a coding after chunks": STOP + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "a disguised coding": STOP + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    "a chunk of no size": STOP + CHUNKED + b"\r\nzz\r\n",
    "a chunk below nothing": STOP + CHUNKED + b"\r\n-1\r\n",
    "a chunk past all numbers": STOP + CHUNKED + b"\r\n" + b"f" * 17 + b"\r\n",
    "a chunk longer than it says": STOP + CHUNKED + b"\r\n%b\r\n%bXX0\r\n\r\n" % (CHUNK, BODY),
    "a chunk's line without a return": STOP + CHUNKED + b"\r\n%b;a=\nb\r\n" % CHUNK,
    "nothing in the target": b"GET /api/v1/ti\0me HTTP/1.1\r\n\r\n",
    "nothing in a header": TIME + b"X: a\0b\r\n\r\n",
    "a control character in a header": TIME + b"X-OBSHELL-Trace-ID: \x1b[31m\r\n\r\n",
    "overlong UTF-8 as it is": b"GET /api/v1/\xc0\xae/time HTTP/1.1\r\n\r\n",
    "an authority": b"CONNECT evil:80 HTTP/1.1\r\n\r\n",
    "HTTP/0.9": b"GET /api/v1/time\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/9": b"GET /api/v1/time HTTP/9.9\r\n\r\n",
    "an unknown method": b"FOO /api/v1/time HTTP/1.1\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + bytes(range(200)),
    "all bytes": bytes(range(256)) * 4,
}
NOT_FOUND = ("Common.NotFound", 404)
NO_HEADER = ("Request.Header.NotFound", 400)
CANNOT_BE_OPENED = ("Security.Authentication.Header.DecryptFailed", 401)
NOT_TWICE = ("Common.BadRequest", 400)
NO_JSON = ("Common.BindJsonFailed", 400)
AGENTS = b"GET /api/v1/ob/agents HTTP/1.1\r\n" + HEAD


def get(target: bytes) -> bytes:
    return b"GET " + target + b" HTTP/1.1\r\n" + HEAD + b"\r\n"


def stop(body: bytes, *headers: bytes) -> bytes:
    head = b"".join(one + b"\r\n" for one in headers)
    return STOP + head + b"Content-Length: %d\r\n\r\n" % len(body) + body


# What is asked, what a stranger is told, and what the agent's own user.
REFUSED: dict[str, tuple[bytes, Any, Any]] = {
    "two slashes": (get(b"//api/v1/time"), NOT_FOUND, NOT_FOUND),
    "two slashes within": (get(b"/api//v1/time"), NOT_FOUND, NOT_FOUND),
    "dots": (get(b"/api/v1/x/../time"), NOT_FOUND, NOT_FOUND),
    "dots spelled out": (get(b"/api/v1/x/%2e%2e/time"), NOT_FOUND, NOT_FOUND),
    "dots to other agents' routes": (
        get(b"/api/v1/..%2f..%2frpc/v1/session"),
        NOT_FOUND,
        NOT_FOUND,
    ),
    "dots among the files of the docs": (
        get(b"/static-offline-docs/%2e%2e/%2e%2e/%2e%2e/etc/passwd"),
        NOT_FOUND,
        NOT_FOUND,
    ),
    "a file of the host": (get(b"/static-offline-docs//etc/passwd"), NOT_FOUND, NOT_FOUND),
    "nothing among the files of the docs": (
        get(b"/static-offline-docs/%00"),
        NOT_FOUND,
        NOT_FOUND,
    ),
    "overlong UTF-8": (get(b"/api/v1/%c0%ae%c0%ae/time"), NOT_FOUND, NOT_FOUND),
    "half an escape": (get(b"/api/v1/%zz"), NOT_FOUND, NOT_FOUND),
    "all routes": (b"OPTIONS * HTTP/1.1\r\n" + HEAD + b"\r\n", NOT_FOUND, NOT_FOUND),
    "a mirror": (b"TRACE /api/v1/time HTTP/1.1\r\n" + HEAD + b"\r\n", NOT_FOUND, NOT_FOUND),
    "a route in other letters": (get(b"/%61pi/v1/ob/agents"), NO_HEADER, 200),
    "another host": (get(b"http://evil/api/v1/ob/agents"), NO_HEADER, 200),
    "an id of nothing": (get(b"/api/v1/task/dag/%00"), NO_HEADER, ("Task.GenericID.Invalid", 400)),
    "a number of thousands of digits": (
        get(b"/api/v1/audit?limit=" + b"9" * 5000),
        NO_HEADER,
        NO_JSON,
    ),
    "a moment before time": (
        get(b"/api/v1/audit?since=0001-01-01T00:00:00%2B14:00"),
        NO_HEADER,
        ("Common.IllegalArgument", 400),
    ),
    "credentials twice": (
        AGENTS + b"X-OCS-Header: a\r\nX-OCS-Header: b\r\n\r\n",
        NOT_TWICE,
        200,
    ),
    "credentials of another alphabet": (
        AGENTS + b"X-OCS-Header: \xff\xfe\r\n\r\n",
        CANNOT_BE_OPENED,
        200,
    ),
    "credentials after the body": (
        STOP + CHUNKED + b"\r\n2\r\n{}\r\n0\r\nX-OCS-Header: x\r\n\r\n",
        NO_HEADER,
        ("OB.Cluster.Scope.Invalid", 400),
    ),
    "a packed body": (
        stop(b"\x1f\x8b" + b"a" * 18, b"Content-Encoding: gzip"),
        NO_HEADER,
        NO_JSON,
    ),
    "a form": (
        stop(b"force=true&scope=GLOBAL", b"Content-Type: application/x-www-form-urlencoded"),
        NO_HEADER,
        NO_JSON,
    ),
    "a body in UTF-16": (stop("{}".encode("utf-16")), NO_HEADER, NO_JSON),
    "a body with a mark": (stop(b"\xef\xbb\xbf{}"), NO_HEADER, NO_JSON),
    "a body of 100,000 brackets": (stop(b"[" * 100_000), NO_HEADER, NO_JSON),
    "a number that is none": (
        stop(b'{"scope": {"type": "GLOBAL"}, "force": NaN}'),
        NO_HEADER,
        NO_JSON,
    ),
    "half a character": (stop(b'{"scope": {"type": "\\ud800"}}'), NO_HEADER, NO_JSON),
    "a key that comes twice": (  # the last counts, as in Go
        stop(b'{"force": true, "force": false, "scope": {"type": "GLOBAL"}}'),
        NO_HEADER,
        ("OB.Cluster.ForceStopOrTerminateRequired", 400),
    ),
    "something to agents": (
        b"POST /rpc/v1/%ff%00 HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
        NOT_FOUND,
        NOT_FOUND,
    ),
    "an upgrade to HTTP/2": (
        AGENTS + UPGRADE + b"h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
        NO_HEADER,
        200,
    ),
    "an upgrade to a websocket": (
        stop(b'{"scope": {"type": "NONE"}}', UPGRADE + b"websocket"),
        NO_HEADER,
        ("OB.Cluster.Scope.Invalid", 400),
    ),
    "a hello to agents": (
        b"POST /rpc/v1/session HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
        ("Security.Authentication.IncorrectToken", 401),
        ("Security.Authentication.IncorrectToken", 401),
    ),
}


@dataclass
class Door:
    """A way to an agent, for bytes as they are."""

    place: tuple[str, int] | str

    async def ask(self, request: bytes) -> tuple[Answer, bool]:
        """The first answer, and whether the agent has closed the connection after it."""
        opening = (
            asyncio.open_unix_connection(self.place)
            if isinstance(self.place, str)
            else asyncio.open_connection(*self.place)
        )
        reader, writer = await opening
        try:
            writer.write(request)
            head = (await soon(reader.readuntil(b"\r\n\r\n"))).decode("latin-1").lower()
            status = int(head.split(" ")[1])
            size = re.search(r"content-length: (\d+)", head)
            content = await soon(reader.readexactly(int(size[1]) if size else 0))
            if "connection: close" not in head:
                return Answer(status, json.loads(content), content.decode()), False
            assert await soon(reader.read()) == b""
            return Answer(status, {}, content.decode()), True
        finally:
            writer.close()


@pytest.fixture(scope="module")
async def host(anyio_backend, hosts):
    """A member that listens; in the end it has done nothing at all."""
    async with hosts.serving(1, passwords=Passwords(root=ROOT_PASSWORD)) as (host,):
        yield host
        assert (await host.local.get("/task/dags/agent")).contents == []
        assert host.engine.deeds == []


@pytest.fixture(params=["network", "local socket"])
def door(host, request):
    """Each of the two doors."""
    if request.param == "network":
        return Door((host.address.ip, host.address.port))
    return Door(str(host.agent.paths.socket))


@pytest.mark.parametrize("request_bytes", UNREADABLE.values(), ids=UNREADABLE)
async def test_what_could_be_read_in_two_ways_ends_the_connection(host, door, request_bytes):
    answer, closed = await door.ask(request_bytes)
    assert (answer.status, closed) == (400, True)
    assert "Traceback" not in answer.text
    assert (await host.api.plain("GET", "/api/v1/time")).status == 200


@pytest.mark.parametrize("name", REFUSED)
async def test_what_asks_for_nothing_that_is_there_is_refused_in_the_envelope(host, door, name):
    request, of_stranger, of_own_user = REFUSED[name]
    answer, closed = await door.ask(request)
    check_envelope(answer)
    assert not closed
    expected = of_own_user if isinstance(door.place, str) else of_stranger
    assert (answer.status if expected == 200 else answer.refusal) == expected
