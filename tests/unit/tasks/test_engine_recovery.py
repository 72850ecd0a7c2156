"""An agent that ends at any moment comes back and finishes, or fails so that it can be mended."""

from __future__ import annotations

import asyncio

import pytest

from pyobshell.tasks.model import Ability, NodePlan, Operator, State
from pyobshell.tasks.transitions import claim, create
from support.staging import GLOBAL_LOCK, OTHERS, OWN, acts, ended, only, plan, run_dag, until
from support.waiting import Gate, soon

pytestmark = pytest.mark.anyio
NOT_CONTINUE = ~Ability.CONTINUE & Ability.ALL


class Bodies:
    """A stage whose first run never ends, and whose later ones end at once."""

    def __init__(self, abilities: Ability = Ability.ALL) -> None:
        self.runs: list[tuple[str, bool, dict[str, object]]] = []
        self.gate = Gate()
        self.stage = acts("held", self.body, abilities=abilities, undo=self.undo)
        self.undone: list[bool] = []

    async def body(self, run):
        self.runs.append((run.agent.ip, run.continuing, run.data))
        run.log(f"run {len(self.runs)}")
        if not run.continuing:
            await self.gate.pass_through()
        run.publish(runs=[run.agent.ip])

    async def undo(self, run):
        self.undone.append(run.continuing)
        if not run.continuing:
            await self.gate.pass_through()


async def test_a_stage_that_may_continue_runs_again_under_the_same_number(
    start_engine, another_database, end
):
    held, seen = Bodies(), []

    async def later(run):
        seen.append(run.data)

    async def earlier(run):
        run.publish(earlier=True)

    stages = acts("earlier", earlier), held.stage, acts("later", later)
    first = await start_engine(*stages)
    dag_id = (await first.submit(plan(*stages, lock=GLOBAL_LOCK))).id
    await held.gate.reached()
    await end(first)
    left = await first.dag(dag_id)
    assert (left.state, left.stage, only(left, 2).state) == (State.RUNNING, 2, State.RUNNING)

    second = await start_engine(*stages, database=another_database)
    dag = await ended(second, dag_id)
    assert (dag.state, dag.operator, dag.stage) == (State.SUCCEED, Operator.RUN, 3)
    assert held.runs == [(OWN.ip, False, {"earlier": True}), (OWN.ip, True, {"earlier": True})]
    assert only(dag, 2).execute_times == 1
    assert only(dag, 2).logs == ("run 1", "run 2")
    assert seen == [{"earlier": True, "runs": [OWN.ip]}]
    assert await second.lock_holder(GLOBAL_LOCK) is None


async def test_a_stage_that_may_not_continue_fails_and_says_why(
    start_engine, another_database, end
):
    held, later = Bodies(NOT_CONTINUE), acts("later")
    first = await start_engine(held.stage, later)
    dag_id = (await first.submit(plan(held.stage, later, lock=GLOBAL_LOCK))).id
    await held.gate.reached()
    await end(first)
    second = await start_engine(held.stage, later, database=another_database)
    dag = await second.dag(dag_id)
    assert (dag.state, dag.operator, dag.stage) == (State.FAILED, Operator.RUN, 1)
    assert only(dag, 1).state is State.FAILED
    assert only(dag, 1).logs == ("run 1", "Interrupted: the agent was stopped in this stage")
    assert len(held.runs) == 1
    assert (await second.lock_holder(GLOBAL_LOCK)).id == dag_id
    held.gate.open()
    await second.operate(dag_id, Operator.RETRY)
    dag = await ended(second, dag_id)
    assert dag.state is State.SUCCEED
    assert only(dag, 1).execute_times == 2


async def test_of_a_parallel_stage_only_what_had_not_ended_continues(
    start_engine, another_database, end
):
    seen, gate = [], Gate()

    async def act(run):
        seen.append((run.agent, run.continuing))
        if run.agent != OWN and not run.continuing:
            await gate.pass_through()

    one = acts("one", act)
    first = await start_engine(one)
    dag_id = (await first.submit(plan(NodePlan(one, [OWN, *OTHERS])))).id
    await gate.reached()
    await until(first, dag_id, lambda dag: dag.nodes[0].sub_tasks[0].state is State.SUCCEED)
    await end(first)
    seen.clear()
    second = await start_engine(one, database=another_database)
    assert (await ended(second, dag_id)).state is State.SUCCEED
    assert sorted(seen) == [(agent, True) for agent in OTHERS]


async def test_a_cancel_that_was_asked_for_is_finished(start_engine, another_database, end):
    held = Bodies()

    async def hold_on(run):
        while True:
            try:
                await held.body(run)
            except asyncio.CancelledError:
                if first._stopping.is_set():
                    raise

    one = acts("one", hold_on)
    first = await start_engine(one)
    dag_id = (await first.submit(plan(one, lock=GLOBAL_LOCK))).id
    await held.gate.reached()
    await first.operate(dag_id, Operator.CANCEL)
    assert (await first.dag(dag_id)).state is State.RUNNING
    await end(first)
    second = await start_engine(one, database=another_database)
    dag = await second.dag(dag_id)
    assert (dag.state, dag.operator) == (State.FAILED, Operator.CANCEL)
    assert dag.nodes[0].operator is Operator.CANCEL
    assert only(dag, 1).logs[-1] == "Cancelled"
    assert (await second.lock_holder(GLOBAL_LOCK)).id == dag_id


