"""TLS and plain HTTP on an agent's port: who is let in, who is not, and what it may cost."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import socket
import ssl
import struct
from datetime import datetime

import httpx
import pytest

from pyobshell import errors
from pyobshell.api import network
from pyobshell.security.tls import read_certificate
from pyobshell.security.verify import Passwords
from support.agents import ROOT_PASSWORD
from support.asking import ROOT_HEADER, check_envelope
from support.certificates import Certified, secured
from support.waiting import soon

pytestmark = pytest.mark.anyio

STATUS = b"GET /api/v1/status HTTP/1.1\r\nhost: x\r\n\r\n"
HALF = b"POST /api/v1/ob/stop HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 9\r\n\r\n"
NO_TLS = (httpx.ConnectError, httpx.ReadError, httpx.RemoteProtocolError, ssl.SSLError)


@pytest.fixture(scope="module")
def certified(tmp_path_factory):
    return Certified(tmp_path_factory.mktemp("certified"))


@pytest.fixture
def foreign(tmp_path):
    return Certified(tmp_path / "foreign", "another CA")


@pytest.fixture(scope="module")
async def unchanged(anyio_backend, hosts, certified):
    """An agent with a certificate and no more, for tests that change nothing in it."""
    known = Passwords(root=ROOT_PASSWORD)
    async with hosts.serving(1, passwords=known, own=certified.files) as (host,):
        host.api.password = ROOT_PASSWORD
        yield host


@pytest.fixture
async def start(anyio_backend, hosts, certified):
    async with contextlib.AsyncExitStack() as stack:

        async def start(**more):
            known = {"passwords": Passwords(root=ROOT_PASSWORD), "own": certified.files, **more}
            (host,) = await stack.enter_async_context(hosts.serving(1, **known))
            host.api.password = ROOT_PASSWORD
            return host

        yield start


async def test_one_port_speaks_tls_and_plain_http(unchanged, certified):
    async with secured(unchanged, certified.context()) as api:
        assert (await api.get("/ob/agents")).contents == [unchanged.address.wire]
    assert (await unchanged.api.get("/ob/agents")).contents == [unchanged.address.wire]


async def test_who_asks_in_plain_can_be_found_in_the_log(unchanged, certified, capsys):
    async with secured(unchanged, certified.context()) as api:
        await api.post("/ob/stop", {})
        capsys.readouterr()
        await api.post("/ob/stop", {})
    await unchanged.local.post("/ob/stop", {})
    assert "plain" not in capsys.readouterr().out
    await unchanged.api.post("/ob/stop", {})
    assert "plain=True" in capsys.readouterr().out


async def test_plain_http_is_refused_where_tls_is_required(start, certified):
    host = await start(own=certified.mutual)
    answer = await host.api.plain("GET", "/api/v1/secret", None, {"accept-language": "zh"})
    assert answer.refusal == ("Request.Tls.Required", 400)
    assert "https" in answer.message
    check_envelope(answer)
    session = await host.api.plain("POST", "/rpc/v1/session", b"{}")
    assert session.refusal == ("Request.Tls.Required", 400)
    assert (await host.local.get("/ob/agents")).status == 200


async def test_a_header_that_was_sent_in_plain_there_opens_nothing_over_tls(start, certified):
    host = await start(own=lambda own: {**certified.files(own), "tls": "required"})
    async with secured(host, certified.context()) as api:
        api._public_key = host.key.public
        target = "/api/v1/ob/agents"
        name, value, _ = await api.seal(ROOT_HEADER, ROOT_PASSWORD, target, None, {})
        plain = await host.api.plain("GET", target, headers={name: value})
        assert plain.refusal == ("Request.Tls.Required", 400)
        again = await api.plain("GET", target, headers={name: value})
        assert again.refusal == (errors.HEADER_REPLAYED.name, 401)


async def test_with_a_ca_clients_must_show_a_certificate_of_it(start, certified, foreign):
    host = await start(own=certified.mutual)
    async with secured(host, certified.context(*certified.client)) as api:
        assert (await api.get("/ob/agents")).status == 200
    for nobody in ((), foreign.client):
        async with secured(host, certified.context(*nobody)) as api:
            with pytest.raises(NO_TLS):
                await api.get("/ob/agents")


async def test_clients_may_be_let_in_without_a_certificate_but_not_with_a_wrong_one(
    start, certified, foreign
):
    host = await start(tls_ca=certified.ca, tls_client_auth="optional")
    for shown in ((), certified.client):
        async with secured(host, certified.context(*shown)) as api:
            assert (await api.get("/ob/agents")).status == 200
    async with secured(host, certified.context(*foreign.client)) as api:
        with pytest.raises(NO_TLS):
            await api.get("/ob/agents")


async def test_why_a_client_is_refused_is_told_to_it_and_logged(start, certified, capsys):
    host = await start(own=certified.mutual)
    reader, writer = await asyncio.open_connection(
        *host.address, ssl=certified.context(), server_hostname=host.address.ip
    )
    writer.write(STATUS)
    with pytest.raises(ssl.SSLError, match="CERTIFICATE_REQUIRED"):
        await soon(reader.read())
    assert "peer did not return a certificate" in capsys.readouterr().out


async def test_a_client_that_does_not_know_the_ca_gives_up(unchanged, foreign):
    async with secured(unchanged, foreign.context()) as api:
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            await api.get("/ob/agents")


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
@pytest.mark.parametrize(
    ("version", "ciphers"),
    [
        (ssl.TLSVersion.TLSv1_1, "ALL:@SECLEVEL=0"),
        (ssl.TLSVersion.TLSv1_2, "AES128-SHA256"),
        (ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES128-SHA256"),
    ],
)
async def test_what_is_out_of_date_is_not_spoken(unchanged, certified, version, ciphers):
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.load_verify_locations(certified.ca)
    old.set_ciphers(ciphers)
    old.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    old.maximum_version = version
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await soon(
            asyncio.open_connection(
                *unchanged.address, ssl=old, server_hostname=unchanged.address.ip
            )
        )


async def test_tls_1_2_with_forward_secrecy_and_strict_verification_are_fine(unchanged, certified):
    strict = certified.context(*certified.client)
    strict.maximum_version = ssl.TLSVersion.TLSv1_2
    strict.verify_flags |= ssl.VERIFY_X509_STRICT
    async with secured(unchanged, strict) as api:
        assert (await api.get("/ob/agents")).status == 200


# --- renewal -------------------------------------------------------------------------------------


async def certificate_of(host, certified):
    """What is shown to a new connection, and that connection."""
    reader, writer = await asyncio.open_connection(
        *host.address,
        ssl=certified.context(*certified.client),
        server_hostname=host.address.ip,
    )
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    return hashlib.sha256(shown).hexdigest(), reader, writer


async def test_a_renewed_certificate_is_shown_to_new_connections_and_the_others_go_on(
    start, certified
):
    host = await start(own=certified.mutual)
    before, reader, writer = await certificate_of(host, certified)
    renewed = read_certificate(certified.files(host.address)["tls_cert"])
    answer = await host.local.post("/agent/tls/reload")
    until = datetime.fromisoformat(answer.data["notAfter"])
    assert (answer.data["sha256"], until) == (renewed.sha256, renewed.not_after)
    after, _, other = await certificate_of(host, certified)
    assert (before != after, after) == (True, renewed.sha256)
    writer.write(STATUS)
    assert (await soon(reader.readuntil(b"\r\n"))).startswith(b"HTTP/1.1 200 ")
    for one in (writer, other):
        one.close()


async def test_when_a_ca_is_trusted_no_more_open_connections_end(
    start, certified, foreign, tmp_path
):
    both, new = tmp_path / "both.crt", foreign.files
    both.write_bytes(certified.ca.read_bytes() + foreign.ca.read_bytes())
    host = await start(own=lambda own: {**certified.mutual(own), "tls_ca": both})
    _, reader, writer = await certificate_of(host, certified)
    _, asking, busy = await certificate_of(host, certified)
    busy.write(HALF)
    assert (await soon(asking.readuntil(b"\r\n\r\n"))).startswith(b"HTTP/1.1 100 ")

    declared, shown = host.agent.settings, new(host.address)
    declared.tls_cert.write_bytes(shown["tls_cert"].read_bytes())
    declared.tls_key.write_bytes(shown["tls_key"].read_bytes())
    assert (await host.local.post("/agent/tls/reload")).status == 200
    writer.write(STATUS)
    assert (await soon(reader.readuntil(b"\r\n"))).startswith(b"HTTP/1.1 200 ")

    both.write_bytes(foreign.ca.read_bytes())
    assert (await host.local.post("/agent/tls/reload")).status == 200
    await soon(reader.read())  # to its end
    busy.write(b"123456789")
    answer = await soon(asking.read())
    assert b"HTTP/1.1 400 " in answer
    assert b"connection: close" in answer
    for one in (writer, busy):
        one.close()


async def test_a_certificate_that_cannot_be_used_is_not_taken_up(start, certified):
    host = await start(own=certified.mutual)
    before, _, one = await certificate_of(host, certified)
    host.agent.settings.tls_cert.write_text("half written")
    answer = await host.local.post("/agent/tls/reload")
    assert answer.refusal == ("Agent.Tls.NotReloaded", 400)
    assert "holds no certificate in PEM" in answer.message
    after, _, other = await certificate_of(host, certified)
    assert after == before
    for writer in (one, other):
        writer.close()


async def test_an_agent_without_tls_has_nothing_to_renew(start):
    host = await start(own=lambda _: {})
    answer = await host.local.post("/agent/tls/reload")
    assert answer.refusal == ("Agent.Tls.NotReloaded", 400)
    assert "without TLS" in answer.message


# --- what strangers may cost ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "beginning", [b"", b"\x16", b"\x16\x03\x01\x00\x30", b"GET /api"], ids=["", "1", "5", "plain"]
)
async def test_a_slow_handshake_is_given_up(start, monkeypatch, beginning):
    monkeypatch.setattr(network, "REQUEST_S", 0.05)
    host = await start()
    reader, writer = await asyncio.open_connection(*host.address)
    writer.write(beginning)
    answer = await soon(reader.read())
    assert answer.startswith(b"HTTP/1.1 408 ") is beginning.startswith(b"GET")
    assert host.agent._door.strangers._count == 0
    writer.close()


async def test_a_request_over_tls_must_come_whole_in_its_time(start, certified, monkeypatch):
    host = await start()
    monkeypatch.setattr(network, "REQUEST_S", 0.3)
    reader, writer = await asyncio.open_connection(
        *host.address, ssl=certified.context(), server_hostname=host.address.ip
    )
    writer.write(STATUS[:-2])
    assert (await soon(reader.read())).startswith(b"HTTP/1.1 408 ")
    writer.close()


async def test_who_shakes_hands_for_ever_is_dropped(start):
    host = await start()
    reader, writer = await asyncio.open_connection(*host.address)
    size = network.LARGEST_HEAD
    hello = b"\x01" + (1 << 17).to_bytes(3)  # of a length that is allowed, and never comes
    for piece in [hello, *[bytes(16_000)] * (size // 16_000 + 2)]:
        writer.write(b"\x16\x03\x01" + struct.pack(">H", len(piece)) + piece)
    with contextlib.suppress(ConnectionError):
        await soon(reader.read())
    assert host.agent._door.strangers._count == 0
    writer.close()


async def test_a_head_over_tls_has_a_size(start, certified):
    host = await start()
    reader, writer = await asyncio.open_connection(
        *host.address, ssl=certified.context(), server_hostname=host.address.ip
    )
    writer.write(STATUS[:-2] + b"x: " + b"y" * 3 * network.LARGEST_HEAD)
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        assert (await soon(reader.read())).startswith((b"HTTP/1.1 431 ", b""))
    assert host.agent._door.strangers._count == 0
    writer.close()


async def test_connections_count_before_they_have_shaken_hands(start):
    host = await start()
    strangers = host.agent._door.strangers
    strangers._most_of_one = 3
    opened = [await asyncio.open_connection(*host.address) for _ in range(5)]
    for reader, _ in opened[:2]:
        assert await soon(reader.read()) == b""
    assert strangers._count == 3
    for _, writer in opened:
        writer.close()


async def test_large_requests_and_answers_come_whole(unchanged, certified):
    async with secured(unchanged, certified.context()) as api:
        script = "/static-offline-docs/swagger-ui-bundle.js"
        received = (await api.plain("GET", script)).text
        assert len(received) > 1_000_000
        assert received == (await unchanged.api.plain("GET", script)).text
        large = {"scope": {"type": "ZONE", "target": ["z" * 2_000_000]}}
        assert (await api.post("/ob/stop", large)).refusal[0] == "OB.Zone.NotExist"


async def test_a_large_request_may_come_together_with_the_end_of_the_handshake(start, certified):
    """As of TLS 1.3 clients do not wait between the two."""
    host = await start()
    reader, writer = await asyncio.open_connection(*host.address)
    received, sent = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = certified.context().wrap_bio(received, sent, server_hostname=host.address.ip)
    while True:
        try:
            tls.do_handshake()
            break
        except ssl.SSLWantReadError:
            writer.write(sent.read())
            received.write(await soon(reader.read(100_000)))
    body = b"x" * 300_000
    tls.write(b"POST /api/v1/ob/stop HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n" + body)
    writer.write(sent.read())
    answer = b""
    while b"Request.Header.NotFound" not in answer:
        received.write(await soon(reader.read(100_000)))
        with contextlib.suppress(ssl.SSLWantReadError):
            while True:  # each time it is one record
                answer += tls.read(100_000)
    writer.close()


async def test_a_client_that_says_farewell_is_answered_in_kind(unchanged, certified):
    reader, writer = await asyncio.open_connection(
        *unchanged.address, ssl=certified.context(), server_hostname=unchanged.address.ip
    )
    writer.write(STATUS)
    head = await soon(reader.readuntil(b"\r\n\r\n"))
    await soon(reader.readexactly(int(head.partition(b"content-length: ")[2].split()[0])))
    writer.close()
    await soon(writer.wait_closed())


async def test_who_is_told_that_his_tls_is_wrong_may_say_the_rest(unchanged):
    loop = asyncio.get_running_loop()
    with socket.socket() as client:
        client.setblocking(False)
        await loop.sock_connect(client, unchanged.address)
        await loop.sock_sendall(client, b"\x16\x03\x01\x00\x05hello")
        alert = await soon(loop.sock_recv(client, 100))
        assert alert[:1] == b"\x15"
        assert await soon(loop.sock_recv(client, 100)) == b""
        for _ in range(3):  # a reset might have reached him before the alert
            await loop.sock_sendall(client, STATUS)


async def test_what_is_falsified_within_a_connection_ends_it_and_what_is_asked_on_it(
    start, certified
):
    host = await start()
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = certified.context().wrap_bio(back, there, server_hostname=host.address.ip)
    loop = asyncio.get_running_loop()
    with socket.socket() as line:
        line.setblocking(False)
        await loop.sock_connect(line, host.address)
        while True:
            try:
                client.do_handshake()
                break
            except ssl.SSLWantReadError:
                await loop.sock_sendall(line, there.read())
                back.write(await soon(loop.sock_recv(line, 1 << 16)))
        client.write(HALF)
        await loop.sock_sendall(line, there.read())
        back.write(await soon(loop.sock_recv(line, 1 << 16)))
        assert client.read().startswith(b"HTTP/1.1 100 ")
        client.write(b"{")
        record = bytearray(there.read())
        record[-1] ^= 1
        await loop.sock_sendall(line, record)
        with contextlib.suppress(ConnectionError):
            while await soon(loop.sock_recv(line, 1 << 16)):
                pass
    assert host.agent._door.strangers._count == 0
