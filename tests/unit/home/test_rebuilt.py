"""An agent whose database was made anew: what it is it knows, what it did it does not do again."""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import replace

import pytest

from pyobshell import errors
from pyobshell.agent import Agent
from pyobshell.cluster.model import Identity
from pyobshell.cluster.procedures import Caller
from pyobshell.deadline import Deadline
from pyobshell.home import kept
from pyobshell.home.examination import Orders, examine
from pyobshell.home.findings import Level
from pyobshell.operations.sub_dag import SubDag, holds, prepare
from pyobshell.security.verify import Passwords
from pyobshell.tasks.ids import GenericId
from pyobshell.tasks.model import State
from support.agents import ROOT_PASSWORD, Host, _running, a_member, a_view, free_address, transport
from support.asking import Api
from support.undertakings import FORCE_ALL, a_part, locked, stop
from support.waiting import PATIENCE_S, soon

pytestmark = pytest.mark.anyio
LIFETIME = 1_000_000_000


async def rebuild(paths):
    """Break the database and have it made anew; returns what was told."""
    os.truncate(paths.database, 8192)
    paths.database.with_name("meta.db-wal").unlink(missing_ok=True)
    findings = await examine(paths.base_dir, None, Orders(repair=True))
    assert [one for one in findings if one.check == "database" and one.repaired]
    assert [one for one in findings if one.check == "database" and one.level is not Level.OK] == []
    return findings


async def wait_success(host, task_id):
    """A task once it has succeeded, which may come after it failed."""
    while True:
        dag = (await soon(host.local.get(f"/task/dag/{task_id}?hold_ms=20000"))).data
        if dag["state"] == "SUCCEED":
            return dag


@contextlib.asynccontextmanager
async def two_members(hosts, keys):
    """The views of two members of a running cluster."""
    addresses = [free_address(), free_address()]
    members = [a_member(one, keys[n], f"zone{n + 1}") for n, one in enumerate(addresses)]
    yield [a_view(one, Identity.CLUSTER_AGENT, members) for one in addresses]


@contextlib.asynccontextmanager
async def up_again(host: Host):
    """The agent of a host in its next life, with what is in its files."""
    paths = host.agent.paths
    api = Api(transport(), host.address, trusted=False)
    local = Api(transport(paths.socket), host.address, trusted=True)
    api.password = ROOT_PASSWORD
    agent = Agent(host.agent.settings, lambda *_: host.engine)
    async with _running(agent):
        yield replace(host, agent=agent, api=api, local=local)
    await api.close()
    await local.close()


async def test_a_coordinator_made_anew_knows_its_cluster_and_lets_go_what_it_had_locked(
    hosts, keys
):
    passwords = Passwords(root=ROOT_PASSWORD)
    async with two_members(hosts, keys) as (first, second), contextlib.AsyncExitStack() as stack:
        other = await stack.enter_async_context(hosts.serve(second, keys[1], passwords))
        other.api.password = ROOT_PASSWORD
        async with hosts.serve(first, keys[0], passwords) as host:
            host.api.password = ROOT_PASSWORD
            gate = other.engine.hold("kill")
            asked = await host.api.post("/ob/stop", FORCE_ALL)
            await gate.reached()
            assert await locked([host, other]) == [True, True]
        await rebuild(host.agent.paths)
        async with up_again(host) as host:
            # It is what it was, by its old key and passwords, and has nothing left to do.
            info = await host.local.get("/info")
            assert info.data["identity"] == Identity.CLUSTER_AGENT
            assert await locked([host]) == [False]
            assert (await host.local.get(f"/task/dag/{asked.data['id']}")).status == 404
            gate.open()
            part = GenericId(1, other.address)
            assert (await wait_success(other, str(part)))["operator"] == "PASS"
            assert await locked([other]) == [False]
            # A task is begun anew, and its number was never another's.
            for one in (host, other):
                one.engine.start_afresh()
            again = await stop(host, {"type": "GLOBAL"}, force=True)
            assert again["state"] == "SUCCEED"
            assert again["dag_id"] == LIFETIME + 1
            parts = again["additional_data"]["sub_dags"]
            assert GenericId.parse(parts[str(host.address)]).number == LIFETIME + 2


