"""Clients that hang up at any moment, in good manners or bad, and such as never read an answer."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import logging
import os
import socket
import ssl
import struct
import time
from collections.abc import Iterator

import pytest

from pyobshell import agent as whole
from pyobshell.api import network
from pyobshell.security.hybrid import seal_request
from pyobshell.security.verify import Passwords
from support.agents import ROOT_PASSWORD
from support.certificates import Certified
from support.waiting import soon

pytestmark = pytest.mark.anyio

PREFIX = "/api/v1"
LARGE_FILE = "/static-offline-docs/swagger-ui-bundle.js"
MOMENTS_S = (0.0, 0.001, 0.005, 0.03)
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: on, no seconds
TRACES = ("Traceback", "Error:", "crash", "handler is closed", "never retrieved")


@pytest.fixture(scope="module")
def certified(tmp_path_factory):
    return Certified(tmp_path_factory.mktemp("certified"))


@pytest.fixture(scope="module")
async def agent(anyio_backend, hosts, certified):
    """An agent that keeps no connection for long on which nothing is asked."""
    known = Passwords(root=ROOT_PASSWORD)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(whole, "_KEEP_ALIVE_S", 0.2)
        async with hosts.serving(1, passwords=known, own=certified.files) as (host,):
            host.api.password = ROOT_PASSWORD
            host.api.http.headers["connection"] = "close"  # lest a request meet its being ended
            yield host


def request(method: str, path: str, *headers: str, body: bytes = b"", length: int = 0) -> bytes:
    """The bytes of a request, whose body may be announced to be longer than it is."""
    size = f"content-length: {length or len(body)}"
    head = "\r\n".join([f"{method} {path} HTTP/1.1", "host: x", *headers, size, "", ""])
    return head.encode() + body


def rightful(host, method: str, path: str, content: bytes = b"", length: int = 0) -> bytes:
    """The same of a user who knows the password."""
    sealed = seal_request(
        host.key.public, password=ROOT_PASSWORD, uri=PREFIX + path, body=content, now=time.time()
    )
    header = f"x-ocs-header: {sealed.header_value}"
    return request(method, PREFIX + path, header, body=sealed.body or b"", length=length)


def sayings(host) -> Iterator[bytes]:
    """What is said before somebody hangs up: requests of all kinds, whole and in part."""
    nobody = f"x-ocs-header: {base64.b64encode(os.urandom(768)).decode()}"
    stop, status = PREFIX + "/ob/stop", request("GET", PREFIX + "/status")
    yield from (b"", status[:30], b"\x00\x01\x02\r\n\r\n", status, 2 * status)
    for path in ("/openapi.json", "/docs", LARGE_FILE, PREFIX + "/none", PREFIX + "/ob/agents"):
        yield request("GET", path)
    yield request("POST", stop, body=b"{}")
    yield request("POST", stop, nobody, body=b"{}")
    yield request("POST", stop, nobody, "expect: 100-continue", body=b"{", length=9)
    yield request("POST", stop, "transfer-encoding: chunked", body=b"5\r\nab")
    yield rightful(host, "GET", "/ob/agents")
    yield rightful(host, "POST", "/ob/stop", b'{"force": 1}')
    yield rightful(host, "POST", "/ob/stop", json.dumps("x" * 200_000).encode(), 400_000)
    yield request("POST", "/rpc/v1/session", body=b"{}", length=100)
    yield request("POST", "/rpc/v1/key/greeted", "x-obshell-session: x", body=b"abc")


def hang_up(connection: socket.socket, *, rudely: bool) -> None:
    """End a connection with a farewell, or with a reset."""
    if rudely:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    connection.close()


def say_and_hang_up(
    host, context: ssl.SSLContext | None, said: bytes, moment_s: float, *, rudely: bool
) -> None:
    """In a thread: the clock is meant, which nothing waits for."""
    connection = socket.create_connection(tuple(host.address), timeout=20)
    if context is not None:
        connection = context.wrap_socket(connection, server_hostname=host.address.ip)
    with contextlib.suppress(OSError):  # it may have been ended while it said so much
        connection.sendall(said)
    if moment_s:
        time.sleep(moment_s)
    hang_up(connection, rudely=rudely)


def shake_half_a_hand(host, context: ssl.SSLContext, part: float, *, rudely: bool) -> None:
    """Hang up with a part of the first message of TLS said."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname=host.address.ip).do_handshake()
    hello = outgoing.read()
    connection = socket.create_connection(tuple(host.address), timeout=20)
    connection.sendall(hello[: int(len(hello) * part)])
    hang_up(connection, rudely=rudely)


