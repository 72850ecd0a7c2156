"""What is on record: every change that was asked for by somebody who may, before it is done."""

from __future__ import annotations

import asyncio
import os
import pwd
import sqlite3

import pytest

from pyobshell.cluster.model import Identity
from pyobshell.operations import emergency
from pyobshell.security.verify import Passwords
from support.agents import ROOT_PASSWORD
from support.asking import AGENT_HEADER, check_envelope
from support.undertakings import FORCE_ALL, id_of, wait_end
from support.waiting import Gate

pytestmark = pytest.mark.anyio

MASTER, FOLLOWER, SINGLE = Identity.MASTER, Identity.FOLLOWER, Identity.SINGLE
OPTIONS = {"observerConfig": {"mysql_port": "3881"}, "scope": {"type": "GLOBAL"}}
SECRET = "s3cr3t-of-somebody"


async def trail(host, query=""):
    answer = await host.local.get(f"/audit?scope=agent{query}")
    check_envelope(answer)
    assert answer.data["unreachable"] == []
    return answer.data["contents"]


async def only(host):
    (record,) = await trail(host)
    return record


@pytest.fixture
async def alone(start_member):
    """The one member of a cluster."""
    return await start_member(zones=["zone1"])


# --- what a record tells -------------------------------------------------------------------------


async def test_a_stop_is_on_record_with_its_task_and_what_became_of_it(alone):
    asked = await alone.api.post(
        "/ob/stop?x=1", FORCE_ALL, headers={"X-OBSHELL-Trace-ID": "a trace"}
    )
    await wait_end(alone, asked.data["id"])
    record = await only(alone)
    assert record.pop("duration") >= 0
    assert record.pop("time") <= asked.envelope["timestamp"]
    assert record == {
        "number": 1,
        "trace_id": "a trace",
        "who": "root@sys",
        "uid": None,
        "pid": None,
        "client": "127.0.0.1",
        "agent": str(alone.address),
        "method": "POST",
        "path": "/api/v1/ob/stop?x=1",
        "body": FORCE_ALL,
        "status": 200,
        "errCode": None,
        "dag": asked.data["id"],
        "dag_state": "SUCCEED",
    }


async def test_over_the_local_socket_the_kernel_tells_who_asks(hosts):
    async with hosts.serving(1, [SINGLE]) as (host,):
        await host.local.post("/ob/stop", FORCE_ALL)
        record = await only(host)
        assert (record["client"], record["uid"]) == ("local", os.getuid())
        assert (record["who"], record["pid"]) == (pwd.getpwuid(os.getuid()).pw_name, os.getpid())
        await host.api.post("/ob/stop", FORCE_ALL)
        over_network = (await trail(host))[0]
        assert (over_network["client"], over_network["pid"]) == ("127.0.0.1", None)


@pytest.mark.parametrize(
    ("identity", "passwords", "asking", "who"),
    [
        (SINGLE, Passwords(), {"password": "any"}, "anybody"),
        (SINGLE, Passwords(root="of a cluster it has left"), {}, "anybody"),
        (MASTER, Passwords(), {}, "anybody"),
        (MASTER, Passwords(root="root"), {"password": "root"}, "root@sys"),
        (
            SINGLE,
            Passwords(agent="agent"),
            {"password": "agent", "sealed_with": AGENT_HEADER},
            "agent password",
        ),
    ],
)
async def test_who_asks_is_whose_password_it_is(start_member, identity, passwords, asking, who):
    host = await start_member(identity, ["zone1"], passwords=passwords)
    await host.api.post("/ob/stop", FORCE_ALL, **asking)
    assert (await only(host))["who"] == who


async def test_a_refusal_is_on_record_with_its_code(alone):
    answer = await alone.api.post("/ob/stop", {"scope": {"type": "GLOBAL"}})
    record = await only(alone)
    assert (record["errCode"], record["status"]) == answer.refusal
    assert record["dag"] is None


async def test_a_body_that_does_not_fit_is_on_record(alone):
    await alone.api.post("/ob/stop", {"scope": 7})
    record = await only(alone)
    assert (record["status"], record["body"]) == (400, {"scope": 7})


async def test_an_operator_is_on_record_with_the_task_it_is_for(alone):
    task_id = id_of(alone, 77)
    await alone.api.post(f"/task/dag/{task_id}", {"operator": "RETRY"})
    await alone.api.post("/task/dag/nonsense", {"operator": "RETRY"})
    records = await trail(alone)
    assert [record["dag"] for record in records] == [None, task_id]
    assert [record["dag_state"] for record in records] == [None, None]


async def test_every_way_to_change_something_is_on_record(alone):
    for method, path in (
        ("PATCH", "/obcluster/parameters"),
        ("PUT", "/observer/config"),
        ("DELETE", "/zone/zone1"),
        ("POST", "/agent/join"),
    ):
        await alone.api.ask(method, path, {})
        record = (await trail(alone))[0]
        assert (record["method"], record["path"]) == (method, "/api/v1" + path)


async def test_what_crashes_is_on_record_as_answered(alone, monkeypatch):
    async def crash(*_):
        raise KeyError("unforeseen")

    monkeypatch.setattr(emergency, "stop_cluster", crash)
    with pytest.raises(KeyError):
        await alone.api.post("/ob/stop", FORCE_ALL)
    record = await only(alone)
    assert (record["status"], record["errCode"]) == (500, "Common.Unexpected")


