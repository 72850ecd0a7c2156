"""A follower hands what it is asked to its master, and the answer back."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from pyobshell.api import access
from pyobshell.cluster.model import Identity
from pyobshell.security.verify import Passwords
from pyobshell.tasks.ids import GenericId
from support.agents import ROOT_PASSWORD, a_member, free_address
from support.asking import V1_HEADER, check_envelope
from support.undertakings import wait_end
from support.waiting import soon

pytestmark = pytest.mark.anyio

MASTER, FOLLOWER = Identity.MASTER, Identity.FOLLOWER
OPTIONS = {"observerConfig": {"mysql_port": "3881"}, "scope": {"type": "GLOBAL"}}


@pytest.fixture(scope="module")
async def agents(anyio_backend, hosts):
    """A master whose cluster has a password, and its follower."""
    passwords = Passwords(root=ROOT_PASSWORD)
    async with contextlib.AsyncExitStack() as stack:
        made = await stack.enter_async_context(hosts.serving(2, [MASTER, FOLLOWER], passwords))
        for host in made:
            host.api.password = ROOT_PASSWORD
        yield made


async def tasks_of(host):
    return [dag["id"] for dag in (await host.local.get("/task/dags/agent")).contents]


async def test_a_follower_answers_what_its_master_answers(agents):
    master, follower = agents
    for path in ("/ob/agents", "/ob/info"):
        there, here = await master.api.get(path), await follower.api.get(path)
        check_envelope(here)
        assert here.data == there.data


async def test_what_a_follower_is_asked_to_do_is_done_by_its_master(agents):
    master, follower = agents
    before = await tasks_of(follower)
    answer = await follower.api.post("/observer/config", OPTIONS)
    check_envelope(answer)
    assert GenericId.parse(answer.data["id"]).agent == master.address
    assert (await wait_end(master, answer.data["id"]))["state"] == "SUCCEED"
    assert answer.data["id"] in await tasks_of(master)
    assert await tasks_of(follower) == before


async def test_a_task_is_shown_by_a_follower_too(agents):
    master, follower = agents
    task_id = (await master.api.post("/observer/config", OPTIONS)).data["id"]
    await wait_end(master, task_id)
    for door in (follower.api, follower.local):
        answer = await door.get(f"/task/dag/{task_id}?show_details=True")
        assert answer.data == (await master.api.get(f"/task/dag/{task_id}")).data


async def test_the_newest_maintenance_task_of_a_follower_is_its_own(agents):
    master, follower = agents
    task_id = (await master.api.post("/observer/config", OPTIONS)).data["id"]
    await wait_end(master, task_id)
    assert (await master.api.get("/task/dag/maintain/agent")).data["id"] == task_id
    answer = await follower.api.get("/task/dag/maintain/agent")
    assert answer.refusal == ("Task.NotFound", 404)
    assert str(follower.address) in answer.message


async def test_the_masters_refusal_is_the_followers(agents):
    master, follower = agents
    headers = {"X-OBSHELL-Trace-ID": "a trace", "Accept-Language": "zh-CN"}
    answer = await follower.api.post(
        "/ob/stop", {"scope": {"type": "GLOBAL"}, "force": True}, headers=headers
    )
    check_envelope(answer, "a trace")
    assert answer.refusal == ("Agent.Identify.NotSupportOperation", 400)
    assert answer.message == f"agent {master.address} 的身份是 MASTER，该操作需要 CLUSTER AGENT"


async def test_the_master_judges_the_password(agents):
    follower = agents[1]
    for header in ({}, {"sealed_with": V1_HEADER}):
        answer = await follower.api.get("/ob/agents", password="wrong", **header)
        check_envelope(answer)
        assert answer.refusal == ("Security.Authentication.IncorrectOceanbasePassword", 401)
        assert answer.envelope["error"]["code"] == 10008
        assert (await follower.api.get("/ob/agents", **header)).status == 200


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"uri": "/api/v1/ob/info"}, "Header.UriMismatch"),
        ({"ts": "1"}, "Expired"),
        ({"ts": "soon"}, "Timestamp.Invalid"),
    ],
)
async def test_the_follower_judges_whether_a_header_is_for_this_request(agents, wrong, code):
    answer = await agents[1].api.get("/ob/agents", **wrong)
    assert answer.refusal == (f"Security.Authentication.{code}", 401)


async def test_without_credentials_nothing_is_forwarded(agents):
    answer = await agents[1].api.plain("GET", "/api/v1/ob/agents")
    assert answer.refusal == ("Request.Header.NotFound", 400)


async def test_over_its_own_socket_a_follower_vouches_for_its_user(agents):
    master, follower = agents
    assert (await follower.local.get("/ob/agents")).contents == [
        host.address.wire for host in agents
    ]
    answer = await follower.local.post("/observer/config", OPTIONS)
    assert GenericId.parse(answer.data["id"]).agent == master.address
    await wait_end(master, answer.data["id"])


async def test_what_a_follower_is_it_says_itself(agents):
    follower = agents[1]
    info = (await follower.api.plain("GET", "/api/v1/info")).data
    assert (info["identity"], info["port"]) == (FOLLOWER, follower.address.port)
    status = (await follower.api.plain("POST", "/api/v1/status")).data
    assert status["agent"] == {**follower.address.wire, "identity": FOLLOWER}


async def test_a_follower_misses_nobody_whom_it_need_not_ask(hosts):
    async with hosts.serving(3, [MASTER, FOLLOWER, FOLLOWER], Passwords()) as (_, follower, other):
        for path in ("/task/dag/unfinish", "/audit"):
            answer = await follower.local.get(path)
            assert answer.status == 200
            assert str(other.address) not in str(answer.data.get("unreachable", []))


async def test_a_master_that_cannot_be_reached_is_named(start_host, keys):
    own, master = free_address(), free_address()
    members = [
        a_member(master, keys[1], "zone1", MASTER),
        a_member(own, keys[0], "zone2", FOLLOWER),
    ]
    host = await start_host(FOLLOWER, members, address=own)
    for door in (host.api, host.local):
        answer = await door.get("/ob/agents")
        check_envelope(answer)
        assert answer.refusal == ("Agent.RPC.RequestFailed", 500)
        assert str(master) in answer.message


async def test_a_follower_of_nobody_says_so(start_host, keys):
    own = free_address()
    host = await start_host(FOLLOWER, [a_member(own, keys[0], "zone1", FOLLOWER)], address=own)
    answer = await host.api.get("/ob/agents")
    check_envelope(answer)
    assert answer.refusal == ("Agent.NoMaster", 500)


async def test_the_master_is_not_asked_for_strangers_more_than_it_can_bear(
    start_host, keys, monkeypatch
):
    own = free_address()
    members = [
        a_member(free_address(), keys[1], "zone1", MASTER),
        a_member(own, keys[0], "zone2", FOLLOWER),
    ]
    follower = await start_host(FOLLOWER, members, address=own)
    asked, once = [], asyncio.Event()

    async def ask(site, credentials, **_):
        asked.append(credentials.header.uri)
        once.set()
        return access.Accepted(who=access.ROOT)

    monkeypatch.setattr(access, "_have_judged", ask)
    for at_once, path in enumerate(("/time", "/info")):
        monkeypatch.setattr(follower.site, "in_passing", asyncio.Semaphore(at_once))
        assert (await follower.api.get(path)).status == 200
    await soon(once.wait())
    assert asked == ["/api/v1/info"]


async def test_a_trace_id_goes_along_whatever_is_in_it(agents):
    _, follower = agents
    headers = {b"X-OBSHELL-Trace-ID": b"\xe9\xff"}
    answer = await follower.local.get("/ob/info", headers=headers)
    check_envelope(answer, "éÿ")
    assert answer.status == 200
