"""Requests that somebody has recorded: they open nothing, and nothing is learnt from them."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import time

import pytest

from pyobshell import errors
from pyobshell.cluster.model import Identity
from pyobshell.security import backoff
from pyobshell.security.backoff import FREE
from pyobshell.security.hybrid import open_header_v2
from pyobshell.security.verify import Passwords
from support.agents import ROOT_PASSWORD, free_address
from support.asking import AGENT_HEADER, ROOT_HEADER, V1_HEADER, Answer, sealed_fields
from support.hosting import starting, starting_members
from support.undertakings import FORCE_ALL
from support.waiting import Gate, soon

pytestmark = pytest.mark.anyio

AGENTS, STOP = "/ob/agents", "/ob/stop"
PREFIX = "/api/v1"
SECTION_BYTES = 256
SDK_CHUNK = 53
REPLAYED = (errors.HEADER_REPLAYED.name, 401)


async def recorded(
    host,
    path: str,
    body: bytes | None = None,
    name: str = ROOT_HEADER,
    password: str = ROOT_PASSWORD,
):
    """A request of the rightful client as it goes over the network."""
    _, value, content = await host.api.seal(name, password, PREFIX + path, body, {})
    return {name: value}, content


def opened(host, headers: dict[str, str]):
    return open_header_v2(host.key, headers[ROOT_HEADER])


@pytest.mark.parametrize("name", [ROOT_HEADER, V1_HEADER])
async def test_a_request_that_is_sent_again_is_refused(member, name):
    headers, _ = await recorded(member, AGENTS, name=name)
    assert (await member.api.plain("GET", PREFIX + AGENTS, headers=headers)).status == 200
    again = await member.api.plain("GET", PREFIX + AGENTS, headers=headers)
    assert again.refusal == REPLAYED
    assert again.envelope["error"]["code"] == 10008  # at which clients make a new header


async def test_also_with_another_body(member):
    headers, body = await recorded(member, STOP, json.dumps(FORCE_ALL).encode())
    assert (await member.api.plain("POST", PREFIX + STOP, body, headers)).status == 200
    assert (await member.api.plain("POST", PREFIX + STOP, None, headers)).refusal == REPLAYED


async def test_also_after_the_agent_was_restarted(hosts, keys):
    own, headers, answers = free_address(), None, []
    for _ in range(2):
        async with contextlib.AsyncExitStack() as life:
            start = starting_members(starting(hosts, life), keys)
            host = await start(address=own)
            headers = headers or (await recorded(host, AGENTS))[0]
            answers.append(await host.api.plain("GET", PREFIX + AGENTS, headers=headers))
    first, second = answers
    assert first.status == 200
    assert second.refusal == REPLAYED


async def a_stray(host, kind: str, headers: dict[str, str]) -> Answer:
    """Send a header in a request that does not come in, and not for want of a password."""
    ask = host.api.plain
    match kind:
        case "another target":
            return await ask("GET", PREFIX + "/ob/info", headers=headers)
        case "no route":
            return await ask("GET", PREFIX + "/ob/no_such_thing", headers=headers)
        case "no path of the API":
            return await ask("GET", "/else/where", headers=headers)
        case "another method":
            return await ask("DELETE", PREFIX + AGENTS, headers=headers)
        case "an open route":
            return await ask("GET", PREFIX + "/info", headers=headers)
        case "another header":
            renamed = {AGENT_HEADER: headers[ROOT_HEADER]}
            return await ask("GET", PREFIX + AGENTS, headers=renamed)
        case "beside another":
            broken = base64.b64encode(bytes(SECTION_BYTES)).decode()
            return await ask("GET", PREFIX + AGENTS, headers={**headers, AGENT_HEADER: broken})
        case "cut off":
            with pytest.raises(ConnectionResetError):
                await cut_off(host, headers)
            return Answer(0, {})
    raise ValueError(kind)


async def cut_off(host, headers: dict[str, str]) -> None:
    """Hang up in the middle of a request's body."""
    scope = {
        "type": "http",
        "method": "POST",
        "path": PREFIX + AGENTS,
        "query_string": b"",
        "scheme": "http",
        "headers": [(k.lower().encode(), v.encode()) for k, v in headers.items()],
        "client": ("127.0.0.1", 1),
    }
    said = iter([{"type": "http.request", "body": b"e", "more_body": True}])

    async def receive():
        return next(said, {"type": "http.disconnect"})

    async def send(_message):
        raise ConnectionResetError

    await host.api.http._transport.app(scope, receive, send)


