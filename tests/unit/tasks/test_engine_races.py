"""Operators that are refused, that come at once, and those whose askers do not wait for them."""

from __future__ import annotations

import asyncio

import pytest

from pyobshell import errors
from pyobshell.tasks.model import Ability, Operator, State
from support.staging import (
    OWN,
    Flaky,
    acts,
    ended,
    fails,
    keep_busy,
    plan,
    run_dag,
    turns,
    until,
    waits_for,
)
from support.waiting import Gate, soon

pytestmark = pytest.mark.anyio


# --- refusals and races --------------------------------------------------------------------------


async def test_a_refused_operator_changes_nothing(start_engine):
    one = acts("one", fails, abilities=Ability.NONE)
    engine = await start_engine(one)
    dag = await run_dag(engine, one)
    refused = [operator for operator in Operator if operator is not Operator.RUN]
    for operator in refused:
        with pytest.raises(errors.OBShellError, match=r"allow|ended"):
            await engine.operate(dag.id, operator)
    with pytest.raises(errors.OBShellError, match="allow"):
        await engine.operate_node(dag.nodes[0].id, "PASS")
    assert await engine.dag(dag.id) == dag


async def test_a_stage_that_may_not_be_cancelled_goes_on(start_engine):
    gate = Gate()
    one = acts("one", lambda run: gate.pass_through(), abilities=~Ability.CANCEL & Ability.ALL)
    engine = await start_engine(one)
    dag_id = (await engine.submit(plan(one))).id
    await gate.reached()
    with pytest.raises(errors.OBShellError) as caught:
        await engine.operate(dag_id, Operator.CANCEL)
    assert caught.value.code is errors.DAG_CANCEL_NOT_ALLOWED
    gate.open()
    assert (await ended(engine, dag_id)).state is State.SUCCEED


@pytest.mark.parametrize(
    "operators",
    [
        [Operator.RETRY, Operator.PASS],
        [Operator.RETRY, Operator.ROLLBACK],
        [Operator.PASS, Operator.ROLLBACK],
        [Operator.RETRY] * 5,
        [Operator.PASS] * 5,
    ],
)
async def test_of_operators_that_come_at_once_exactly_one_wins(start_engine, operators):
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
    outcomes = await asyncio.gather(
        *(engine.operate(dag.id, operator) for operator in operators), return_exceptions=True
    )
    assert [outcome for outcome in outcomes if outcome is None] == [None]
    refused = [outcome for outcome in outcomes if outcome is not None]
    assert {error.code.status for error in refused} == {400}
    gate.open()
    assert (await ended(engine, dag.id)).state is State.SUCCEED
    assert len(runs) <= 2


# --- callers that give up ------------------------------------------------------------------------


async def give_up_while_it_is_written(database, asking) -> None:
    """Have a caller give up when what it asked for is written but not yet on disk."""
    written = await keep_busy(database)
    asked = asyncio.create_task(asking)
    await turns(5)
    committing = asyncio.create_task(keep_busy(database))  # after it in the same group
    await turns(5)
    written.set()
    committed = await committing
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    committed.set()


async def test_a_dag_whose_submitter_gives_up_runs_all_the_same(start_engine, database):
    runs = asyncio.Event()

    async def act(run):
        runs.set()

    one = acts("one", act)
    engine = await start_engine(one)
    await give_up_while_it_is_written(database, engine.submit(plan(one)))
    await soon(runs.wait())


async def test_an_operator_whose_asker_gives_up_is_carried_out_all_the_same(start_engine, database):
    flaky = Flaky()
    one = acts("one", flaky.body)
    engine = await start_engine(one)
    flaky.fails = {f"do {OWN.ip}"}
    dag = await run_dag(engine, one)
    flaky.fails.clear()
    await give_up_while_it_is_written(database, engine.operate(dag.id, Operator.RETRY))
    assert (
        await until(engine, dag.id, lambda dag: dag.state is State.SUCCEED)
    ).operator is Operator.RUN


async def test_a_passed_node_is_followed_by_the_next_though_the_asker_gives_up(
    start_engine, database
):
    one, two = acts("one", fails), acts("two")
    engine = await start_engine(one, two)
    dag = await run_dag(engine, one, two)
    await give_up_while_it_is_written(database, engine.operate_node(dag.nodes[0].id, "PASS"))
    await until(engine, dag.id, lambda dag: dag.state is State.SUCCEED)


async def test_a_signal_reaches_who_waits_though_its_giver_gives_up(start_engine, database):
    gate = Gate()
    one = waits_for("one", "go", gate)
    engine = await start_engine(one)
    dag_id = (await engine.submit(plan(one))).id
    await gate.reached()
    await give_up_while_it_is_written(database, engine.signal(dag_id, "go"))
    assert (await ended(engine, dag_id)).state is State.SUCCEED
