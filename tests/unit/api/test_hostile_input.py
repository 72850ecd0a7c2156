"""Input that nobody sends by accident gets the error that fits it, in the envelope."""

from __future__ import annotations

import pytest

from pyobshell.api.call import Call
from support.asking import check_envelope

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("tag", "language"),
    [("zh", "zh"), ("zh-CN", "zh"), ("ZH-hans", "zh"), ("en-US", "en"), ("zh-CN,zh;q=0.9", "en")],
)
def test_one_language_tag_is_read_and_a_list_counts_as_english(tag: str, language: str) -> None:
    call = Call.of({"accept-language": tag}, "/api/v1/time", trusted=False)
    assert call.language == language


async def test_a_port_of_thousands_of_digits_is_no_port(unchanged_master):
    body = {"observerConfig": {"mysql_port": "9" * 5000}, "scope": {"type": "GLOBAL"}}
    answer = await unchanged_master.api.post("/observer/config", body)
    assert answer.refusal == ("Common.InvalidPort", 400)


async def test_a_trailing_slash_is_another_route_and_not_there(unchanged_member):
    answer = await unchanged_member.api.get("/ob/agents/")
    check_envelope(answer)
    assert answer.refusal == ("Common.NotFound", 404)


@pytest.mark.parametrize("depth", [10, 900, 935, 1500, 100_000])
async def test_a_body_nested_as_deep_as_you_like_is_at_worst_unreadable(unchanged_member, depth):
    body = b'{"scope": {"type": "NOWHERE"}, "x": ' + b"[" * depth + b"]" * depth + b"}"
    answer = await unchanged_member.api.post("/ob/stop", body)
    check_envelope(answer)
    assert answer.refusal in (
        ("OB.Cluster.Scope.Invalid", 400),
        ("Common.BindJsonFailed", 400),
    )