STRAYS = [
    "another target",
    "no route",
    "no path of the API",
    "another method",
    "an open route",
    "another header",
    "beside another",
    "cut off",
]


@pytest.mark.parametrize("kind", STRAYS)
async def test_a_header_whose_password_is_right_is_used_up_by_whatever_request(member, kind):
    headers, _ = await recorded(member, AGENTS)
    answer = await a_stray(member, kind, headers)
    assert answer.envelope.get("error", {}).get("errCode") != errors.HEADER_REPLAYED.name
    again = await member.api.plain("GET", PREFIX + AGENTS, headers=headers)
    assert again.refusal == REPLAYED


async def guessed(host, word: str, name: str, known: str, known_name: str) -> Answer:
    """Who knows a password sends a stray header with a guess at another, then a piece of it."""
    key, expiry = await host.api.public_key(), int(time.time()) + 60

    def header(*pieces: str) -> str:
        return base64.b64encode(
            b"".join(sealed.get(p) or key.encrypt_sections(p.encode()) for p in pieces)
        ).decode()

    sealed = {word: key.encrypt_sections(word.encode())}
    stray = header('{"auth":"', word, f'","ts":"{expiry}","uri":"/elsewhere"}}')
    await host.api.plain("GET", PREFIX + AGENTS, headers={name: stray})
    start = f'{{"auth":"{known}","ts":"{expiry}","uri":"{PREFIX + AGENTS}","rest":"'
    return await host.api.plain(
        "GET", PREFIX + AGENTS, headers={known_name: header(start, word, '"}')}
    )


@pytest.mark.parametrize("of_root", [True, False])
async def test_who_knows_one_password_learns_so_nothing_of_another(start_member, of_root):
    host = await start_member(passwords=Passwords(root="roots", agent="agents"))
    both = [("roots", ROOT_HEADER), ("agents", AGENT_HEADER)]
    (right, name), (known, known_name) = both if of_root else reversed(both)
    for word in ("wrong", right):
        assert (await guessed(host, word, name, known, known_name)).status == 200
    headers, _ = await recorded(host, AGENTS, name=name, password=right)
    await a_stray(host, "no route", headers)
    assert (await host.api.plain("GET", PREFIX + AGENTS, headers=headers)).refusal == REPLAYED


async def test_a_password_of_both_is_used_up_for_both(start_member):
    host = await start_member(passwords=Passwords(root="same", agent="same"))
    headers, _ = await recorded(host, AGENTS, password="same")
    await a_stray(host, "no route", headers)
    for name in (ROOT_HEADER, AGENT_HEADER):
        again = await host.api.plain("GET", PREFIX + AGENTS, headers={name: headers[ROOT_HEADER]})
        assert again.refusal == REPLAYED


@pytest.mark.parametrize("agent", ["same", "another"])
async def test_a_password_that_becomes_another_one_s_too_is_used_up_for_that(start_member, agent):
    host = await start_member(passwords=Passwords(root="roots", agent="same"))
    headers, _ = await recorded(host, AGENTS, password="same")
    refused = await host.api.plain("GET", PREFIX + AGENTS, headers=headers)
    assert refused.refusal == (errors.INCORRECT_OCEANBASE_PASSWORD.name, 401)
    view = host.site.cluster.view
    await host.site.cluster.save(view, Passwords(root="same", agent=agent))
    again = await host.api.plain("GET", PREFIX + AGENTS, headers=headers)
    assert again.refusal == REPLAYED


async def test_one_whose_time_has_not_come_is_used_up_until_then(start_member, monkeypatch):
    host = await start_member()
    key, soon = await host.api.public_key(), time.time() + 5000
    fields = {"auth": ROOT_PASSWORD, "ts": str(int(soon)), "uri": PREFIX + AGENTS}
    headers = {ROOT_HEADER: sealed_fields(key, fields)}
    early = await host.api.plain("GET", PREFIX + AGENTS, headers=headers)
    assert early.refusal == (errors.TIMESTAMP_INVALID.name, 401)
    monkeypatch.setattr(time, "time", lambda: soon - 10)
    assert (await host.api.plain("GET", PREFIX + AGENTS, headers=headers)).refusal == REPLAYED


@pytest.mark.parametrize("kind", STRAYS[:-1])
async def test_of_what_strangers_send_nothing_is_kept(member, kind):
    headers = {}
    for password in ("wrong", ""):
        fields = {"auth": password, "ts": str(int(time.time()) + 60), "uri": PREFIX + AGENTS}
        headers[ROOT_HEADER] = sealed_fields(await member.api.public_key(), fields)
        await a_stray(member, kind, headers)
    assert member.site.replays._expiries == {}
    assert len(member.site.replays._timeless) == 0