@contextlib.contextmanager
def no_trace(caplog, capsys) -> Iterator[None]:
    """Nothing is logged as one does who has crashed; the loop's own complaints fail the test."""
    capsys.readouterr()
    with caplog.at_level(logging.WARNING):
        yield
    said = capsys.readouterr()
    for text in (said.out, said.err, caplog.text):
        for trace in TRACES:
            assert trace not in text, text


async def kept_for_nothing(host) -> None:
    """Return when a connection that is made now has been kept for as long as any is."""
    reader, writer = await asyncio.open_connection(*host.address)
    writer.write(request("GET", PREFIX + "/status"))
    assert (await soon(reader.read())).startswith(b"HTTP/1.1 200 ")
    writer.close()


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
async def test_whoever_hangs_up_leaves_no_trace(agent, certified, caplog, capsys, secure):
    context = certified.context() if secure else None
    with no_trace(caplog, capsys):
        async with asyncio.TaskGroup() as clients:
            for rudely, moment_s in itertools.product((False, True), MOMENTS_S):
                for said in sayings(agent):
                    one = (agent, context, said, moment_s)
                    clients.create_task(asyncio.to_thread(say_and_hang_up, *one, rudely=rudely))
        await kept_for_nothing(agent)


async def test_also_in_the_middle_of_a_handshake(agent, certified, caplog, capsys):
    with no_trace(caplog, capsys):
        async with asyncio.TaskGroup() as clients:
            for rudely, part in itertools.product((False, True), (0.01, 0.5, 0.99, 1)):
                one = (agent, certified.context(), part)
                clients.create_task(asyncio.to_thread(shake_half_a_hand, *one, rudely=rudely))
        await kept_for_nothing(agent)


async def test_who_was_answered_over_tls_and_vanishes_is_not_said_farewell(
    agent, certified, caplog, capsys
):
    def ask_and_vanish() -> None:
        made = socket.create_connection(tuple(agent.address), timeout=20)
        made = certified.context().wrap_socket(made, server_hostname=agent.address.ip)
        made.sendall(request("GET", PREFIX + "/status"))
        assert made.recv(100).startswith(b"HTTP/1.1 200 ")
        hang_up(made, rudely=True)

    with no_trace(caplog, capsys):
        await asyncio.to_thread(ask_and_vanish)
        await kept_for_nothing(agent)


@pytest.mark.parametrize(
    ("secure", "times"),
    [
        pytest.param(False, 1, id="plain"),
        pytest.param(False, 2, id="plain, at once"),
        pytest.param(True, 1, id="TLS"),
        pytest.param(True, 2, id="TLS, at once", marks=pytest.mark.long),
    ],
)
async def test_many_that_never_read_what_they_are_answered_are_ended(
    agent, certified, monkeypatch, secure, times
):
    """Nobody else would come in if they were kept, for something is asked on each of them."""
    monkeypatch.setattr(network, "UNREAD_S", 0.2)
    strangers, ended = agent.agent._door.strangers, asyncio.Event()
    leave = strangers.leave

    def leaving(connection) -> None:
        leave(connection)
        if not strangers._count:
            ended.set()

    monkeypatch.setattr(strangers, "leave", leaving)

    def ask_and_never_read() -> socket.socket:
        made = socket.socket()
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        made.settimeout(20)
        made.connect(tuple(agent.address))
        if secure:
            made = certified.context().wrap_socket(made, server_hostname=agent.address.ip)
        made.sendall(request("GET", LARGE_FILE) * times)
        return made

    asking = [asyncio.to_thread(ask_and_never_read) for _ in range(100)]
    connections = await asyncio.gather(*asking)
    await soon(ended.wait())
    for connection in connections:
        hang_up(connection, rudely=True)
    assert (await agent.api.get("/ob/agents")).status == 200


async def test_who_reads_slowly_is_answered_in_whole(agent, monkeypatch):
    monkeypatch.setattr(network, "UNREAD_S", 20)

    def ask_and_read() -> int:
        made = socket.create_connection(tuple(agent.address), timeout=20)
        made.sendall(request("GET", LARGE_FILE, "connection: close"))
        with made, made.makefile("rb", 4096) as answer:
            head = b"".join(iter(answer.readline, b"\r\n")).lower()
            body = sum(map(len, iter(lambda: answer.read(4096), b"")))
        assert f"content-length: {body}\r\n".encode() in head
        return body

    assert await asyncio.to_thread(ask_and_read) > 1_000_000


async def test_the_document_is_written_once_however_many_ask_for_it(start_host, monkeypatch):
    host = await start_host()
    written = []
    document = host.site.api.openapi
    monkeypatch.setattr(host.site.api, "openapi", lambda: written.append(1) or document())
    answers = [(await host.api.plain("GET", "/openapi.json")).text for _ in range(3)]
    assert len(written) == 1
    assert json.loads(answers[0])["info"]["title"] == "pyobshell"
    assert len(set(answers)) == 1
