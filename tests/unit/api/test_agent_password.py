"""The agent password: who may set it, what it opens, and that it is seen nowhere."""

from __future__ import annotations

import asyncio
import json
import sqlite3

import pytest
from obshell import ClientSet
from obshell.auth import PasswordAuth
from obshell.service.client_v1 import OBShellHandleError

from pyobshell.agent import Agent, TakeOver
from pyobshell.client import Client
from pyobshell.cluster.model import ClusterView, Identity
from pyobshell.security.backoff import FREE
from pyobshell.security.verify import Passwords
from pyobshell.tasks.ids import GenericId
from support.agents import free_address
from support.asking import AGENT_HEADER, ROOT_HEADER, V1_HEADER
from support.undertakings import wait_end
from support.waiting import soon

pytestmark = pytest.mark.anyio

PATH = "/agent/password"
PREFIX = "Security.Authentication."
WRONG_ROOT = (PREFIX + "IncorrectOceanbasePassword", 401)
WRONG_AGENT = (PREFIX + "IncorrectAgentPassword", 401)
NEEDS_AGENT = (PREFIX + "WithAgentPassword", 401)
NEEDS_ROOT = (PREFIX + "WithOceanBasePassword", 401)
IDENTITY = ("Agent.Identify.NotSupportOperation", 400)
SINGLE, MEMBER = Identity.SINGLE, Identity.CLUSTER_AGENT


def outcome(answer):
    """None for a request that passed."""
    return None if answer.status == 200 else answer.refusal


async def is_guarded(host):
    return (await host.api.plain("GET", "/api/v1/info")).data["security"]


# What an agent says to these credentials, by what it is and what it knows.
RULES = [
    (SINGLE, Passwords(), ROOT_HEADER, "", None),
    (SINGLE, Passwords(), AGENT_HEADER, "anything", None),
    (SINGLE, Passwords(agent="a"), AGENT_HEADER, "a", None),
    (SINGLE, Passwords(agent="a"), AGENT_HEADER, "x", WRONG_AGENT),
    (SINGLE, Passwords(agent="a"), ROOT_HEADER, "a", NEEDS_AGENT),
    (MEMBER, Passwords("r"), ROOT_HEADER, "r", None),
    (MEMBER, Passwords("r"), V1_HEADER, "r", None),
    (MEMBER, Passwords("r"), ROOT_HEADER, "x", WRONG_ROOT),
    (MEMBER, Passwords("r"), AGENT_HEADER, "r", NEEDS_ROOT),
    (MEMBER, Passwords("r", "a"), AGENT_HEADER, "a", None),
    (MEMBER, Passwords("r", "a"), AGENT_HEADER, "r", WRONG_AGENT),
    (MEMBER, Passwords("r", "a"), ROOT_HEADER, "r", NEEDS_AGENT),
    (Identity.MASTER, Passwords(), ROOT_HEADER, "", IDENTITY),
    (Identity.MASTER, Passwords("r"), ROOT_HEADER, "r", IDENTITY),
    (Identity.MASTER, Passwords("r", "a"), AGENT_HEADER, "a", None),
    (Identity.FOLLOWER, Passwords("r"), ROOT_HEADER, "r", IDENTITY),
    (Identity.FOLLOWER, Passwords("r", "a"), AGENT_HEADER, "a", None),
    (Identity.FOLLOWER, Passwords("r", "a"), AGENT_HEADER, "x", WRONG_AGENT),
    (Identity.SCALING_IN, Passwords("r"), ROOT_HEADER, "r", IDENTITY),
]


@pytest.mark.parametrize(("identity", "passwords", "header", "offered", "expected"), RULES)
async def test_who_may_set_it(
    unchanged_member, monkeypatch, identity, passwords, header, offered, expected
):
    host, cluster = unchanged_member, unchanged_member.site.cluster
    view = cluster.view.model_copy(update={"identity": identity})
    monkeypatch.setattr(cluster, "view", view)
    monkeypatch.setattr(cluster, "passwords", passwords)
    answer = await host.api.post(PATH, {"password": "new"}, sealed_with=header, password=offered)
    assert outcome(answer) == expected
    assert host.site.cluster.passwords.agent == ("new" if expected is None else passwords.agent)
    assert host.site.cluster.passwords.root == passwords.root
    assert "data" not in answer.envelope or expected is not None
    assert await is_guarded(host) is (host.site.cluster.passwords.agent is not None)