async def test_a_repetition_cannot_fill_the_memory_with_further_sections(member):
    key = await member.api.public_key()
    ours, _ = await spliced(key, ROOT_PASSWORD)
    for number in range(3):
        _, rest = await spliced(key, ROOT_PASSWORD, target=f"/{number}")
        headers = {ROOT_HEADER: base64.b64encode(ours + rest).decode()}
        await a_stray(member, "no route", headers)
    assert len(member.site.replays._expiries) + len(member.site.replays._timeless) == 1 + (
        len(rest) // SECTION_BYTES
    )


async def test_stray_requests_cost_no_login_and_no_place_in_the_line_of_guesses(member):
    logins, waiting = member.engine.logins, member.agent._door.logins
    for number in range(2 * FREE):
        headers, _ = await recorded(member, AGENTS, password=f"wrong {number}")
        await a_stray(member, "no route", headers)
    assert member.engine.logins == logins
    assert waiting._debtors == {}


@pytest.fixture
def indebted(member, monkeypatch):
    """Whoever asks has offered wrong passwords, and waits at a gate before he is judged."""
    gate = Gate()

    async def sleep(_: float) -> None:
        await gate.pass_through()

    monkeypatch.setattr(backoff, "FREE", -1)
    monkeypatch.setattr(member.agent._door.logins, "_sleep", sleep)
    with contextlib.suppress(errors.OBShellError), member.agent._door.logins._charged("127.0.0.1"):
        raise errors.INCORRECT_OCEANBASE_PASSWORD()
    return gate


async def test_a_header_that_waits_while_the_key_is_changed_lets_nobody_in(member, indebted):
    headers, _ = await recorded(member, AGENTS)
    asking = asyncio.create_task(member.api.plain("GET", PREFIX + AGENTS, headers=headers))
    await indebted.reached()
    assert (await member.local.post("/agent/rotate-key", {"key_bits": 2048})).status == 200
    indebted.open()
    assert (await soon(asking)).refusal[0] == errors.HEADER_DECRYPT_FAILED.name


async def test_a_header_that_expires_while_it_waits_lets_nobody_in(member, indebted, monkeypatch):
    headers, _ = await recorded(member, AGENTS)
    asking = asyncio.create_task(member.api.plain("GET", PREFIX + AGENTS, headers=headers))
    await indebted.reached()
    later = time.time() + 3600
    monkeypatch.setattr(time, "time", lambda: later)
    indebted.open()
    assert (await soon(asking)).refusal[0] == errors.EXPIRED.name


async def test_who_was_let_in_before_there_was_a_password_is_judged_again(start_host):
    host, gate = await start_host(), Gate()
    body = json.dumps({"agentInfo": {"ip": "", "port": 0}, "x": "y" * 100_000}).encode()

    async def said():
        yield body[:-1]
        await gate.pass_through()
        yield body[-1:]

    headers, _ = await recorded(host, "/agent/join")
    asking = asyncio.create_task(
        host.api.http.post(PREFIX + "/agent/join", content=said(), headers=headers)
    )
    await gate.reached()
    assert (await host.local.post("/agent/password", {"password": "secret"})).status == 200
    gate.open()
    answer = (await soon(asking)).json()
    assert answer["error"]["errCode"] == errors.WITH_AGENT_PASSWORD.name


async def spliced(key, password: str, target: str = PREFIX + AGENTS, expiry: int | None = None):
    """The first section of a header as the SDK cuts it, and the others."""
    fields = {
        "auth": password,
        "ts": str(expiry or int(time.time()) + 60),
        "uri": target,
        "keys": base64.b64encode(bytes(32)).decode(),
    }
    sections = key.encrypt_sections(json.dumps(fields).encode(), SDK_CHUNK)
    return sections[:SECTION_BYTES], sections[SECTION_BYTES:]


@pytest.mark.parametrize("length", [22, 23, 28, 33, 34, 43, 44, 60])
async def test_also_a_long_password_opens_nothing_with_another_time(
    start_member, length, monkeypatch
):
    """The time is then in the second piece, in whole or in part."""
    password = "p" * length
    host = await start_member(passwords=Passwords(root=password))
    key = await host.api.public_key()
    first, rest = await spliced(key, password)
    headers = {ROOT_HEADER: base64.b64encode(first + rest).decode()}
    assert (await host.api.plain("GET", PREFIX + AGENTS, headers=headers)).status == 200

    later = time.time() + 10_000
    monkeypatch.setattr(time, "time", lambda: later)
    _, rest = await spliced(key, password, PREFIX + STOP)
    forged = {ROOT_HEADER: base64.b64encode(first + rest).decode()}
    answer = await host.api.plain("POST", PREFIX + STOP, None, forged)
    # The time is whole in the first section, or begins in there, or the section is known.
    assert answer.status == 401
    assert answer.refusal[0] in (
        errors.EXPIRED.name,
        errors.HEADER_DECRYPT_FAILED.name,
        errors.HEADER_REPLAYED.name,
    )
    if length >= 33:
        assert answer.refusal == REPLAYED


