"""Input that nobody sends by accident gets the error that fits it, in the envelope."""

from __future__ import annotations

import os

import httpx
import pytest
import structlog

from pyobshell.api.call import Call
from pyobshell.api.local_caller import LocalCaller
from support.asking import Api, check_envelope

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


async def test_a_body_that_does_not_come_to_its_end_is_none(unchanged_member):
    messages = [
        {
            "type": "http.request",
            "body": b'{"scope": {"type": "GLOBAL"}, "force": true}',
            "more_body": True,
        },
        {"type": "http.disconnect"},
    ]
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/api/v1/ob/stop",
        "query_string": b"",
        "headers": [],
    }
    answered = []

    async def receive():
        return messages.pop(0)

    async def send(message):
        answered.append(message)

    site, agent = unchanged_member.site, unchanged_member.agent
    await agent._config(site, trusted=True).app(scope, receive, send)
    assert answered[0]["status"] == 400
    assert await site.tasks.dags() == []


async def test_no_secret_of_a_query_is_logged_and_no_more_of_it_than_fits_a_line(unchanged_member):
    with structlog.testing.capture_logs() as lines:
        await unchanged_member.local.post("/ob/stop?rootPwd=s3cret&x=" + "y" * 5000, {})
    (line,) = lines
    assert line["event"].startswith("POST /api/v1/ob/stop?rootPwd=***&x=yyy")
    assert len(line["event"]) < 1100


@pytest.mark.parametrize(("uid", "status"), [(0, 200), (os.geteuid(), 200), (12345, 401)])
async def test_over_the_local_socket_only_its_own_user_and_root_are_heard(
    unchanged_member, uid, status
):
    app = unchanged_member.agent._config(unchanged_member.site, trusted=True).app

    async def as_user(scope, receive, send):
        await app({**scope, "state": {"local_caller": LocalCaller(1, uid)}}, receive, send)

    api = Api(httpx.ASGITransport(as_user), unchanged_member.address, trusted=True)
    for path in ("/ob/agents", "/time"):
        answer = await api.get(path)
        check_envelope(answer)
        assert answer.status == status
    await api.close()
