"""What somebody may do on the agent's port who has not proven who he is."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import weakref

import pytest

from pyobshell.api import network
from pyobshell.security.turns import CryptoTurns, Standing
from pyobshell.security.verify import Passwords
from support.agents import ROOT_PASSWORD
from support.waiting import soon

pytestmark = pytest.mark.anyio

STATUS = b"GET /api/v1/status HTTP/1.1\r\nhost: x\r\n\r\n"
HALF = b"POST /api/v1/ob/stop HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 9\r\n\r\n"


class Knocking:
    """A connection of somebody who speaks no better HTTP than the test says."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def ask(self, request: bytes = STATUS) -> int:
        """The status that a request is answered with."""
        self.writer.write(request)
        head = await soon(self.reader.readuntil(b"\r\n\r\n"))
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        await soon(self.reader.readexactly(int(length or 0)))
        return int(head.split()[1])

    async def ended(self) -> bytes:
        """What comes until the agent ends it."""
        try:
            return await soon(self.reader.read())
        except ConnectionResetError:  # it had not read all
            return b"HTTP/1.1 reset"


def connections_of(host):
    """The agent's side of the connections of strangers on which nothing is asked."""
    groups = host.agent._door.strangers._groups.values()
    return [one for group in groups for one in (*group.new, *group.resting)]


@pytest.fixture
async def agent(anyio_backend, hosts):
    async with hosts.serving(1, passwords=Passwords(root=ROOT_PASSWORD)) as (host,):
        host.api.password = ROOT_PASSWORD
        yield host


@pytest.fixture
async def knock(agent):
    async with contextlib.AsyncExitStack() as stack:

        async def knock() -> Knocking:
            made = Knocking(*await asyncio.open_connection(agent.address.ip, agent.address.port))
            stack.callback(made.writer.close)
            return made

        yield knock


@pytest.mark.parametrize("beginning", [b"", b"GET /api", STATUS[:-2], HALF + b"{"])
async def test_a_request_that_does_not_come_whole_is_given_up(knock, monkeypatch, beginning):
    monkeypatch.setattr(network, "REQUEST_S", 0.05)
    slow = await knock()
    slow.writer.write(beginning)
    answer = await slow.ended()
    assert b"HTTP/1.1 408 " in answer or beginning.startswith(HALF)


async def test_one_that_came_whole_may_take_its_time(knock, monkeypatch):
    monkeypatch.setattr(network, "REQUEST_S", 0.05)
    patient, other = await knock(), await knock()
    assert await patient.ask() == 200
    await other.ended()  # by now the time is over
    assert await patient.ask() == 200


async def test_who_asks_again_before_he_was_answered_is_shown_out(knock):
    hasty = await knock()
    hasty.writer.write(STATUS * 1000)
    answers = await hasty.ended()
    assert answers.count(b"HTTP/1.1 200 ") <= 1
    assert await (await knock()).ask() == 200


async def test_a_head_has_a_size(knock):
    large = await knock()
    large.writer.write(STATUS[:-2] + b"x: " + b"y" * 3 * network.LARGEST_HEAD)
    assert (await large.ended()).startswith((b"HTTP/1.1 431 ", b"HTTP/1.1 reset"))
    assert await (await knock()).ask(STATUS[:-2] + b"x: " + b"y" * 32_000 + b"\r\n\r\n") == 200


@pytest.mark.parametrize(
    ("more", "status"),
    [
        (b"a: b\r\n" * (network.MOST_HEADERS - 1), 200),
        (b"a: b\r\n" * network.MOST_HEADERS, 431),
        (b"a:\r\n" * 16_000, 431),
    ],
)
async def test_a_head_has_so_many_headers(knock, more, status):
    assert await (await knock()).ask(STATUS[:-2] + more + b"\r\n") == status
    assert await (await knock()).ask() == 200


async def test_a_target_has_a_size(knock):
    for size, status in ((8000, 200), (9000, 414)):
        asking = STATUS.replace(b"/status", b"/status?" + b"&" * size)
        assert await (await knock()).ask(asking) == status


async def test_what_is_refused_is_over_and_nothing_of_it_is_left_to_come(agent, knock):
    large = await knock()
    assert await large.ask() == 200
    (connection,) = connections_of(agent)
    large.writer.write(STATUS[:-2] + b"x: " + b"y" * 3 * network.LARGEST_HEAD)
    await large.ended()
    assert connection._due is None


async def test_cookies_are_not_looked_at(agent, knock):
    seen = []

    async def look(scope, receive, send):
        seen.append([name for name, _ in scope["headers"]])
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    connection = await knock()
    assert await connection.ask() == 200
    (ours,) = connections_of(agent)
    ours.app = look
    assert await connection.ask(STATUS[:-2] + b"COOKIE: a=" + b"\\" * 40_000 + b"\r\n\r\n") == 204
    assert seen == [[b"host"]]