async def test_from_then_on_it_is_wanted_and_survives_a_restart(hosts):
    own = free_address()
    async with hosts.in_process(SINGLE, address=own) as host:
        assert await is_guarded(host) is False
        assert outcome(await host.api.post(PATH, {"PASSWORD": "密码"})) is None
        for header, password, expected in [
            (ROOT_HEADER, "", NEEDS_AGENT),
            (AGENT_HEADER, "", WRONG_AGENT),
            (AGENT_HEADER, "密码", None),
        ]:
            answer = await host.api.get("/ob/agents", sealed_with=header, password=password)
            assert outcome(answer) == expected
    agent = Agent(host.agent.settings, lambda *_: host.engine)
    async with _up(agent):
        with pytest.raises(OBShellHandleError) as refused:
            await asyncio.to_thread(_sdk(own).set_agent_password, "other")
        assert refused.value.err_code == NEEDS_AGENT[0]
        await asyncio.to_thread(_sdk(own, "密码").set_agent_password, "other")


async def test_over_the_local_socket_a_forgotten_one_is_replaced(start_host, start_member):
    for host in [
        await start_host(passwords=Passwords(agent="a")),
        await start_member(Identity.MASTER),
    ]:
        assert outcome(await host.local.post(PATH, {"password": "b"})) is None
        assert host.site.cluster.passwords.agent == "b"


async def test_an_agent_that_does_not_know_what_it_is_keeps_nothing(start_host):
    host = await start_host()
    view = host.site.cluster.view
    host.site.cluster.view = view.model_copy(update={"identity": Identity.UNIDENTIFIED})
    for door in (host.api, host.local):
        assert outcome(await door.post(PATH, {"password": "b"})) == IDENTITY
    assert host.site.cluster.passwords.agent is None


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "Common.BindJsonFailed"),
        ({"password": None}, "Common.BindJsonFailed"),
        ({"password": ""}, "Common.BindJsonFailed"),
        ({"password": 5}, "Common.BindJsonFailed"),
        ({"password": "s3cret" * 200}, "Common.IllegalArgument"),
    ],
)  # fmt: skip
async def test_what_cannot_be_one_is_refused(unchanged_single, body, code):
    answer = await unchanged_single.api.post(PATH, body)
    assert answer.refusal == (code, 400)
    assert "s3cret" not in answer.text
    assert await is_guarded(unchanged_single) is False


async def test_it_is_seen_nowhere(start_member):
    host = await start_member()
    assert outcome(await host.api.post(PATH, {"password": "s3cret-own"})) is None
    await host.agent._kept_copy.settled()
    for file in host.agent.paths.base_dir.rglob("*"):
        if file.is_file():
            assert b"s3cret-own" not in file.read_bytes(), file
    with sqlite3.connect(host.agent.paths.database) as database:
        ((body, who),) = database.execute("SELECT body, who FROM audit_record").fetchall()
    database.close()
    assert (json.loads(body), who) == ({"password": "***"}, "root@sys")


async def test_whoever_tries_many_has_to_wait(start_host):
    host = await start_host(passwords=Passwords(agent="a"))

    async def attempt():
        more = {"sealed_with": AGENT_HEADER, "password": "x"}
        return await host.api.post(PATH, {"password": "new"}, **more)

    for _ in range(FREE):
        assert outcome(await attempt()) == WRONG_AGENT
    late = asyncio.create_task(attempt())
    done, _ = await asyncio.wait([late], timeout=0.2)
    assert not done
    late.cancel()
    assert host.site.cluster.passwords.agent == "a"


async def test_a_token_or_a_forwarder_in_the_header_proves_nothing(start_member):
    host = await start_member()
    member = host.site.cluster.view.others[0]
    for more in (
        {"Token": "d0991236-cc39-83cf-0000-000000000000"},
        {"ForwardType": 2, "ForwardAgent": member.wire, "Token": "any"},
        {"session_id": "0" * 64},
        {"ssotoken": "any"},
    ):
        answer = await host.api.get("/ob/agents", password="x", **{"auth": "x", **more})
        assert outcome(answer) == WRONG_ROOT


