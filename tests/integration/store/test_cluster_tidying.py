"""The maintainer forgets the cluster's tasks that ended long ago, on the real database."""

from __future__ import annotations

import asyncio
import time
from functools import partial

import pytest
from sqlalchemy import text

from pyobshell.operations import keeping
from pyobshell.store.database import Database
from pyobshell.tasks import lease, transitions
from pyobshell.tasks.lease import LeaseLostError
from support.scripted import S1, S2
from support.sharing import maintainer_of, others
from support.staging import GLOBAL_LOCK, OWN, plan
from support.waiting import soon

pytestmark = [pytest.mark.anyio, pytest.mark.long]

DAY = 86400 * 10**9
TABLES = ("dag", "node", "sub_task", "sub_task_log", "maintenance")


async def add(database, days, *, state="SUCCEED", lock=None, name="Some task"):
    """A task of two stages with a line each, that ended so many days ago; returns its number."""
    end = time.time_ns() - days * DAY

    def write(connection):
        made = plan(S1, S2) if lock is None else plan(S1, S2, lock=lock)
        number = transitions.create(connection, made, OWN, end)
        ended = {"id": number, "state": state, "end": end, "name": name}
        connection.execute(
            text("UPDATE dag SET state = :state, end_time = :end, name = :name WHERE id = :id"),
            ended,
        )
        if state == "SUCCEED":
            connection.execute(text("DELETE FROM maintenance WHERE dag_id = :id"), ended)
        tasks = connection.execute(text("SELECT id FROM sub_task WHERE dag_id = :id"), ended)
        for task in tasks.scalars().all():
            transitions.add_log(connection, task, 1, "a line", end)
        return number

    return await database.write(write)


@pytest.fixture
def database(line):
    database = Database.mysql(line, lease.wait_for_turn)
    yield database
    database.close()


async def test_the_maintainer_forgets_what_ended_long_ago_with_all_that_belongs_to_it(
    database, ocs, start_cluster, monkeypatch
):
    tidied = asyncio.Event()

    async def tidy(site, database, real=keeping.tidy_cluster_store):
        await real(site, database)
        tidied.set()

    monkeypatch.setattr(keeping, "tidy_cluster_store", tidy)
    for _ in range(3):
        await add(database, 31, lock=GLOBAL_LOCK)
    kept = [
        await add(database, 99, name="Cluster scale in"),
        await add(database, 31, lock=GLOBAL_LOCK),  # the newest maintenance
        await add(database, 99, state="FAILED", lock=GLOBAL_LOCK),
        await add(database, 29),
    ]
    agents = await start_cluster(2, lease_s=30, lease_renewal_s=5)  # a busy machine loses none
    maintainer = await maintainer_of(agents)
    await soon(tidied.wait())
    numbers = [dag.id for dag in await maintainer.ocs.tasks.dags()]
    # The unfinished one is the newest of its kind, the one before it may go as well.
    assert numbers == [kept[0], kept[2], kept[3]]
    counts = [ocs.rows(f"SELECT count(*) FROM {table}")[0][0] for table in TABLES]
    assert counts == [3, 6, 6, 6, 1]

    # In another agent's hands, and after the reign, the same is refused.
    await add(database, 31)
    site, epoch = maintainer.site, ocs.rows("SELECT epoch FROM maintainer")[0][0]
    (other,) = others(agents, maintainer)
    for own, at in ((other.address, epoch), (maintainer.address, epoch - 1)):
        fenced = Database.mysql(ocs.connect, partial(lease.check, own=own, epoch=at))
        with pytest.raises(LeaseLostError):
            await keeping.tidy_cluster_store(site, fenced)
        await asyncio.to_thread(fenced.close)
    assert len(await maintainer.ocs.tasks.dags()) == 4


async def test_a_record_shows_the_state_of_a_task_of_the_cluster(database, start_cluster):
    number = await add(database, 1)
    one, other = await start_cluster(2, lease_s=30, lease_renewal_s=5)
    await maintainer_of([one, other])
    for task_id in (f"1{number}", "199"):
        await one.host.local.post(f"/task/dag/{task_id}", {"operator": "PASS"})
    for asked in (one, other):
        records = (await asked.host.local.get("/audit")).data["contents"]
        assert [record["dag_state"] for record in records] == [None, "SUCCEED"]
    one.line.cut()  # then another agent is asked
    records = (await one.host.local.get("/audit")).data["contents"]
    assert [record["dag_state"] for record in records] == [None, "SUCCEED"]