@pytest.mark.parametrize("offer", [b"Upgrade", b"UPGRADE"])
async def test_who_offers_another_protocol_has_its_body_read_as_such(knock, offer):
    """A body that was taken for the next request would be obeyed."""
    connection = await knock()
    head = b"POST /api/v1/ob/stop HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\n"
    head += offer + b": h2c\r\nHTTP2-Settings: AAMAAABk\r\nContent-Length: %d\r\n" % len(STATUS)
    assert await connection.ask(head + b"\r\n" + STATUS) == 400
    assert await connection.ask() == 200
    connection.writer.write(head + b"Expect: 100-continue\r\n\r\n")
    await soon(connection.reader.readuntil(b"\r\n\r\n"))  # it has come apart from its body
    assert await connection.ask(STATUS) == 400
    assert await connection.ask() == 200


async def test_who_offers_it_is_understood_wherever_the_network_cuts_it(agent, knock):
    connection = await knock()
    assert await connection.ask() == 200
    (ours,) = connections_of(agent)
    body = b"\r\nupgrade: h2c\r\n\r\n" + STATUS
    head = b"POST /api/v1/ob/stop HTTP/1.1\r\nContent-Length: %d\r\nUpgrade: h2c\r\n" % len(body)
    whole = head + b"Connection: Upgrade\r\n\r\n" + body
    upgrade, end = whole.index(b"\r\nUp"), whole.index(b"\r\n\r\n")
    for cut in (*range(upgrade, upgrade + 12), *range(end, end + 8)):
        ours.data_received(whole[:cut])
        ours.data_received(whole[cut:])
        assert await connection.ask(b"") == 400
    for at in range(len(head)):
        ours.data_received(whole[at : at + 1])
    ours.data_received(whole[len(head) :])
    assert await connection.ask(b"") == 400
    assert await connection.ask() == 200


async def test_lines_without_a_word_keep_no_connection_open(agent, knock):
    connection = await knock()
    assert await connection.ask() == 200
    (ours,) = connections_of(agent)
    for nothing in (b"\r\n", b"\n", b"\r", b"\r\n" * 1000):
        ours.data_received(nothing)
        assert ours.timeout_keep_alive_task is not None
    assert await connection.ask(b"\r\n" + STATUS) == 200


async def test_of_too_many_connections_the_oldest_on_which_nothing_is_asked_is_ended(agent, knock):
    agent.agent._door.strangers._most_of_one = 3
    first, *others = [await knock() for _ in range(3)]
    for one in (*others, first):
        assert await one.ask() == 200
    last = await knock()
    assert await last.ask() == 200
    assert await others[0].ended() == b""
    for kept in (first, others[1], last):
        assert await kept.ask() == 200


async def test_when_something_is_asked_on_all_of_them_nobody_else_comes_in(agent, knock):
    agent.agent._door.strangers._most = 2
    for _ in range(2):
        assert await (await knock()).ask(HALF) == 100
    assert (await (await knock()).ended()).startswith(b"HTTP/1.1 503 ")


async def test_who_has_proven_himself_is_no_stranger(agent, knock):
    strangers = agent.agent._door.strangers
    assert (await agent.api.get("/ob/agents")).status == 200
    assert strangers._count == 0
    assert (await agent.api.get("/ob/agents", password="wrong")).status == 401
    assert strangers._count == 0
    assert await (await knock()).ask() == 200
    assert strangers._count == 1


async def test_whose_turn_it_is_depends_on_what_was_asked_last(agent, monkeypatch):
    standings, run = [], CryptoTurns.run

    def noted(self, sender, *more):
        standings.append(sender.standing)
        return run(self, sender, *more)

    monkeypatch.setattr(CryptoTurns, "run", noted)
    for password in ("wrong", ROOT_PASSWORD, ROOT_PASSWORD, "wrong"):
        await agent.api.get("/ob/agents", password=password)
    assert standings == [Standing.NEW, Standing.UNPROVEN, *[Standing.LET_IN] * 2]


@pytest.mark.parametrize("header", [b"", b"x-ocs-header: garbage\r\n"])
async def test_nothing_is_left_of_a_connection_that_has_ended(agent, knock, header):
    """Not even until circles are looked for, which takes the longer the more there are."""
    knocking, freed = await knock(), asyncio.Event()
    assert await knocking.ask(STATUS.replace(b"host: x\r\n", header)) in (200, 401)
    (connection,) = connections_of(agent)
    weakref.finalize(connection, freed.set)
    del connection
    gc.collect()
    gc.disable()
    try:
        knocking.writer.close()
        await soon(freed.wait())
    finally:
        gc.enable()