async def test_its_password_opens_nothing_else_with_another_end(member):
    """Clients cut a header into pieces, which are encrypted each on its own."""
    key = await member.api.public_key()
    keys = base64.b64encode(bytes(32)).decode()
    expiry = str(int(time.time()) + 60)
    fields = {"auth": ROOT_PASSWORD, "ts": expiry, "uri": PREFIX + AGENTS, "keys": keys}
    whole = json.dumps(fields)
    ours = key.encrypt_sections(whole.encode(), SDK_CHUNK)
    headers = {ROOT_HEADER: base64.b64encode(ours).decode()}
    assert json.dumps(ROOT_PASSWORD) in whole[:SDK_CHUNK]
    assert (await member.api.plain("GET", PREFIX + AGENTS, headers=headers)).status == 200

    other = json.dumps({**fields, "uri": PREFIX + STOP})
    assert other[:SDK_CHUNK] == whole[:SDK_CHUNK]
    rest = key.encrypt_sections(other[SDK_CHUNK:].encode(), SDK_CHUNK)
    forged = {ROOT_HEADER: base64.b64encode(ours[:SECTION_BYTES] + rest).decode()}
    assert (await member.api.plain("POST", PREFIX + STOP, None, forged)).refusal == REPLAYED


async def test_a_spoilt_body_uses_its_header_up(member):
    headers, body = await recorded(member, STOP, b'{"force": true}')
    spoilt = await member.api.plain("POST", PREFIX + STOP, b"!" * 24, headers)
    assert spoilt.refusal == (errors.BODY_LENGTH_INVALID.name, 400)
    assert (await member.api.plain("POST", PREFIX + STOP, body, headers)).refusal == REPLAYED


async def test_at_an_agent_that_guards_nothing_the_later_password_is_used_up_too(start_host):
    host = await start_host()
    headers, _ = await recorded(host, AGENTS)
    for _ in range(2):
        answer = await host.api.plain("GET", PREFIX + AGENTS, headers=headers)
        assert answer.status != 401
    with pytest.raises(errors.OBShellError) as refused:
        host.site.replays.admit(opened(host, headers).sections, 2**40, time.time())
    assert refused.value.code is errors.HEADER_REPLAYED


@pytest.mark.parametrize(("method", "path"), [("POST", STOP), ("GET", AGENTS), ("GET", "/none")])
async def test_what_anybody_sends_cannot_fill_the_memory(start_host, method, path):
    host = await start_host()
    replays = host.site.replays
    replays._most_of_anybody = 2
    for _ in range(4):
        headers, body = await recorded(host, path)
        answer = await host.api.plain(method, PREFIX + path, body, headers)
        assert answer.envelope.get("error", {}).get("errCode") != errors.TOO_MANY_HEADERS.name
    assert len(replays._expiries) == 2


async def test_at_a_follower_it_is_the_master_who_knows_whose_a_password_is(hosts, monkeypatch):
    identities = (Identity.MASTER, Identity.FOLLOWER)
    async with hosts.serving(2, identities) as (_, follower):
        replays, noted = follower.agent._door.replays, asyncio.Event()
        note = replays.note

        def noting(*header, **more):
            note(*header, **more)
            noted.set()

        monkeypatch.setattr(replays, "note", noting)
        headers, _ = await recorded(follower, AGENTS)
        stray = await follower.api.plain("GET", PREFIX + "/ob/no_such_thing", headers=headers)
        assert stray.status == 404
        await soon(noted.wait())
        with pytest.raises(errors.OBShellError) as refused:
            replays.admit(opened(follower, headers).sections, 2**40, time.time())
        assert refused.value.code is errors.HEADER_REPLAYED


async def test_what_was_for_a_key_that_was_changed_is_forgotten(member):
    member.site.replays._timeless.add([b"12345678"])
    assert (await member.local.post("/agent/rotate-key", {"key_bits": 2048})).status == 200
    assert len(member.site.replays._timeless) == 0
