"""Requests that somebody has recorded: they open nothing, and nothing is learnt from them."""

from __future__ import annotations

import base64
import contextlib
import json
import time

import pytest

from pyobshell import errors
from pyobshell.security.hybrid import seal_request
from support.agents import ROOT_PASSWORD, free_address
from support.asking import ROOT_HEADER, V1_HEADER
from support.hosting import starting, starting_members
from support.undertakings import FORCE_ALL

pytestmark = pytest.mark.anyio

AGENTS, STOP = "/ob/agents", "/ob/stop"
PREFIX = "/api/v1"
SECTION_BYTES = 256
SDK_CHUNK = 53
REPLAYED = (errors.HEADER_REPLAYED.name, 401)


async def recorded(host, path: str, body: bytes | None = None, name: str = ROOT_HEADER):
    """A request of the rightful client as it goes over the network."""
    _, value, content = await host.api.seal(name, ROOT_PASSWORD, PREFIX + path, body, {})
    return {name: value}, content


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


async def test_who_is_refused_has_used_nothing_up(member):
    headers, _ = await recorded(member, AGENTS)
    elsewhere = await member.api.plain("GET", PREFIX + "/ob/info", headers=headers)
    assert elsewhere.refusal == (errors.URI_MISMATCH.name, 401)
    assert (await member.api.plain("GET", PREFIX + AGENTS, headers=headers)).status == 200


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


@pytest.mark.parametrize("seconds", [901, 86400, 10**9])
async def test_no_header_is_good_for_long(unchanged_member, seconds):
    answer = await unchanged_member.api.get(AGENTS, ts=str(int(time.time()) + seconds))
    assert answer.refusal == (errors.TIMESTAMP_INVALID.name, 401)
    assert "900 s" in answer.message


async def test_how_long_is_a_setting(start_member):
    host = await start_member(header_lifetime_s=30)
    answer = await host.api.get(AGENTS, ts=str(int(time.time()) + 60))
    assert answer.refusal == (errors.TIMESTAMP_INVALID.name, 401)
    assert (await host.api.get(AGENTS, ts=str(int(time.time()) + 20))).status == 200


@pytest.mark.parametrize("spoilt", ["padding", "length", "characters", "nothing"])
async def test_what_is_wrong_with_a_body_is_told_to_the_rightful_user_alone(
    unchanged_member, spoilt
):
    key = await unchanged_member.api.public_key()
    sealed = seal_request(
        key, password="wrong", uri=PREFIX + STOP, body=b'{"force": 1}', now=time.time()
    )
    body = base64.b64decode(sealed.body)
    sent = {
        "padding": base64.b64encode(body[:-1] + bytes([body[-1] ^ 1])),
        "length": base64.b64encode(body[:-1]),
        "characters": b"!" * 24,
        "nothing": sealed.body,
    }[spoilt]
    headers = {ROOT_HEADER: sealed.header_value}
    answer = await unchanged_member.api.plain("POST", PREFIX + STOP, sent, headers)
    assert answer.refusal == (errors.INCORRECT_OCEANBASE_PASSWORD.name, 401)


async def test_a_spoilt_body_uses_its_header_up(member):
    headers, body = await recorded(member, STOP, b'{"force": true}')
    spoilt = await member.api.plain("POST", PREFIX + STOP, b"!" * 24, headers)
    assert spoilt.refusal == (errors.BODY_LENGTH_INVALID.name, 400)
    assert (await member.api.plain("POST", PREFIX + STOP, body, headers)).refusal == REPLAYED


async def test_an_agent_that_guards_nothing_remembers_nothing(start_host):
    host = await start_host()
    headers, _ = await recorded(host, AGENTS)
    for _ in range(2):
        answer = await host.api.plain("GET", PREFIX + AGENTS, headers=headers)
        assert answer.status != 401
    assert not host.agent.paths.used_headers.exists()
