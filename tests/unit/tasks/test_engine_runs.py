"""A DAG runs stage by stage, a parallel stage all at once, and tells what became of it."""

from __future__ import annotations

import asyncio

import pytest
from pydantic import BaseModel

from pyobshell import errors
from pyobshell.deadline import Deadline
from pyobshell.tasks.ids import GenericId
from pyobshell.tasks.model import DagPlan, NodePlan, Operator, State
from pyobshell.tasks.stage import Run, stage
from support.staging import OTHERS, OWN, acts, ended, only, plan, run_dag, until, waits_for
from support.waiting import PATIENCE_S, Gate, soon

pytestmark = pytest.mark.anyio


async def test_a_dag_is_recorded_before_it_runs(start_engine):
    gate = Gate()
    one = acts("one", lambda run: gate.pass_through())
    engine = await start_engine(one)
    recorded = await engine.submit(plan(one, acts("two"), data={"given": 1}))
    assert (recorded.state, recorded.operator) == (State.READY, Operator.RUN)
    assert (recorded.stage, recorded.max_stage) == (1, 2)
    assert recorded.nodes == ()
    assert recorded.data == {"given": 1}
    assert recorded.start_time == recorded.end_time > 0
    await gate.reached()
    dag = await engine.dag(recorded.id)
    assert (dag.state, dag.stage) == (State.RUNNING, 1)
    assert [node.state for node in dag.nodes] == [State.RUNNING, State.PENDING]
    assert only(dag, 1).state is State.RUNNING
    assert only(dag, 1).execute_times == 1
    assert only(dag, 2).execute_times == 0
    assert only(dag, 1).agent == OWN
    gate.open()


async def test_stages_run_in_order_each_after_the_end_of_the_one_before(start_engine):
    seen = []

    def noted(name):
        async def act(run):
            seen.append(f"{name} begins")
            await asyncio.sleep(0)
            seen.append(f"{name} ends")

        return acts(name, act)

    stages = [noted(name) for name in ("one", "two", "three")]
    dag = await run_dag(await start_engine(*stages), *stages)
    assert seen == [
        f"{name} {what}" for name in ("one", "two", "three") for what in ("begins", "ends")
    ]
    assert (dag.state, dag.operator, dag.stage) == (State.SUCCEED, Operator.RUN, 3)
    for node in dag.nodes:
        assert (node.state, node.operator) == (State.SUCCEED, Operator.RUN)
        assert node.start_time <= node.end_time
    starts = [node.start_time for node in dag.nodes]
    assert starts == sorted(starts)
    assert dag.end_time >= dag.nodes[-1].end_time


async def test_a_parallel_stage_runs_for_all_its_agents_at_once(start_engine):
    agents = [OWN, *OTHERS]
    together = asyncio.Barrier(len(agents))  # lets nobody through before all are there
    seen = []

    async def meet(run):
        await soon(together.wait())
        seen.append(run.agent)

    one = acts("one", meet)
    dag = await run_dag(await start_engine(one), NodePlan(one, agents))
    assert dag.state is State.SUCCEED
    assert sorted(seen) == sorted(agents)
    assert [task.agent for task in dag.nodes[0].sub_tasks] == agents


async def test_the_next_stage_waits_for_the_last_sub_task_of_a_parallel_one(start_engine):
    gate = Gate()
    seen = []

    async def first(run):
        if run.agent == OWN:
            await gate.pass_through()
        seen.append(run.agent)

    async def second(run):
        seen.append("second")

    one, two = acts("one", first), acts("two", second)
    engine = await start_engine(one, two)
    dag_id = (await engine.submit(plan(NodePlan(one, [OWN, *OTHERS]), two))).id
    await gate.reached()

    def two_have_ended(dag):
        return [task.state for task in dag.nodes[0].sub_tasks].count(State.SUCCEED) == 2

    assert (await until(engine, dag_id, two_have_ended)).stage == 1
    gate.open()
    await ended(engine, dag_id)
    assert seen[2:] == [OWN, "second"]


async def test_two_dags_run_beside_each_other(start_engine):
    meeting = asyncio.Barrier(2)
    one = acts("one", lambda run: soon(meeting.wait()))
    engine = await start_engine(one)
    first, second = await engine.submit(plan(one)), await engine.submit(plan(one))
    assert first.id != second.id
    for dag in (first, second):
        assert (await ended(engine, dag.id)).state is State.SUCCEED