async def test_tasks_of_obproxy_want_it_alone(unchanged_member, monkeypatch):
    host = unchanged_member
    task_id = str(GenericId(1, host.address, obproxy=True))
    for passwords, header, offered, expected in [
        (Passwords("r"), ROOT_HEADER, "r", ("Request.Header.NotFound", 400)),
        (Passwords("r"), AGENT_HEADER, "r", (PREFIX + "AgentPasswordNotInitialized", 401)),
        (Passwords("r", "a"), AGENT_HEADER, "r", WRONG_AGENT),
        (Passwords("r", "a"), AGENT_HEADER, "a", ("Task.NotFound", 404)),
    ]:
        monkeypatch.setattr(host.site.cluster, "passwords", passwords)
        answer = await host.api.get(f"/task/dag/{task_id}", sealed_with=header, password=offered)
        assert outcome(answer) == expected


async def test_one_that_is_given_at_the_start_is_set_before_anybody_can_ask(hosts):
    own = free_address()
    settings = hosts.settings(own)
    hosts.prepare(settings, hosts.keys[0])
    async with hosts.in_process(SINGLE, address=own) as host:
        pass
    for given in ("first", "second"):
        take_over = TakeOver(agent_password=given)
        agent = Agent(settings, lambda *_: host.engine, take_over)
        async with _up(agent), Client(own, agent_password="first") as client:
            assert (await client.info()).security
            await client.unfinished_here()


# --- as clients use it ---------------------------------------------------------------------------


class _up:  # noqa: N801 - reads like a function
    """An agent as long as it serves."""

    def __init__(self, agent):
        self._agent = agent

    async def __aenter__(self):
        ready = asyncio.Event()
        self._serving = asyncio.create_task(self._agent.serve(ready))
        await soon(ready.wait())

    async def __aexit__(self, *_):
        self._agent.stop()
        await soon(self._serving)


def _sdk(address, agent_password=None, password=""):
    auth = PasswordAuth(password, agent_password=agent_password)
    return ClientSet(address.ip, address.port, auth).v1


async def test_the_official_sdk_sets_it_and_joins_with_it(hosts):
    async with hosts.serving(2, [SINGLE, SINGLE]) as (master, second):
        leader, follower = _sdk(master.address), _sdk(second.address)
        await asyncio.to_thread(leader.set_agent_password, "the master's")
        await asyncio.to_thread(follower.set_agent_password, "the second's")
        await asyncio.to_thread(leader.set_agent_password, "the master's own")  # it uses the first
        led = await asyncio.to_thread(leader.join, *master.address, "zone1")
        await wait_end(master, led.generic_id)
        own = _sdk(master.address, "wrong")
        with pytest.raises(OBShellHandleError) as refused:
            await asyncio.to_thread(own.get_ob_info)
        assert refused.value.err_code == WRONG_AGENT[0]
        wrong = _sdk(master.address, "wrong")
        join = (second.address.ip, second.address.port, "zone2", "the second's")
        failed = await asyncio.to_thread(wrong.join, *join)
        assert (await wait_end(second, failed.generic_id))["state"] == "FAILED"
        await second.local.post(f"/task/dag/{failed.generic_id}", {"operator": "ROLLBACK"})
        assert (await wait_end(second, failed.generic_id))["state"] == "SUCCEED"
        joined = await asyncio.to_thread(leader.join, *join)
        await wait_end(second, joined.generic_id)
        info = await second.api.plain("GET", "/api/v1/info")
        assert info.data["identity"] == "FOLLOWER"


async def test_our_client_sets_it_and_uses_it(hosts):
    async with (
        hosts.serve(ClusterView(own=(own := free_address())), hosts.keys[0], Passwords()),
        Client(own) as client,
    ):
        await client.set_agent_password("a")
        await client.set_agent_password("b")
        await client.unfinished_here()
        assert (await client.info()).security