async def test_a_member_made_anew_tells_its_coordinator_that_the_part_is_gone(hosts, keys):
    async with two_members(hosts, keys) as (first, _):
        async with hosts.in_process(
            Identity.CLUSTER_AGENT, first.members, address=first.own
        ) as host:
            main = str(GenericId(7, first.others[0]))
            caller = Caller(
                first.others[0], keys[1].public_text, True, Deadline.after(PATIENCE_S), print
            )
            made = await prepare.handler(host.site, caller, a_part(main))
            assert await locked([host]) == [True]
            host.agent._kept_copy.renew()
            await host.agent._kept_copy.settled()
        await rebuild(host.agent.paths)
        # `in_process` writes the membership down itself, over what was kept: the tasks matter here.
        async with hosts.in_process(
            Identity.CLUSTER_AGENT, first.members, address=first.own
        ) as host:
            assert await locked([host]) == [False]
            assert await host.site.tasks.dags() == []
            with pytest.raises(errors.OBShellError) as gone:
                await holds.handler(host.site, caller, SubDag(id=made.id))
            assert gone.value.code is errors.TASK_NOT_FOUND
            later = await prepare.handler(host.site, caller, a_part(main))
            assert GenericId.parse(later.id).number == LIFETIME + 1
            dag = await soon(host.site.tasks.dag(LIFETIME + 1))
            assert dag.state in (State.READY, State.RUNNING)


async def test_each_time_it_is_made_anew_numbers_go_further(home):
    for life in (1, 2, 3):
        await rebuild(home.paths)
        with home.database() as connection:
            numbers = dict(connection.execute("SELECT name, seq FROM sqlite_sequence").fetchall())
        assert numbers["dag"] == numbers["node"] == numbers["sub_task"] == life * LIFETIME
    kept_aside = list(home.paths.state_dir.glob("broken-*"))
    assert len(kept_aside) == 3
    assert all((aside / "meta.db").stat().st_size == 8192 for aside in kept_aside)
    shutil.rmtree(home.settings.base_dir)


async def test_a_stopped_server_is_not_started_by_what_was_kept(home):
    with home.database() as connection:
        connection.execute("INSERT INTO setting VALUES ('server_wanted', 'yes')")
    findings = await rebuild(home.paths)
    with home.database() as connection:
        row = connection.execute("SELECT value FROM setting WHERE name = 'server_wanted'")
        assert row.fetchone() == ("no",)
    assert [one for one in findings if one.check == "server" and "left so" in one.message]


async def test_what_was_kept_by_an_older_release_becomes_a_database_of_this_one(home):
    """Its rows are those of the schema of that time, and are migrated like any others."""
    old = kept.load(home.paths.kept_copy).model_copy(update={"schema_revision": "0001"})
    kept.store(home.paths.kept_copy, old)
    await rebuild(home.paths)
    with home.database() as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() != ("0001",)
        assert connection.execute("SELECT count(*) FROM member").fetchone() == (2,)
        assert connection.execute("SELECT parallel FROM node").fetchall() == []


async def test_what_was_kept_by_a_newer_release_is_left_to_that_one(home):
    newer = kept.load(home.paths.kept_copy).model_copy(update={"schema_revision": "9999"})
    kept.store(home.paths.kept_copy, newer)
    os.truncate(home.paths.database, 8192)
    before = home.content()
    findings = await examine(home.settings.base_dir, None, Orders(repair=True))
    (finding,) = [one for one in findings if one.check == "database"]
    assert finding.level is Level.PROBLEM
    assert "a newer release has made it" in finding.message
    assert home.content() == before
