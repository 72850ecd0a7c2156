"""Who asked for what, asked of one agent about all of them."""

from __future__ import annotations

import contextlib
import time
from datetime import UTC, datetime, timedelta

import pytest

from pyobshell.client import Client
from pyobshell.cluster.model import Identity
from pyobshell.security.verify import Passwords
from pyobshell.store.audit import Entry, Outcome
from pyobshell.tasks.ids import GenericId
from support.agents import ROOT_PASSWORD, a_member, a_view, free_address
from support.asking import check_envelope
from support.undertakings import a_failed_sub_dag, id_of, servers, wait_end

pytestmark = pytest.mark.anyio

HOUR = 3600 * 10**9
NOW = time.time_ns()


async def record(host, *, ago=0, who="root@sys", path="/api/v1/ob/stop", dag=None, status=200):
    """Put a request on record that came ``ago`` hours before, answered or not."""
    entry = Entry(
        moment=NOW - ago * HOUR,
        trace_id="t",
        who=who,
        uid=None,
        pid=None,
        client="10.0.0.9",
        method="POST",
        path=path,
        body="{}",
        dag_id=dag,
    )
    number = await host.site.audit.enter(entry)
    if status is not None:
        code = None if status < 400 else "Some.Code"
        outcome = Outcome(status=status, error_code=code, dag_id=None, duration_ms=1)
        host.site.audit.complete(number, outcome)
    return number


async def ask(host, query=""):
    answer = await host.local.get(f"/audit?scope=agent&{query}")
    check_envelope(answer)
    return answer


async def numbers(host, query=""):
    return [one["number"] for one in (await ask(host, query)).data["contents"]]


@pytest.fixture
async def alone(start_member):
    return await start_member(zones=["zone1"])


# --- filters -------------------------------------------------------------------------------------


async def test_the_newest_come_first_and_no_more_than_wanted(alone):
    for ago in (3, 1, 2):
        await record(alone, ago=ago)
    assert await numbers(alone) == [2, 3, 1]
    assert await numbers(alone, "limit=2") == [2, 3]


@pytest.mark.parametrize("spelled", ["90m", "90M", "5400s", " 90 m "])
async def test_since_may_be_so_long_ago(alone, spelled):
    for ago in (3, 2, 1):
        await record(alone, ago=ago)
    assert await numbers(alone, f"since={spelled}") == [3]
    assert await numbers(alone, f"until={spelled}") == [2, 1]
    assert await numbers(alone, f"since=9999999d&until={spelled}") == [2, 1]


async def test_since_may_be_a_moment_of_rfc_3339_with_any_offset(alone):
    for ago in (3, 1):
        await record(alone, ago=ago)
    between = datetime.fromtimestamp(NOW / 1e9, UTC) - timedelta(hours=2)
    there = between + timedelta(hours=8)
    for spelled in (
        f"{between:%Y-%m-%dT%H:%M:%SZ}",
        f"{between:%Y-%m-%dT%H:%M:%S.123456789Z}",
        f"{there:%Y-%m-%dT%H:%M:%S}%2B08:00",
        f"{there:%Y-%m-%dT%H:%M:%S}+08:00",
        f"{between.astimezone():%Y-%m-%d %H:%M}",
    ):
        assert await numbers(alone, f"since={spelled}") == [2]


async def test_a_record_is_found_from_the_moment_it_shows(alone):
    await record(alone)
    (shown,) = (await ask(alone)).data["contents"]
    moment = shown["time"].replace("+", "%2B")
    assert await numbers(alone, f"since={moment}") == [1]
    assert await numbers(alone, f"until={moment}") == []


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("since=soon", "Common.IllegalArgument"),
        ("until=", "Common.IllegalArgument"),
        ("since=0001-01-01", "Common.IllegalArgument"),
        ("limit=0", "Common.BindJsonFailed"),
        ("limit=1001", "Common.BindJsonFailed"),
        ("dag=217", "Task.GenericID.Invalid"),
        ("scope=world", "Common.BindJsonFailed"),
        ("failed=perhaps", "Common.BindJsonFailed"),
    ],
)
async def test_a_filter_that_makes_no_sense_is_refused(alone, query, code):
    answer = await ask(alone, query)
    assert answer.refusal == (code, 400)
    assert query.partition("=")[0 if "dag" not in query else 2] in answer.message