@pytest.mark.parametrize("may_continue", [True, False])
async def test_a_rollback_goes_on_or_fails_like_any_other_run(
    start_engine, another_database, end, may_continue
):
    async def fails(run):
        raise ValueError

    held = Bodies(Ability.ALL if may_continue else NOT_CONTINUE)
    held.gate.open()
    two = acts("two", fails)
    first = await start_engine(held.stage, two)
    dag = await run_dag(first, held.stage, two)
    held.gate = Gate()
    await first.operate(dag.id, Operator.ROLLBACK)
    await held.gate.reached()
    await end(first)
    second = await start_engine(held.stage, two, database=another_database)
    dag = await ended(second, dag.id)
    assert dag.operator is Operator.ROLLBACK
    assert dag.stage == 1
    assert len(held.runs) == 1
    if may_continue:
        assert dag.state is State.SUCCEED
        assert held.undone == [False, True]
    else:
        assert dag.state is State.FAILED
        assert held.undone == [False]


async def test_a_dag_that_was_recorded_but_not_begun_is_begun(start_engine, database):
    seen = []

    async def act(run):
        seen.append(run.continuing)

    one = acts("one", act)
    dag_id = await database.write(lambda c: create(c, plan(one), OWN, 1))
    engine = await start_engine(one, database=database)
    assert (await ended(engine, dag_id)).state is State.SUCCEED
    assert seen == [False]


async def test_what_had_ended_is_left_as_it_is(start_engine, another_database, end):
    async def fails(run):
        raise ValueError

    one, two = acts("one"), acts("two", fails)
    first = await start_engine(one, two)
    before = [await run_dag(first, one), await run_dag(first, two, lock=GLOBAL_LOCK)]
    await end(first)
    second = await start_engine(one, two, database=another_database)
    assert await second.dags() == before


async def test_numbers_are_never_given_twice(start_engine, another_database, end):
    one = acts("one")
    first = await start_engine(one)
    dag = await run_dag(first, one)
    await end(first)
    await another_database.write(lambda c: c.exec_driver_sql("DELETE FROM dag"))
    second = await start_engine(one, database=another_database)
    assert (await run_dag(second, one)).id > dag.id


async def test_a_stop_waits_until_the_stages_have_let_go(start_engine):
    gate, let_go = Gate(), asyncio.Event()

    async def act(run):
        try:
            await gate.pass_through()
        finally:
            await asyncio.sleep(0)
            let_go.set()

    one = acts("one", act)
    engine = await start_engine(one)
    await engine.submit(plan(one))
    await gate.reached()
    await engine.stop()
    assert let_go.is_set()


async def test_whoever_waits_for_a_dag_is_told_when_the_agent_goes_down(start_engine):
    gate = Gate()
    one = acts("one", lambda run: gate.pass_through())
    engine = await start_engine(one)
    dag_id = (await engine.submit(plan(one))).id
    await gate.reached()
    waiting = asyncio.create_task(ended(engine, dag_id))
    await asyncio.sleep(0)
    await engine.stop()
    with pytest.raises(Exception, match="going down"):
        await soon(waiting)


async def test_a_stage_that_waits_for_a_signal_is_recovered_and_waits_again(
    start_engine, another_database, end
):
    gate, runs = Gate(), []

    async def act(run):
        runs.append(run.continuing)
        gate.open()
        await gate.pass_through()
        await run.signal("go")

    one = acts("one", act)
    first = await start_engine(one)
    dag_id = (await first.submit(plan(one))).id
    await gate.reached()
    await end(first)
    assert (await first.dag(dag_id)).state is State.RUNNING
    second = await start_engine(one, database=another_database)
    await second.signal(dag_id, "go")
    assert (await ended(second, dag_id)).state is State.SUCCEED
    assert runs == [False, True]


# --- claims --------------------------------------------------------------------------------------


async def test_of_many_that_claim_a_dag_exactly_one_gets_it(database, another_database):
    dag_id = await database.write(lambda c: create(c, plan(acts("one")), OWN, 1))
    claims = await asyncio.gather(
        *(one.write(lambda c: claim(c, dag_id, 2)) for one in [database, another_database] * 10)
    )
    assert sorted(map(len, claims)) == [0] * 19 + [1]


async def test_of_two_engines_on_one_file_exactly_one_runs_a_dag(start_engine, another_database):
    runs, gate = [], Gate()

    async def act(run):
        runs.append(run.dag_id)
        if runs.count(run.dag_id) == 1:
            raise ValueError
        await gate.pass_through()

    one = acts("one", act)
    engines = [await start_engine(one), await start_engine(one, database=another_database)]
    ids = [(await run_dag(engines[0], one)).id for _ in range(5)]
    asked = [(dag_id, engine) for dag_id in ids for engine in engines]
    outcomes = await asyncio.gather(
        *(engine.operate(dag_id, Operator.RETRY) for dag_id, engine in asked),
        return_exceptions=True,
    )
    winners = [one for one, outcome in zip(asked, outcomes, strict=True) if outcome is None]
    assert [dag_id for dag_id, _ in winners] == ids
    gate.open()
    for dag_id, engine in winners:
        assert (await ended(engine, dag_id)).state is State.SUCCEED
    assert sorted(runs) == sorted(ids * 2)
