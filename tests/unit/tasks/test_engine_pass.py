"""What an operator takes for done of a DAG that has failed."""

from __future__ import annotations

import pytest

from pyobshell.tasks.model import NodePlan, Operator, State
from support.staging import OTHERS, OWN, acts, ended, fails, only, plan, run_dag, states
from support.waiting import Gate

pytestmark = pytest.mark.anyio


async def test_pass_declares_the_rest_done_at_once(start_engine):
    async def fails_for_one(run):
        if run.agent == OWN:
            raise ValueError

    one, two, three = acts("one"), acts("two", fails_for_one), acts("three", fails)
    engine = await start_engine(one, two, three)
    dag = await run_dag(engine, one, NodePlan(two, [OWN, OTHERS[0]]), three)
    await engine.operate(dag.id, Operator.PASS)
    dag = await engine.dag(dag.id)
    assert (dag.state, dag.operator, dag.stage) == (State.SUCCEED, Operator.PASS, 2)
    assert states(dag) == [("SUCCEED", "RUN"), ("SUCCEED", "PASS"), ("SUCCEED", "PASS")]
    assert [(task.state, task.operator) for task in dag.nodes[1].sub_tasks] == [
        (State.SUCCEED, Operator.PASS),
        (State.SUCCEED, Operator.RUN),
    ]
    assert only(dag, 3).execute_times == 0


async def test_pass_of_a_node_goes_on_with_the_next(start_engine):
    seen = []

    async def later(run):
        seen.append(run.data)

    one, two = acts("one", fails), acts("two", later)
    engine = await start_engine(one, two)
    dag = await run_dag(engine, one, two)
    await engine.operate_node(dag.nodes[0].id, "pass")
    dag = await ended(engine, dag.id)
    assert len(seen) == 1
    assert (dag.state, dag.operator, dag.stage) == (State.SUCCEED, Operator.RUN, 2)
    assert states(dag) == [("SUCCEED", "PASS"), ("SUCCEED", "RUN")]
    assert (only(dag, 1).state, only(dag, 1).operator) == (State.SUCCEED, Operator.PASS)


async def test_pass_of_the_last_node_ends_the_dag(start_engine):
    one = acts("one", fails)
    engine = await start_engine(one)
    dag = await run_dag(engine, one)
    await engine.operate_node(dag.nodes[0].id, "PASS")
    dag = await engine.dag(dag.id)
    assert (dag.state, dag.operator) == (State.SUCCEED, Operator.RUN)


async def test_a_dag_that_was_cancelled_can_be_passed_node_by_node(start_engine):
    gate = Gate()
    one, two = acts("one", lambda run: gate.pass_through()), acts("two")
    engine = await start_engine(one, two)
    dag_id = (await engine.submit(plan(one, two))).id
    await gate.reached()
    await engine.operate(dag_id, Operator.CANCEL)
    dag = await ended(engine, dag_id)
    await engine.operate_node(dag.nodes[0].id, "PASS")
    dag = await ended(engine, dag_id)
    assert (dag.state, dag.operator) == (State.SUCCEED, Operator.RUN)
