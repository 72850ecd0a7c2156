"""How long a header is good for, and whom it lets know what is wrong with its body."""

from __future__ import annotations

import base64
import time

import pytest

from pyobshell import errors
from pyobshell.security.hybrid import seal_request
from support.asking import ROOT_HEADER

pytestmark = pytest.mark.anyio

AGENTS, STOP = "/ob/agents", "/ob/stop"
PREFIX = "/api/v1"


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