async def test_records_are_found_by_who_asked_for_which_route_and_task(alone):
    await record(alone, who="admin")
    await record(alone, path="/api/v1/ob/start")
    task_id = id_of(alone, 99)
    await record(alone, dag=task_id)
    assert await numbers(alone, "who=admin") == [1]
    assert await numbers(alone, "who=adm") == []
    assert await numbers(alone, "path=ob/start") == [2]
    assert await numbers(alone, "path=_b/%25") == []
    assert await numbers(alone, f"dag={task_id}") == [3]
    assert await numbers(alone, f"dag={task_id}&who=admin") == []


async def test_failed_is_what_was_refused_or_not_answered_or_whose_task_has_failed(alone):
    failed = await a_failed_sub_dag(alone)
    await record(alone, ago=5, dag=id_of(alone, failed.id))
    await record(alone, ago=4, dag=id_of(alone, 99))
    await record(alone, ago=3)
    await record(alone, ago=2, status=400)
    await record(alone, ago=1, status=None)
    shown = (await ask(alone, "failed=true")).data["contents"]
    assert [one["number"] for one in shown] == [5, 4, 1]
    assert [one["dag_state"] for one in shown] == [None, None, "FAILED"]
    assert await numbers(alone, "failed=true&limit=1") == [5]


async def test_failures_far_back_are_found_among_many_successes(alone, monkeypatch):
    monkeypatch.setattr("pyobshell.operations.audit._PAGE", 3)
    await record(alone, status=500)
    for _ in range(10):  # of the same moment, so that only their numbers tell them apart
        await record(alone, dag=id_of(alone, 99))
    await record(alone, status=400)
    assert await numbers(alone, "failed=true") == [12, 1]


async def test_who_asks_must_prove_it(alone):
    assert (await alone.api.plain("GET", "/api/v1/audit")).refusal[1] == 400
    assert (await alone.api.get("/audit", password="wrong")).refusal[1] == 401
    assert (await alone.api.get("/audit")).status == 200


# --- of all agents -------------------------------------------------------------------------------


@pytest.fixture
async def two(hosts, keys):
    """Two members of a cluster of three; the third cannot be reached."""
    addresses = [free_address() for _ in range(3)]
    members = [a_member(one, keys[n], f"zone{n}") for n, one in enumerate(addresses)]
    async with contextlib.AsyncExitStack() as stack:
        made = []
        for n, address in enumerate(addresses[:2]):
            view = a_view(address, Identity.CLUSTER_AGENT, members)
            serving = hosts.serve(view, keys[n], Passwords(root=ROOT_PASSWORD))
            made.append(await stack.enter_async_context(serving))
        for host in made:
            host.api.password = ROOT_PASSWORD
        yield *made, addresses[2]
        for host in made:
            host.agent.stop()


async def test_records_of_all_agents_are_merged_and_agents_out_of_reach_are_named(two):
    one, other, gone = two
    tasks = []
    for host in (one, other, one):
        answer = await host.api.post("/ob/stop", {"scope": servers(host), "force": True})
        await wait_end(host, answer.data["id"])
        tasks.append(answer.data["id"])
    async with Client(one.address, ROOT_PASSWORD) as client:
        trail = await client.audit()
        assert [agent.agent for agent in trail.unreachable] == [str(gone)]
        assert "cannot be reached" in trail.unreachable[0].message
        assert [found.dag for found in trail.contents] == tasks[::-1]
        agents = [str(host.address) for host in (one, other, one)]
        assert [found.agent for found in trail.contents] == agents
        assert {found.dag_state for found in trail.contents} == {"SUCCEED"}
        assert len((await client.audit(limit=2)).contents) == 2


async def test_the_task_of_another_agent_is_shown_as_it_is_there(two):
    one, other, gone = two
    asked = await other.api.post("/ob/stop", {"scope": servers(other), "force": True})
    await wait_end(other, asked.data["id"])
    for task_id in (asked.data["id"], str(GenericId(1, gone)), str(GenericId(1, free_address()))):
        await one.api.post(f"/task/dag/{task_id}", {"operator": "PASS"})
    async with Client(one.address, ROOT_PASSWORD) as client:
        trail = await client.audit(only_this_agent=True)
    assert trail.unreachable == []
    assert [found.dag_state for found in trail.contents] == [None, None, "SUCCEED"]
    assert trail.contents[2].dag == asked.data["id"]