async def test_a_failure_ends_the_dag_at_its_stage_once_all_its_sub_tasks_have_ended(start_engine):
    gate = Gate()
    never = []

    async def fails_for_one(run):
        if run.agent == OWN:
            raise errors.ZONE_NOT_EXIST(zone="z")
        await gate.pass_through()

    async def is_not_reached(run):
        never.append(run)

    one, two = acts("one", fails_for_one), acts("two", is_not_reached)
    engine = await start_engine(one, two)
    dag_id = (await engine.submit(plan(NodePlan(one, [OWN, OTHERS[0]]), two))).id
    await gate.reached()

    def one_has_failed(dag):
        return dag.nodes[0].sub_tasks[0].state is State.FAILED

    assert (await until(engine, dag_id, one_has_failed)).state is State.RUNNING
    gate.open()
    dag = await ended(engine, dag_id)
    assert (dag.state, dag.operator, dag.stage) == (State.FAILED, Operator.RUN, 1)
    assert [node.state for node in dag.nodes] == [State.FAILED, State.PENDING]
    assert [task.state for task in dag.nodes[0].sub_tasks] == [State.FAILED, State.SUCCEED]
    assert not never


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (errors.ZONE_NOT_EXIST(zone="z"), "ERROR: [OB.Zone.NotExist]: Zone 'z' does not exist"),
        (ValueError("odd"), "ERROR: [Common.Unexpected]: Unexpected error: odd"),
        (KeyError(), "ERROR: [Common.Unexpected]: Unexpected error: KeyError"),
        (TimeoutError(), "ERROR: [Common.Unexpected]: Unexpected error: TimeoutError"),
    ],
    ids=["coded", "with a text", "without a text", "a timeout of its own"],
)
async def test_what_a_stage_logs_is_kept_in_order_and_its_error_comes_last(
    start_engine, error, line
):
    async def act(run):
        run.log("first")
        run.log("第二")
        raise error

    one = acts("one", act)
    dag = await run_dag(await start_engine(one), one)
    assert dag.state is State.FAILED
    assert only(dag, 1).logs == ("first", "第二", line)


async def test_each_sub_task_has_its_own_log(start_engine):
    async def act(run):
        run.log(f"for {run.agent}")

    one = acts("one", act)
    engine = await start_engine(one)
    dag = await run_dag(engine, NodePlan(one, [OWN, *OTHERS]))
    logs = [task.logs for task in dag.nodes[0].sub_tasks]
    assert logs == [(f"for {agent}",) for agent in (OWN, *OTHERS)]
    task = dag.nodes[0].sub_tasks[1]
    assert await engine.sub_task(task.id) == task
    assert await engine.node(dag.nodes[0].id) == dag.nodes[0]
    without = await engine.dag(dag.id, logs=False)
    assert [task.logs for task in without.nodes[0].sub_tasks] == [(), (), ()]


async def test_published_data_is_merged_and_seen_by_later_stages(start_engine):
    seen = []

    async def publish(run):
        run.publish(by_agent={str(run.agent): 1}, in_order=[run.agent.port], last=str(run.agent))
        run.publish(by_agent={"all": str(run.agent)}, in_order=[0])

    async def look(run):
        seen.append(run.data)

    one, two = acts("one", publish), acts("two", look)
    dag = await run_dag(
        await start_engine(one, two),
        NodePlan(one, OTHERS),
        two,
        data={"by_agent": {"before": 0}, "kept": True},
    )
    first, second = OTHERS
    expected = {
        "kept": True,
        "by_agent": {"before": 0, str(first): 1, str(second): 1, "all": str(second)},
        "in_order": [first.port, 0, second.port, 0],
        "last": str(second),
    }
    assert dag.data == expected
    assert seen == [expected]


async def test_what_a_failed_sub_task_published_is_dropped_but_not_what_its_neighbour_did(
    start_engine,
):
    async def publish(run):
        run.publish(**{run.agent.ip: True})
        if run.agent == OWN:
            raise ValueError

    one = acts("one", publish)
    dag = await run_dag(await start_engine(one), NodePlan(one, [OWN, OTHERS[0]]))
    assert dag.data == {OTHERS[0].ip: True}


async def test_a_stage_has_its_site_its_parameters_and_the_id_of_its_dag(start_engine):
    seen = []

    class Params(BaseModel):
        zones: list[str]

    async def act(run: Run, params: Params):
        seen.append((run, params))

    act.__annotations__ = {"run": Run, "params": Params}
    one = stage("One stage", key="one")(act)
    engine = await start_engine(one)
    recorded = await engine.submit(DagPlan("Task", [NodePlan(one)], Params(zones=["z1"])))
    dag = await ended(engine, recorded.id)
    ((run, params),) = seen
    assert params == Params(zones=["z1"])
    assert run.site is engine._site
    assert run.dag_id == dag.id
    assert run.generic_id == str(GenericId(dag.id, OWN))
    assert not run.continuing
    assert dag.nodes[0].name == only(dag, 1).name == "One stage"
    assert dag.nodes[0].stage_key == "one"


