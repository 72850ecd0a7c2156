"""Every answer of the API, good or bad, is wrapped in the same envelope."""

from __future__ import annotations

import json
from types import SimpleNamespace

import httpx
import pytest

from pyobshell.api.app import make_app
from pyobshell.cluster.model import Identity
from support.asking import Api, check_envelope
from support.undertakings import FORCE_ALL, a_failed_sub_dag, id_of

pytestmark = pytest.mark.anyio

MEMBER, MASTER, SINGLE = Identity.CLUSTER_AGENT, Identity.MASTER, Identity.SINGLE
OPEN = {"/time", "/info", "/secret", "/status"}
# For each route who can answer it, and the body of a request that succeeds.
OTHER = {"ip": "10.0.0.9", "port": 2886}
EXAMPLES = {
    ("GET", "/time"): (MEMBER, None),
    ("GET", "/info"): (SINGLE, None),
    ("GET", "/secret"): (MEMBER, None),
    ("GET", "/status"): (MEMBER, None),
    ("GET", "/ob/info"): (MEMBER, None),
    ("GET", "/ob/agents"): (MEMBER, None),
    ("POST", "/agent/join"): (SINGLE, {"agentInfo": "own", "zoneName": "zone1"}),
    ("POST", "/agent/remove"): (MASTER, "own"),
    ("POST", "/agent/tls/reload"): (SINGLE, {}),
    ("GET", "/agent/unwritable"): (SINGLE, None),
    ("POST", "/ob/stop"): (MEMBER, FORCE_ALL),
    ("POST", "/ob/zone/{zone}/stop"): (MEMBER, {"freeze_server": True}),
    ("POST", "/ob/zone/{zone}/stop/check"): (MEMBER, {}),
    ("POST", "/ob/start"): (MEMBER, {"scope": {"type": "GLOBAL"}}),
    ("POST", "/ob/restart"): (MEMBER, {"rolling": True}),
    ("POST", "/ob/scale_out"): (MEMBER, {"agentInfo": "own", "zone": "zone1", "obConfigs": {}}),
    ("POST", "/ob/scale_in"): (MEMBER, {"agent_info": OTHER}),
    ("DELETE", "/zone/{zone}"): (MEMBER, None),
    ("POST", "/obcluster/config"): (MASTER, {"clusterId": 1, "clusterName": "c", "rootPwd": "p"}),
    ("POST", "/agent/password"): (SINGLE, {"password": "the agent's"}),
    ("POST", "/agent/rotate-key"): (MEMBER, {"key_bits": 2048}),
    ("POST", "/observer/config"): (
        MASTER,
        {"observerConfig": {"mysql_port": "3881"}, "scope": {"type": "GLOBAL"}},
    ),
    ("POST", "/ob/init"): (MASTER, {}),
    ("GET", "/obcluster/parameters"): (MEMBER, None),
    ("PATCH", "/obcluster/parameters"): (
        MEMBER,
        {"params": [{"name": "cpu_count", "value": "16", "scope": "CLUSTER"}]},
    ),
    ("GET", "/task/dag/unfinish"): (MEMBER, None),
    ("GET", "/task/dags/ob"): (MEMBER, None),
    ("GET", "/task/dag/ob/unfinish"): (MEMBER, None),
    ("GET", "/task/dag/agent/unfinish"): (MEMBER, None),
    ("GET", "/task/dags/agent"): (MEMBER, None),
    ("GET", "/task/dag/maintain/ob"): (MEMBER, None),
    ("GET", "/task/dag/maintain/agent"): (MEMBER, None),
    ("GET", "/task/dag/maintain/agents"): (MEMBER, None),
    ("GET", "/task/dag/agent/main_dags"): (MEMBER, None),
    ("GET", "/task/dag/{id}"): (MEMBER, None),
    ("POST", "/task/dag/{id}"): (MEMBER, {"operator": "PASS"}),
    ("GET", "/task/node/{id}"): (MEMBER, None),
    ("POST", "/task/node/{id}"): (MEMBER, {"operator": "PASS"}),
    ("GET", "/task/sub_task/{id}"): (MEMBER, None),
    ("GET", "/task/sub_task/{id}/logs"): (MEMBER, None),
    ("GET", "/audit"): (MEMBER, None),
}
# There are no tasks of the cluster, and servers that form none have no SQL to stop a zone with.
# What is for the local socket alone is not found elsewhere.
NEVER_SUCCEEDS = {
    ("POST", "/agent/tls/reload"): ("Common.NotFound", 404),
    ("GET", "/agent/unwritable"): ("Common.NotFound", 404),
    ("GET", "/task/dag/maintain/ob"): ("Task.NotFound", 404),
    ("POST", "/ob/zone/{zone}/stop"): ("Common.IllegalArgument", 400),
    ("POST", "/ob/zone/{zone}/stop/check"): ("Common.IllegalArgument", 400),
    ("GET", "/obcluster/parameters"): ("Common.IllegalArgument", 400),
    ("PATCH", "/obcluster/parameters"): ("Common.IllegalArgument", 400),
    ("POST", "/ob/scale_out"): ("Common.IllegalArgument", 400),
    ("POST", "/ob/scale_in"): ("Common.IllegalArgument", 400),
    ("DELETE", "/zone/{zone}"): ("Common.IllegalArgument", 400),
}
LISTS = {
    "/ob/agents",
    "/task/dag/unfinish",
    "/task/dags/ob",
    "/task/dag/ob/unfinish",
    "/task/dag/agent/unfinish",
    "/task/dags/agent",
    "/task/dag/maintain/agents",
    "/task/dag/agent/main_dags",
    "/task/sub_task/{id}/logs",
}
NO_DATA = {
    ("POST", "/task/dag/{id}"),
    ("POST", "/task/node/{id}"),
    ("POST", "/agent/password"),
}
every_route = pytest.mark.parametrize(
    ("method", "path"), EXAMPLES, ids=lambda part: part.strip("/").replace("/", "-")
)


