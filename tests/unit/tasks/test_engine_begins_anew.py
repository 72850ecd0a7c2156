"""RETRY of a DAG whose stages say ANEW: all begins again, and who ended is told of."""

from __future__ import annotations

import pytest

from pyobshell import errors
from pyobshell.store.database import Database
from pyobshell.tasks.engine import TaskEngine
from pyobshell.tasks.model import Ability, NodePlan, Operator, State
from pyobshell.tasks.stage import Catalogue
from support.staging import OTHERS, OWN, Flaky, acts, ended, only, plan, run_dag, waits_for
from support.waiting import Gate

pytestmark = pytest.mark.anyio
FORWARD = Ability.ALL & ~Ability.ROLLBACK
ANEW = FORWARD | Ability.ANEW


async def test_retry_begins_at_the_first_stage_and_knows_nothing_of_what_was_published(
    start_engine,
):
    known, attempts = [], []
    flaky = Flaky()
    flaky.fails = {f"do {OWN.ip}"}

    async def publish(run):
        known.append(dict(run.data))
        attempts.append(run.attempt)
        run.publish(seen=[len(known)])

    one = acts("one", publish, abilities=ANEW)
    two = acts("two", flaky.body, abilities=ANEW)
    three = acts("three", abilities=ANEW)
    engine = await start_engine(one, two, three)
    dag = await run_dag(engine, one, two, three)
    assert (dag.state, dag.stage, dag.data) == (State.FAILED, 2, {"seen": [1]})
    flaky.fails = set()
    await engine.operate(dag.id, Operator.RETRY)
    dag = await ended(engine, dag.id)
    assert (dag.state, dag.stage, dag.data) == (State.SUCCEED, 3, {"seen": [2]})
    assert known == [{}, {}]
    assert attempts == [1, 2]
    assert [str(node.operator) for node in dag.nodes] == ["RETRY", "RETRY", "RUN"]


async def test_signals_of_the_time_before_do_not_count(start_engine):
    gate, flaky = Gate(), Flaky()
    flaky.fails = {f"do {OWN.ip}"}
    one = waits_for("one", "go", gate, abilities=FORWARD)
    two = acts("two", flaky.body, abilities=ANEW)
    engine = await start_engine(one, two)
    dag_id = (await engine.submit(plan(one, two))).id
    await engine.signal(dag_id, "go")
    await ended(engine, dag_id)
    flaky.fails = set()
    await engine.operate(dag_id, Operator.RETRY)
    dag = await engine.dag(dag_id)
    assert (dag.stage, dag.signals) == (1, frozenset())
    await engine.signal(dag_id, "go")
    assert (await ended(engine, dag_id)).state is State.SUCCEED


async def test_such_a_stage_cannot_be_passed_alone(start_engine):
    flaky = Flaky()
    flaky.fails = {f"do {OWN.ip}"}
    one, two = acts("one", flaky.body, abilities=ANEW), acts("two", abilities=FORWARD)
    engine = await start_engine(one, two)
    dag = await run_dag(engine, one, two)
    with pytest.raises(errors.OBShellError) as refused:
        await engine.operate_node(dag.nodes[0].id, "PASS")
    assert refused.value.code is errors.NODE_PASS_NOT_ALLOWED
    await engine.operate(dag.id, Operator.PASS)
    assert (await engine.dag(dag.id)).state is State.SUCCEED


async def test_a_stage_of_several_agents_is_repeated_by_all_of_them(start_engine):
    flaky = Flaky()
    flaky.fails = {f"do {OTHERS[1].ip}"}
    one = acts("one", flaky.body, abilities=ANEW)
    engine = await start_engine(one)
    dag = await run_dag(engine, NodePlan(one, OTHERS))
    assert dag.state is State.FAILED
    flaky.fails = set()
    await engine.operate(dag.id, Operator.RETRY)
    dag = await ended(engine, dag.id)
    assert dag.state is State.SUCCEED
    assert {task.execute_times for task in dag.nodes[0].sub_tasks} == {2}


async def test_such_a_dag_cannot_be_rolled_back():
    with pytest.raises(ValueError, match="Task can be begun anew and rolled back"):
        plan(acts("one"), acts("two", abilities=ANEW))


# --- who is told that it has ended ---------------------------------------------------------------


@pytest.fixture
async def told(database):
    """An engine that notes the DAGs it tells to have ended, and these."""
    heads = []
    flaky = Flaky()
    one = acts("one", flaky.body)
    engine = TaskEngine(database, Catalogue([one]), OWN, object(), ended=heads.append)
    await engine.start()
    yield engine, one, flaky, heads
    await engine.stop()


async def test_every_end_is_told_once(told):
    engine, one, flaky, heads = told
    await run_dag(engine, one)
    flaky.fails = {f"do {OWN.ip}"}
    failed = await run_dag(engine, one)
    await engine.operate(failed.id, Operator.PASS)
    assert [(head.id, str(head.state)) for head in heads] == [
        (1, "SUCCEED"),
        (2, "FAILED"),
        (2, "SUCCEED"),
    ]


async def test_an_end_that_only_recovery_brings_is_told(database, another_database):
    gate, heads = Gate(), []
    one = acts("one", lambda _: gate.pass_through(), abilities=Ability.NONE)
    first = TaskEngine(database, Catalogue([one]), OWN, object())
    await first.start()
    dag_id = (await first.submit(plan(one))).id
    await gate.reached()
    await first.stop()
    second = TaskEngine(another_database, Catalogue([one]), OWN, object(), ended=heads.append)
    await second.start()
    await second.stop()
    assert [(head.id, str(head.state)) for head in heads] == [(dag_id, "FAILED")]


# --- what cannot be recorded ---------------------------------------------------------------------


class FullDisk:
    """Has the writes of a database fail as long as it is told to, and counts them."""

    def __init__(self, database: Database, monkeypatch) -> None:
        self.failures = 0
        self.full = True
        write = database.write

        async def maybe(work, **how):
            if self.full and self.failures < 3:
                self.failures += 1
                raise OSError("database or disk is full")
            return await write(work, **how)

        monkeypatch.setattr(database, "write", maybe)


async def test_the_end_of_a_stage_is_recorded_once_there_is_space_again(
    start_engine, database, monkeypatch
):
    gate = Gate()
    one = acts("one", lambda _: gate.pass_through())
    engine = await start_engine(one)
    dag_id = (await engine.submit(plan(one))).id
    await gate.reached()
    disk = FullDisk(database, monkeypatch)
    gate.open()
    dag = await ended(engine, dag_id)
    assert disk.failures == 3
    assert (dag.state, only(dag, 1).execute_times) == (State.SUCCEED, 1)


async def test_an_engine_that_ends_meanwhile_leaves_it_to_its_next_life(
    start_engine, database, another_database, monkeypatch
):
    gate = Gate()
    one = acts("one", lambda _: gate.pass_through())
    first = await start_engine(one)
    dag_id = (await first.submit(plan(one))).id
    await gate.reached()
    FullDisk(database, monkeypatch)
    gate.open()
    await first.stop()
    second = await start_engine(one, database=another_database)
    assert (await ended(second, dag_id)).state is State.SUCCEED
