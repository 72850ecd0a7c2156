"""Much is read only from who may come in."""

from __future__ import annotations

import json

import pytest

from support.agents import ROOT_PASSWORD
from support.asking import ROOT_HEADER

pytestmark = pytest.mark.anyio
CHUNK = 16 * 1024
NOWHERE = json.dumps({"scope": {"type": "ZONE", "target": ["z" * CHUNK] * 12}}).encode()


async def post_in_pieces(host, path, password, body):
    """The answer, and how many pieces of the body were read for it."""
    read = 0
    name, value, sealed = await host.api.seal(ROOT_HEADER, password, "/api/v1" + path, body, {})

    async def pieces():
        nonlocal read
        for begin in range(0, len(sealed), CHUNK):
            read += 1
            yield sealed[begin : begin + CHUNK]

    return await host.api.plain("POST", "/api/v1" + path, pieces(), {name: value}), read


async def test_of_what_a_stranger_sends_little_is_read(unchanged_member):
    answer, read = await post_in_pieces(unchanged_member, "/ob/stop", "wrong", NOWHERE)
    assert answer.refusal == ("Security.Authentication.IncorrectOceanbasePassword", 401)
    assert read <= 6
    answer = await unchanged_member.api.plain("POST", "/api/v1/ob/stop", b" " * (5 * CHUNK))
    assert answer.refusal == ("Request.Header.NotFound", 400)
    answer = await unchanged_member.api.plain("GET", "/api/v1/status", b" " * (5 * CHUNK))
    assert answer.status == 400


async def test_the_rightful_user_may_send_much_and_is_let_in_once(unchanged_member):
    answer, _ = await post_in_pieces(unchanged_member, "/ob/stop", ROOT_PASSWORD, NOWHERE)
    assert answer.refusal[0] == "OB.Zone.NotExist"


async def test_a_header_that_was_used_lets_nothing_large_in(unchanged_member):
    name, value, body = await unchanged_member.api.seal(
        ROOT_HEADER, ROOT_PASSWORD, "/api/v1/ob/stop", NOWHERE, {}
    )
    answers = [
        await unchanged_member.api.plain("POST", "/api/v1/ob/stop", body, {name: value})
        for _ in range(2)
    ]
    assert [answer.refusal[0] for answer in answers] == [
        "OB.Zone.NotExist",
        "Security.Authentication.Header.Replayed",
    ]