def routes():
    paths = make_app(SimpleNamespace()).openapi()["paths"]
    return {
        (method.upper(), path.removeprefix("/api/v1"))
        for path, methods in paths.items()
        for method in methods
    }


def test_there_is_an_example_for_every_route():
    assert EXAMPLES.keys() == routes()


async def a_host(start_host, start_member, identity):
    """An agent that is alone, or a member with a task that has failed at its second stage."""
    if identity is SINGLE:
        return await start_host()
    host = await start_member(identity, zones=("zone1",))
    if identity is MEMBER:
        await a_failed_sub_dag(host)
    return host


def filled_in(host, path, body):
    """The example, with the ids and the address of an agent."""
    numbers = {"/task/dag/{id}": 1, "/task/node/{id}": 2, "/task/sub_task/{id}": 2}
    numbers["/task/sub_task/{id}/logs"] = 2
    path = path.replace("{id}", id_of(host, numbers.get(path, 0))).replace("{zone}", "zone1")
    if body == "own":
        return path, host.address.wire
    if isinstance(body, dict):
        body = {n: host.address.wire if v == "own" else v for n, v in body.items()}
    return path, body


@every_route
async def test_a_request_that_succeeds(start_host, start_member, method, path):
    identity, example = EXAMPLES[method, path]
    host = await a_host(start_host, start_member, identity)
    target, body = filled_in(host, path, example)
    answer = await host.api.ask(method, target, body)
    check_envelope(answer)
    if (method, path) in NEVER_SUCCEEDS:
        assert answer.refusal == NEVER_SUCCEEDS[method, path]
        return
    assert answer.status == 200, answer.envelope
    assert ("data" not in answer.envelope) == ((method, path) in NO_DATA)
    assert (path in LISTS) == (answer.data is not None and list(answer.data) == ["contents"])


@every_route
async def test_over_the_local_socket_no_route_asks_for_credentials(unchanged_member, method, path):
    target, _ = filled_in(unchanged_member, path, None)
    answer = await unchanged_member.local.ask(method, target, {"scope": {"type": "NONE"}})
    check_envelope(answer)
    assert answer.status in (200, 400, 404)
    assert "Header" not in answer.text


@every_route
async def test_a_request_without_credentials(unchanged_member, method, path):
    _, example = EXAMPLES[method, path]
    target, body = filled_in(unchanged_member, path, example)
    content = None if body is None else json.dumps(body).encode()
    answer = await unchanged_member.api.plain(method, "/api/v1" + target, content)
    check_envelope(answer)
    if path in OPEN:
        assert answer.status == 200
    else:
        assert answer.refusal == ("Request.Header.NotFound", 400)