async def test_a_stage_that_takes_too_long_fails_and_says_so(start_engine):
    ends = asyncio.Event()

    async def act(run):
        assert run.deadline.seconds == 0.05
        try:
            await asyncio.Event().wait()
        finally:
            ends.set()

    one = acts("one", act, timeout_s=0.05)
    dag = await run_dag(await start_engine(one), one)
    assert ends.is_set()
    assert dag.state is State.FAILED
    assert only(dag, 1).logs == (
        "ERROR: [Task.Dag.ExecuteTimeout]: Stage 'one' did not end within 0.05 s",
    )


async def test_a_stage_whose_code_is_gone_fails_instead_of_hanging(start_engine):
    dag = await run_dag(await start_engine(), acts("of another release"))
    assert dag.state is State.FAILED
    assert only(dag, 1).logs == (
        "ERROR: [Common.Unexpected]: Unexpected error: 'of another release'",
    )


# --- signals -------------------------------------------------------------------------------------


async def test_a_signal_lets_the_stage_go_on_that_waits_for_it(start_engine):
    gate = Gate()
    one = waits_for("one", "go", gate)
    engine = await start_engine(one)
    dag_id = (await engine.submit(plan(one))).id
    await gate.reached()
    await engine.signal(dag_id, "another")
    assert (await engine.dag(dag_id)).state is State.RUNNING
    await engine.signal(dag_id, "go")
    dag = await ended(engine, dag_id)
    assert dag.state is State.SUCCEED
    assert dag.signals == {"go", "another"}


async def test_a_signal_given_before_anybody_waits_is_not_lost(start_engine):
    gate = Gate()

    async def act(run):
        await gate.pass_through()
        await run.signal("go")

    one = acts("one", act)
    engine = await start_engine(one)
    dag_id = (await engine.submit(plan(one))).id
    await gate.reached()
    await engine.signal(dag_id, "go")
    await engine.signal(dag_id, "go")
    gate.open()
    assert (await ended(engine, dag_id)).state is State.SUCCEED


# --- asking --------------------------------------------------------------------------------------


async def test_a_wait_ends_with_its_deadline(start_engine):
    gate = Gate()
    one = acts("one", lambda run: gate.pass_through())
    engine = await start_engine(one)
    dag_id = (await engine.submit(plan(one))).id
    with pytest.raises(TimeoutError):
        await engine.wait_end(dag_id, Deadline.after(0.05))
    gate.open()


async def test_a_dag_that_is_followed_is_seen_with_each_line_of_its_log(start_engine):
    gates = [Gate(), Gate(), Gate()]

    async def act(run):
        for number, gate in enumerate(gates[:2]):
            await gate.pass_through()
            run.log(f"line {number}")

    one = acts("one", act)
    engine = await start_engine(one)
    dag_id = (await engine.submit(plan(one))).id
    seen = []
    async with asyncio.timeout(PATIENCE_S):
        async for dag in engine.follow(dag_id, Deadline.after(PATIENCE_S)):
            lines = only(dag, 1).logs
            seen.append((dag.state, *lines))
            if dag.state.ended:
                break
            gates[len(lines)].open()
    assert (State.RUNNING, "line 0") in seen
    assert seen[-1] == (State.SUCCEED, "line 0", "line 1")
    with pytest.raises(TimeoutError):
        async for _ in engine.follow(dag_id, Deadline.after(0.05)):
            pass


async def test_many_may_wait_for_one_dag(start_engine):
    gate = Gate()
    one = acts("one", lambda run: gate.pass_through())
    engine = await start_engine(one)
    dag_id = (await engine.submit(plan(one))).id
    await gate.reached()
    waiting = [asyncio.create_task(ended(engine, dag_id)) for _ in range(20)]
    gate.open()
    assert {dag.state for dag in await asyncio.gather(*waiting)} == {State.SUCCEED}


async def test_what_was_never_recorded_is_not_found(start_engine):
    engine = await start_engine()
    asked = [
        engine.dag(7),
        engine.node(7),
        engine.sub_task(7),
        engine.operate(7, Operator.CANCEL),
        engine.operate_node(7, "PASS"),
        engine.wait_end(7, Deadline.after(PATIENCE_S)),
    ]
    for one in asked:
        with pytest.raises(errors.OBShellError) as caught:
            await one
        assert caught.value.code is errors.TASK_NOT_FOUND
    assert await engine.dags() == []
    assert await engine.newest_maintenance_dag() is None
