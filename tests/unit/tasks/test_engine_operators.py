"""What an operator makes of a DAG that runs, or has failed."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from pyobshell.tasks.model import NodePlan, Operator, State
from support.staging import (
    OTHERS,
    OWN,
    Flaky,
    acts,
    ended,
    fails,
    keep_busy,
    only,
    plan,
    run_dag,
    states,
    turns,
    until,
)
from support.waiting import Gate

pytestmark = pytest.mark.anyio


# --- CANCEL --------------------------------------------------------------------------------------


async def test_cancel_ends_what_runs_and_says_so(start_engine):
    gate = Gate()
    cleaned_up = asyncio.Event()

    async def act(run):
        try:
            await gate.pass_through()
        finally:
            cleaned_up.set()

    one, two, three = acts("one"), acts("two", act), acts("three")
    engine = await start_engine(one, two, three)
    dag_id = (await engine.submit(plan(one, two, three))).id
    await gate.reached()
    await engine.operate(dag_id, Operator.CANCEL)
    dag = await ended(engine, dag_id)
    assert cleaned_up.is_set()
    assert (dag.state, dag.operator, dag.stage) == (State.FAILED, Operator.CANCEL, 2)
    assert states(dag) == [("SUCCEED", "RUN"), ("FAILED", "CANCEL"), ("PENDING", "RUN")]
    assert (only(dag, 2).state, only(dag, 2).operator) == (State.FAILED, Operator.CANCEL)
    assert only(dag, 2).logs == ("Cancelled by an operator",)


async def test_cancel_that_is_repeated_does_not_cut_short_what_is_cleaned_up(start_engine):
    gate, cleaning, cleaned_up = Gate(), Gate(), []

    async def act(run):
        try:
            await gate.pass_through()
        finally:
            await cleaning.pass_through()
            cleaned_up.append(run.agent)

    one = acts("one", act)
    engine = await start_engine(one)
    dag_id = (await engine.submit(plan(one))).id
    await gate.reached()
    await engine.operate(dag_id, Operator.CANCEL)
    await cleaning.reached()
    await engine.operate(dag_id, Operator.CANCEL)
    cleaning.open()
    dag = await ended(engine, dag_id)
    assert cleaned_up == [OWN]
    assert states(dag) == [("FAILED", "CANCEL")]


async def test_cancel_leaves_alone_what_of_a_parallel_stage_has_succeeded(start_engine):
    gate = Gate()

    async def act(run):
        if run.agent != OWN:
            await gate.pass_through()

    one = acts("one", act)
    engine = await start_engine(one)
    dag_id = (await engine.submit(plan(NodePlan(one, [OWN, *OTHERS])))).id
    await gate.reached()
    await until(engine, dag_id, lambda dag: dag.nodes[0].sub_tasks[0].state is State.SUCCEED)
    await engine.operate(dag_id, Operator.CANCEL)
    dag = await ended(engine, dag_id)
    assert [(task.state, task.operator) for task in dag.nodes[0].sub_tasks] == [
        (State.SUCCEED, Operator.RUN),
        (State.FAILED, Operator.CANCEL),
        (State.FAILED, Operator.CANCEL),
    ]


@pytest.mark.parametrize("number", range(12))
async def test_a_dag_can_be_cancelled_at_any_moment_after_it_is_recorded(start_engine, number):
    never = asyncio.Event()
    one = acts("one", lambda run: never.wait())
    engine = await start_engine(one)
    dag_id = (await engine.submit(plan(one))).id
    await turns(number)  # so that each begins at another point
    await engine.operate(dag_id, Operator.CANCEL)
    dag = await ended(engine, dag_id)
    assert states(dag) == [("FAILED", "CANCEL")]
    assert len(only(dag, 1).logs) == 1
    await engine.operate(dag_id, Operator.PASS)


async def test_a_stage_that_begins_as_the_dag_is_cancelled_ends_too(start_engine, database):
    """Stage one ends, and CANCEL comes, within one group of transactions."""
    gate, never = Gate(), asyncio.Event()
    one, two = acts("one", lambda run: gate.pass_through()), acts("two", lambda run: never.wait())
    engine = await start_engine(one, two)
    dag_id = (await engine.submit(plan(one, two))).id
    await gate.reached()
    written = await keep_busy(database)
    gate.open()
    await turns(5)
    cancelling = asyncio.create_task(engine.operate(dag_id, Operator.CANCEL))
    await turns(5)
    written.set()
    await cancelling
    dag = await ended(engine, dag_id)
    assert (dag.state, dag.operator) == (State.FAILED, Operator.CANCEL)
    assert dag.current.state is State.FAILED
    assert dag.current.sub_tasks[0].logs


async def test_a_stage_that_ends_well_in_spite_of_cancel_counts_as_cancelled(start_engine):
    gate = Gate()
    runs = []

    async def act(run):
        runs.append(run.agent)
        if len(runs) == 1:
            try:
                await gate.pass_through()
            except asyncio.CancelledError:
                run.publish(known=True)

    one = acts("one", act)
    engine = await start_engine(one)
    dag_id = (await engine.submit(plan(one))).id
    await gate.reached()
    await engine.operate(dag_id, Operator.CANCEL)
    dag = await ended(engine, dag_id)
    assert states(dag) == [("FAILED", "CANCEL")]
    assert only(dag, 1).state is State.FAILED
    assert only(dag, 1).logs
    assert dag.data == {"known": True}
    await engine.operate(dag_id, Operator.RETRY)
    assert (await ended(engine, dag_id)).state is State.SUCCEED
    assert len(runs) == 2


# --- RETRY ---------------------------------------------------------------------------------------


async def test_retry_undoes_and_runs_again_only_what_failed(start_engine):
    flaky, seen = Flaky(), []

    async def later(run):
        seen.append(run.agent)

    one = acts("one", flaky.body, undo=flaky.undo)
    two = acts("two", later)
    engine = await start_engine(one, two)
    flaky.fails = {f"do {OTHERS[0].ip}"}
    dag = await run_dag(engine, NodePlan(one, [OWN, *OTHERS]), two)
    assert dag.state is State.FAILED
    flaky.seen.clear()
    flaky.fails.clear()
    await engine.operate(dag.id, Operator.RETRY)
    dag = await ended(engine, dag.id)
    assert flaky.seen == [f"undo {OTHERS[0].ip}", f"do {OTHERS[0].ip}"]
    assert seen == [OWN]
    assert (dag.state, dag.operator, dag.stage) == (State.SUCCEED, Operator.RUN, 2)
    assert states(dag) == [("SUCCEED", "RETRY"), ("SUCCEED", "RUN")]
    assert [task.execute_times for task in dag.nodes[0].sub_tasks] == [1, 2, 1]
    assert [task.operator for task in dag.nodes[0].sub_tasks] == [
        Operator.RUN,
        Operator.RETRY,
        Operator.RUN,
    ]


async def test_retry_has_left_failed_behind_when_it_returns(start_engine, database):
    gate = Gate()
    runs = []

    async def act(run):
        runs.append(run)
        if len(runs) == 1:
            raise ValueError
        await gate.pass_through()

    one = acts("one", act)
    engine = await start_engine(one)
    dag = await run_dag(engine, one)
    await engine.operate(dag.id, Operator.RETRY)
    written = await keep_busy(database)  # whatever comes later must wait
    assert (await engine.dag(dag.id)).state is not State.FAILED
    written.set()
    gate.open()
    dag = await ended(engine, dag.id)
    assert dag.state is State.SUCCEED
    assert only(dag, 1).logs == ("ERROR: [Common.Unexpected]: Unexpected error: ValueError",)


async def test_a_retry_that_fails_again_can_be_retried_again(start_engine):
    flaky = Flaky()
    one = acts("one", flaky.body, undo=flaky.undo)
    engine = await start_engine(one)
    flaky.fails = {f"do {OWN.ip}"}
    dag = await run_dag(engine, one)
    for times in (2, 3):
        await engine.operate(dag.id, Operator.RETRY)
        dag = await ended(engine, dag.id)
        assert (dag.state, only(dag, 1).execute_times) == (State.FAILED, times)
        assert len(only(dag, 1).logs) == times
    flaky.fails = {f"undo {OWN.ip}"}
    flaky.seen.clear()
    await engine.operate(dag.id, Operator.RETRY)
    assert (await ended(engine, dag.id)).state is State.FAILED
    assert flaky.seen == [f"undo {OWN.ip}"]


# --- ROLLBACK ------------------------------------------------------------------------------------


async def test_rollback_undoes_stage_by_stage_down_to_the_first(start_engine):
    seen = []

    def noted(name):
        async def undo(run):
            seen.append(f"undo {name} {run.agent.ip}")

        async def body(run):
            seen.append(name)
            if name == "three":
                raise ValueError

        return acts(name, body, undo=undo)

    stages = [noted(name) for name in ("one", "two", "three", "four")]
    plain = acts("has no undoing")
    engine = await start_engine(*stages, plain)
    one, two, three, four = stages
    nodes = [one, plain, NodePlan(two, [OWN, OTHERS[0]]), three, four]
    dag = await run_dag(engine, *nodes)
    assert (dag.state, dag.stage) == (State.FAILED, 4)
    seen.clear()
    await engine.operate(dag.id, Operator.ROLLBACK)
    dag = await ended(engine, dag.id)
    ip, other = OWN.ip, OTHERS[0].ip
    assert [seen[0], *sorted(seen[1:3]), seen[3]] == [
        f"undo three {ip}",
        f"undo two {ip}",
        f"undo two {other}",
        f"undo one {ip}",
    ]
    assert len(seen) == 4
    assert (dag.state, dag.operator, dag.stage) == (State.SUCCEED, Operator.ROLLBACK, 1)
    assert states(dag) == [("SUCCEED", "ROLLBACK")] * 4 + [("PENDING", "RUN")]


async def test_a_rollback_that_fails_stops_where_it_is_and_can_be_tried_again(start_engine):
    low, high = Flaky(), Flaky()
    one = acts("one", low.body, undo=low.undo)
    two = acts("two", high.body, undo=high.undo)
    three = acts("three", fails)
    engine = await start_engine(one, two, three)
    dag = await run_dag(engine, one, two, three)
    high.fails = {f"undo {OWN.ip}"}
    await engine.operate(dag.id, Operator.ROLLBACK)
    dag = await ended(engine, dag.id)
    assert (dag.state, dag.operator, dag.stage) == (State.FAILED, Operator.ROLLBACK, 2)
    high.fails.clear()
    await engine.operate(dag.id, Operator.ROLLBACK)
    dag = await ended(engine, dag.id)
    assert (dag.state, dag.operator, dag.stage) == (State.SUCCEED, Operator.ROLLBACK, 1)
    assert low.seen == [f"do {OWN.ip}", f"undo {OWN.ip}"]


@pytest.mark.parametrize("goes_on_by", ["RETRY", "node PASS"])
async def test_after_a_failed_rollback_what_was_undone_is_done_again(start_engine, goes_on_by):
    low, high = Flaky(), Flaky()
    third_time = []

    async def fails_once(run):
        third_time.append(run)
        if len(third_time) == 1:
            raise ValueError

    one = acts("one", low.body, undo=low.undo)
    two = acts("two", high.body, undo=high.undo)
    three = acts("three", fails_once)
    engine = await start_engine(one, two, three)
    agents = [OWN, OTHERS[0]]
    dag = await run_dag(engine, NodePlan(one, agents), NodePlan(two, agents), three)
    low.fails = {f"undo {OWN.ip}"}
    await engine.operate(dag.id, Operator.ROLLBACK)
    dag = await ended(engine, dag.id)
    assert (dag.state, dag.stage) == (State.FAILED, 1)
    low.fails.clear()
    low.seen.clear()
    high.seen.clear()
    if goes_on_by == "RETRY":
        await engine.operate(dag.id, Operator.RETRY)
    else:
        await engine.operate_node(dag.nodes[0].id, "PASS")
    dag = await ended(engine, dag.id)
    assert (dag.state, dag.operator, dag.stage) == (State.SUCCEED, Operator.RUN, 3)
    assert sorted(high.seen) == [f"do {agent.ip}" for agent in agents]
    if goes_on_by == "RETRY":
        assert sorted(low.seen) == [f"do {agent.ip}" for agent in agents] + [f"undo {OWN.ip}"]
    else:
        assert low.seen == []
        assert [task.state for task in dag.nodes[0].sub_tasks] == [State.SUCCEED] * 2
    assert len(third_time) == 2


async def test_a_retry_leaves_what_was_done_to_a_body_that_goes_on_from_it(start_engine):
    flaky = Flaky()
    flaky.fails.add(f"do {OWN.ip}")
    again = acts("goes on", flaky.body, undo=flaky.undo)
    goes_on = dataclasses.replace(again, retry_undoes=False)
    engine = await start_engine(goes_on)
    dag_id = (await run_dag(engine, goes_on)).id
    for operator in (Operator.RETRY, Operator.ROLLBACK):
        await engine.operate(dag_id, operator)
        await ended(engine, dag_id)
    assert flaky.seen == [f"do {OWN.ip}", f"do {OWN.ip}", f"undo {OWN.ip}"]


async def test_a_body_knows_whether_an_operator_cancels_it_or_the_agent_goes_down(start_engine):
    gates, told = [Gate(), Gate()], []

    def waits_at(gate):
        async def act(run):
            try:
                await gate.pass_through()
            except asyncio.CancelledError:
                told.append(run.cancelled())
                raise

        return act

    stages = [acts(f"stage {n}", waits_at(gate)) for n, gate in enumerate(gates)]
    engine = await start_engine(*stages)
    for one, gate in zip(stages, gates, strict=True):
        dag_id = (await engine.submit(plan(one))).id
        await gate.reached()
    await engine.operate(dag_id, Operator.CANCEL)
    await ended(engine, dag_id)
    await engine.stop()
    assert told == [True, False]