@every_route
async def test_a_request_whose_body_is_no_json(unchanged_member, method, path):
    target, _ = filled_in(unchanged_member, path, None)
    answer = await unchanged_member.local.ask(method, target, b"{]")
    check_envelope(answer)
    assert answer.refusal == ("Common.BindJsonFailed", 400)


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/api/v1/nothing"),
        ("POST", "/api/v1/ob/stop/now"),
        ("GET", "/api/v1/ob/stop"),
        ("DELETE", "/api/v1/ob/stop"),
        ("PATCH", "/api/v1/task/dag/11"),
        ("OPTIONS", "/api/v1/info"),
        ("GET", "/api/v1/"),
        ("GET", "/api/v1"),
        ("GET", "/rpc/v1/nothing"),
        ("GET", "/"),
    ],
)
async def test_an_unknown_route_or_a_wrong_method_is_not_found(unchanged_member, method, target):
    answer = await unchanged_member.local.plain(method, target)
    check_envelope(answer)
    assert answer.refusal == ("Common.NotFound", 404)
    assert target.removesuffix("/") in answer.message


async def test_a_crash_is_unexpected_and_says_nothing_of_what_happened(member):
    async def crash():
        raise RuntimeError("a secret")

    member.engine.state = crash
    app = member.agent._config(member.site, trusted=True).app
    api = Api(httpx.ASGITransport(app, raise_app_exceptions=False), member.address, trusted=True)
    answer = await api.get("/status")
    check_envelope(answer)
    assert answer.refusal == ("Common.Unexpected", 500)
    assert "secret" not in answer.text
    await api.close()


# --- trace ids and languages ---------------------------------------------------------------------


@pytest.mark.parametrize("trace_id", ["d0991236cc3983cf", "anything at all", "x" * 200])
async def test_a_trace_id_that_is_given_comes_back_whatever_happens(unchanged_member, trace_id):
    headers = {"X-OBSHELL-Trace-ID": trace_id}
    good = await unchanged_member.api.get("/ob/agents", headers=headers)
    bad = await unchanged_member.api.post("/ob/stop", {}, headers=headers)
    unsealed = await unchanged_member.api.plain(
        "GET", "/api/v1/ob/agents", headers={**headers, "X-OCS-Header": "garbage"}
    )
    assert (good.status, bad.status, unsealed.status) == (200, 400, 401)
    for answer in (good, bad, unsealed):
        check_envelope(answer, trace_id)


async def test_each_request_has_a_trace_id_of_its_own(unchanged_member):
    answers = [await unchanged_member.api.get("/ob/agents", headers={"X-OBSHELL-Trace-ID": ""})]
    answers += [await unchanged_member.api.get("/ob/agents") for _ in range(4)]
    assert len({answer.envelope["traceId"] for answer in answers}) == 5


@pytest.mark.parametrize("language", ["zh", "zh-CN", "ZH-cn", " zh"])
async def test_errors_are_told_in_chinese_to_who_wants_it(unchanged_member, language):
    answer = await unchanged_member.api.post(
        "/ob/stop", {"scope": {"type": "ALL"}}, headers={"Accept-Language": language}
    )
    assert answer.refusal == ("OB.Cluster.Scope.Invalid", 400)
    assert answer.message == "scope 类型 'ALL' 无效，请使用 GLOBAL、ZONE 或 SERVER"


@pytest.mark.parametrize("language", ["en", "en-US", "de", "", "zho", "*"])
async def test_errors_are_told_in_english_to_anybody_else(unchanged_member, language):
    answer = await unchanged_member.api.post(
        "/ob/stop", {"scope": {"type": "ALL"}}, headers={"Accept-Language": language}
    )
    assert answer.message == "Scope type 'ALL' is invalid; use GLOBAL, ZONE or SERVER"


async def test_credentials_are_refused_in_the_language_of_the_request_too(unchanged_member):
    answer = await unchanged_member.api.plain(
        "GET", "/api/v1/ob/agents", headers={"Accept-Language": "zh-CN", "X-OCS-Header": "?"}
    )
    assert answer.refusal == ("Security.Authentication.Header.DecryptFailed", 401)
    assert "请求头无法解密" in answer.message
