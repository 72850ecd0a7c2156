"""An engine on a store that is not its agent's: ids, others' DAGs, execution, losses."""

from __future__ import annotations

import asyncio
import time

import pytest

from pyobshell import errors
from pyobshell.address import Address
from pyobshell.store.database import Database, InDoubtError
from pyobshell.tasks import transitions
from pyobshell.tasks.engine import TaskEngine
from pyobshell.tasks.model import NodePlan, Operator, State
from pyobshell.tasks.stage import Catalogue
from support.staging import OTHERS, OWN, acts, ended, fails, only, plan, run_dag
from support.waiting import Gate, soon

pytestmark = pytest.mark.anyio


@pytest.fixture
async def start_shared(anyio_backend, database):
    engines = []

    async def start(*stages, **more) -> TaskEngine:
        engine = TaskEngine(database, Catalogue(stages), OWN, object(), shared=True, **more)
        engines.append(engine)
        await engine.start()
        return engine

    yield start
    for engine in engines:
        await engine.stop()


async def test_ids_are_those_of_the_clusters_store(start_shared):
    ids = []

    async def act(run):
        ids.append(run.generic_id)

    stage = acts("s", act)
    dag = await run_dag(await start_shared(stage), stage)
    assert ids == [f"1{dag.id}"]


async def test_dags_that_others_have_recorded_are_taken_up(start_shared, database: Database):
    stage = acts("s")
    engine = await start_shared(stage)
    dag_id = await database.write(
        lambda c: transitions.create(c, plan(stage), OTHERS[0], time.time_ns())
    )
    await engine.take_up()
    assert (await ended(engine, dag_id)).state is State.SUCCEED


async def test_a_claim_says_whether_its_agent_was_named(start_shared):
    claims = []

    async def execute(stage, claim, run):
        claims.append((claim.stage_key, claim.agent, claim.parallel))

    serial, parallel = acts("serial"), acts("parallel")
    engine = await start_shared(serial, parallel, execute=execute)
    dag = await run_dag(engine, serial, NodePlan(parallel, [OTHERS[0]]))
    assert dag.state is State.SUCCEED
    assert claims == [("serial", OWN, False), ("parallel", OTHERS[0], True)]


async def test_the_agent_that_executes_is_recorded(start_shared, database: Database):
    stage = acts("s")
    dag = await run_dag(await start_shared(stage), stage)
    task = only(dag, 1)
    elsewhere = Address("10.0.0.9", 2886)
    await database.write(lambda c: transitions.set_agent(c, task.id, elsewhere))
    engine = await start_shared(stage)
    assert only(await engine.dag(dag.id), 1).agent == elsewhere


@pytest.mark.parametrize("asked", ["operate", "operate_node", "signal"])
async def test_what_may_have_been_done_is_left_to_a_recovery(
    start_shared, database: Database, monkeypatch, asked
):
    told = asyncio.Queue()
    stage = acts("s", fails)
    engine = await start_shared(stage, failed=told.put_nowait)
    dag = await run_dag(engine, stage)
    write = database.write

    async def lose_the_answer(work):
        await write(work)
        raise InDoubtError(errors.SERVER_UNAVAILABLE(reason="lost"))

    monkeypatch.setattr(database, "write", lose_the_answer)
    ask = {
        "operate": lambda: engine.operate(dag.id, Operator.RETRY),
        "operate_node": lambda: engine.operate_node(dag.nodes[0].id, "PASS"),
        "signal": lambda: engine.signal(dag.id, "go"),
    }
    with pytest.raises(InDoubtError):
        await ask[asked]()
    assert (await soon(told.get())).code is errors.OUTCOME_UNKNOWN


async def test_an_end_that_cannot_be_recorded_is_told(start_shared, database: Database):
    gate, told = Gate(), asyncio.Queue()
    stage = acts("s", lambda run: gate.pass_through())
    engine = await start_shared(stage, failed=told.put_nowait)
    dag = await engine.submit(plan(stage))
    await gate.reached()
    await database.write(lambda c: c.exec_driver_sql("ALTER TABLE dag RENAME TO lost") and None)
    gate.open()
    assert "no such table: dag" in str(await soon(told.get()))
    await database.write(lambda c: c.exec_driver_sql("ALTER TABLE lost RENAME TO dag") and None)
    assert (await engine.dag(dag.id)).state is State.RUNNING


async def test_a_dag_is_held_until_it_moves_on_or_the_time_is_over(start_shared):
    gate = Gate()
    first, second = acts("first"), acts("second", lambda run: gate.pass_through())
    engine = await start_shared(first, second)
    dag = await engine.submit(plan(first, second))
    await soon(engine.hold(dag.id, 20, seen_stage=1))
    assert (await engine.dag(dag.id)).stage == 2
    await soon(engine.hold(dag.id, 0.01))
    holding = asyncio.create_task(engine.hold(dag.id, 20, seen_stage=2))
    await gate.reached()
    gate.open()
    await soon(holding)
    assert (await engine.dag(dag.id)).state is State.SUCCEED