# --- what is not on record -----------------------------------------------------------------------


async def test_what_changes_nothing_is_not_on_record(alone):
    await alone.api.get("/ob/agents")
    await alone.api.post("/ob/stop", {**FORCE_ALL, "dryRun": True})
    await alone.api.post("/ob/stop", {**FORCE_ALL, "DRYRUN": True})
    await alone.api.post("/ob/zone/zone1/stop/check", {})
    await alone.api.plain("POST", "/api/v1/status")
    await alone.api.post("/no/such/route", {})
    assert await trail(alone) == []


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/ob/start", b'{"scope": {"type": "GLOBAL"}, "dryRun": true}'),
        ("/ob/stop", b'{"scope": {"type": "NONE"}, "dryRun": true, "DRYRUN": false}'),
        ("/ob/stop", b'{"scope": {"type": "NONE"}, "dryRun": "yes"}'),
    ],
)
async def test_nobody_hides_a_change_by_calling_it_a_preview(alone, path, body):
    await alone.api.post(path, body)
    assert len(await trail(alone)) == 1


async def test_who_may_not_ask_leaves_no_record(alone):
    await alone.api.post("/ob/stop", FORCE_ALL, password="wrong")
    await alone.api.post("/ob/stop", FORCE_ALL, ts="1")
    await alone.api.plain("POST", "/api/v1/ob/stop", b"{}")
    assert await trail(alone) == []


# --- nothing is done that is not on record -------------------------------------------------------


async def test_a_request_is_on_record_before_it_is_carried_out_and_stays_if_that_never_ends(
    alone, monkeypatch
):
    gate = Gate()

    async def stop_cluster(*_):
        await gate.pass_through()

    monkeypatch.setattr(emergency, "stop_cluster", stop_cluster)
    asking = asyncio.create_task(alone.api.post("/ob/stop", FORCE_ALL))
    await gate.reached()
    with sqlite3.connect(alone.site.settings.paths.database) as other:
        assert other.execute("SELECT path, status FROM audit_record").fetchall() == [
            ("/api/v1/ob/stop", None)
        ]
    other.close()
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    (record,) = await trail(alone, "&failed=true")
    assert (record["status"], record["errCode"], record["duration"]) == (None, None, None)


async def test_what_cannot_be_recorded_is_refused_and_nothing_is_done(alone):
    with sqlite3.connect(alone.site.settings.paths.database) as other:
        other.execute("ALTER TABLE audit_record RENAME TO lost")
    other.close()
    for door in (alone.api, alone.local):
        answer = await door.post("/ob/stop", FORCE_ALL)
        check_envelope(answer)
        assert answer.refusal == ("Agent.Audit.NotRecorded", 500)
        assert "no such table" in answer.message
        assert "INSERT" not in answer.message
    assert await alone.site.tasks.dags() == []
    assert alone.engine.deeds == []
    assert (await alone.api.get("/ob/agents")).status == 200


# --- secrets -------------------------------------------------------------------------------------


async def test_no_secret_of_a_request_is_written_to_disk(start_member):
    host = await start_member(MASTER, ["zone1"], passwords=Passwords(root=ROOT_PASSWORD))
    for path, body in (
        ("/ob/init?password=" + SECRET, {"PROXYRO_password": SECRET}),
        ("/agent/join", {"masterPassword": SECRET, "zoneName": "z", "agentInfo": {}}),
        ("/ob/scale_out", {"targetAgentPassword": SECRET, "obConfigs": {"x_password": SECRET}}),
        ("/ob/start", [SECRET]),
    ):
        await host.local.post(path, body)
    await host.local.ask(
        "PATCH",
        "/obcluster/parameters",
        {"params": [{"name": "some_password", "value": SECRET, "scope": "CLUSTER"}]},
    )
    assert len(await trail(host)) == 5
    database = host.site.settings.paths.database
    for file in database.parent.glob(database.name + "*"):
        assert SECRET.encode() not in file.read_bytes()


# --- requests that are handed on -----------------------------------------------------------------


@pytest.fixture(scope="module")
async def agents(anyio_backend, hosts):
    """A master whose cluster has a password, and its follower."""
    passwords = Passwords(root=ROOT_PASSWORD)
    async with hosts.serving(2, [MASTER, FOLLOWER], passwords) as made:
        for host in made:
            host.api.password = ROOT_PASSWORD
        yield made


async def test_what_a_follower_hands_on_is_on_record_where_the_client_asked_and_only_there(agents):
    master, follower = agents
    before = [await trail(host) for host in agents]
    asked = []
    for door in (follower.api, follower.local):
        asked.append((await door.post("/observer/config", OPTIONS)).data["id"])
        await wait_end(master, asked[-1])
    assert await trail(master) == before[0]
    local, remote = (await trail(follower))[:2]
    assert [remote["dag"], local["dag"]] == asked
    assert (remote["dag_state"], local["dag_state"]) == ("SUCCEED", "SUCCEED")
    assert (remote["who"], remote["client"]) == ("root@sys", "127.0.0.1")
    assert (local["client"], local["pid"]) == ("local", os.getpid())


async def test_a_password_that_the_master_does_not_take_leaves_no_record(agents):
    before = [await trail(host) for host in agents]
    answer = await agents[1].api.post("/observer/config", OPTIONS, password="wrong")
    assert answer.refusal == ("Security.Authentication.IncorrectOceanbasePassword", 401)
    assert [await trail(host) for host in agents] == before
