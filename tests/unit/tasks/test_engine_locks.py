"""A maintenance lock is taken with the DAG it belongs to, and never outlives it."""

from __future__ import annotations

import asyncio

import pytest

from pyobshell.tasks.locks import MaintenanceConflictError
from pyobshell.tasks.model import Maintenance, MaintenanceType, Operator, State
from support.staging import GLOBAL_LOCK, acts, ended, plan, run_dag
from support.waiting import Gate

pytestmark = pytest.mark.anyio
ONE = Maintenance(MaintenanceType.TENANT, "one")
TWO = Maintenance(MaintenanceType.TENANT, "two")
NONE = Maintenance()


async def fails(run):
    raise ValueError


async def test_a_dag_holds_its_lock_from_its_creation_until_it_succeeds(start_engine):
    gate = Gate()
    one = acts("one", lambda run: gate.pass_through())
    engine = await start_engine(one)
    dag = await engine.submit(plan(one, lock=GLOBAL_LOCK))
    assert dag.maintenance == GLOBAL_LOCK
    assert (await engine.lock_holder(GLOBAL_LOCK)).id == dag.id
    gate.open()
    await ended(engine, dag.id)
    assert await engine.lock_holder(GLOBAL_LOCK) is None


@pytest.mark.parametrize("how", ["it fails", "it is cancelled", "it is cancelled early"])
async def test_a_dag_that_ends_badly_keeps_its_lock_until_it_is_passed(start_engine, how):
    gate = Gate()
    one = acts("one", fails if how == "it fails" else lambda run: gate.pass_through())
    engine = await start_engine(one)
    dag = await engine.submit(plan(one, lock=GLOBAL_LOCK))
    if how != "it fails":
        if how == "it is cancelled":
            await gate.reached()
        await engine.operate(dag.id, Operator.CANCEL)
    dag = await ended(engine, dag.id)
    assert dag.state is State.FAILED
    assert (await engine.lock_holder(GLOBAL_LOCK)).id == dag.id
    await engine.operate(dag.id, Operator.PASS)
    assert await engine.lock_holder(GLOBAL_LOCK) is None


@pytest.mark.parametrize("how", ["ROLLBACK", "RETRY", "node PASS"])
async def test_a_failed_dag_that_succeeds_after_all_lets_go_of_its_lock(start_engine, how):
    runs = []

    async def fails_once(run):
        runs.append(run)
        if len(runs) == 1:
            raise ValueError

    one = acts("one", fails_once)
    engine = await start_engine(one)
    dag = await run_dag(engine, one, lock=GLOBAL_LOCK)
    if how == "node PASS":
        await engine.operate_node(dag.nodes[0].id, "PASS")
    else:
        await engine.operate(dag.id, Operator(how))
    assert (await ended(engine, dag.id)).state is State.SUCCEED
    assert await engine.lock_holder(GLOBAL_LOCK) is None


@pytest.mark.parametrize("held", [GLOBAL_LOCK, ONE])
@pytest.mark.parametrize("wanted", [GLOBAL_LOCK, ONE, TWO, NONE])
async def test_a_lock_that_is_held_keeps_out_what_conflicts_and_nothing_else(
    start_engine, held, wanted
):
    gate = Gate()
    one = acts("one", lambda run: gate.pass_through())
    engine = await start_engine(one)
    holder = await engine.submit(plan(one, lock=held))
    before = await engine.dags()
    if wanted is NONE or (held, wanted) == (ONE, TWO):
        assert (await engine.submit(plan(one, lock=wanted))).maintenance == wanted
    else:
        with pytest.raises(MaintenanceConflictError) as caught:
            await engine.submit(plan(one, lock=wanted))
        assert caught.value.dag_id == holder.id
        assert (await engine.lock_holder(wanted)).id == holder.id
        assert [dag.id for dag in await engine.dags()] == [dag.id for dag in before]
    gate.open()


async def test_a_conflict_records_no_part_of_a_dag(start_engine, database):
    gate = Gate()
    one = acts("one", lambda run: gate.pass_through())
    engine = await start_engine(one)
    await engine.submit(plan(one, lock=GLOBAL_LOCK))

    def rows(connection):
        tables = ("dag", "node", "sub_task", "maintenance")
        query = "SELECT (SELECT count(*) FROM {})"
        return [connection.exec_driver_sql(query.format(t)).scalar() for t in tables]

    before = await database.read(rows)
    with pytest.raises(MaintenanceConflictError):
        await engine.submit(plan(one, one, lock=ONE))
    assert await database.read(rows) == before == [1, 1, 1, 1]
    gate.open()


async def test_of_many_dags_that_want_a_lock_at_once_exactly_one_gets_it(start_engine):
    gate = Gate()
    one = acts("one", lambda run: gate.pass_through())
    engine = await start_engine(one)
    outcomes = await asyncio.gather(
        *(engine.submit(plan(one, lock=GLOBAL_LOCK)) for _ in range(20)), return_exceptions=True
    )
    made = [one for one in outcomes if not isinstance(one, Exception)]
    assert len(made) == 1
    refused = [one for one in outcomes if isinstance(one, MaintenanceConflictError)]
    assert [one.dag_id for one in refused] == [made[0].id] * 19
    assert len(await engine.dags()) == 1
    gate.open()


async def test_the_failed_that_hold_a_lock_are_unfinished_and_the_other_failed_are_not(
    start_engine,
):
    gate = Gate()
    good, bad = acts("good"), acts("bad", fails)
    held = acts("held", lambda run: gate.pass_through())
    engine = await start_engine(good, bad, held)
    done = await run_dag(engine, good, lock=ONE)
    failed = await run_dag(engine, bad)
    failed_with_lock = await run_dag(engine, bad, lock=TWO)
    running = await engine.submit(plan(held))
    assert [dag.id for dag in await engine.dags(unfinished=True)] == [
        failed_with_lock.id,
        running.id,
    ]
    assert [dag.id for dag in await engine.dags()] == [
        done.id,
        failed.id,
        failed_with_lock.id,
        running.id,
    ]
    assert [dag.finished for dag in await engine.dags()] == [True, True, False, False]
    assert (await engine.newest_maintenance_dag()).id == failed_with_lock.id
    gate.open()
