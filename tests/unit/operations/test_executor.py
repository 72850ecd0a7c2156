"""Of what is ordered in the cluster's name, an agent does what the latest maintainer says."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from pyobshell import errors
from pyobshell.cluster.procedures import Caller
from pyobshell.deadline import Deadline
from pyobshell.errors import OBShellError
from pyobshell.operations.executor import Executor, Order
from pyobshell.tasks.model import Operator
from pyobshell.tasks.stage import Catalogue
from support.staging import OTHERS, OWN, acts
from support.waiting import PATIENCE_S, Gate, soon

pytestmark = pytest.mark.anyio


@pytest.fixture
def lines():
    return []


@pytest.fixture
def caller(lines):
    return Caller(OTHERS[0], "", True, Deadline.after(PATIENCE_S), lines.append)


def executor_of(act, undo=None):
    stage = acts("s", act, undo=undo)
    return Executor(SimpleNamespace(own=OWN), Catalogue([stage]), SimpleNamespace())


def an_order(epoch=1, sub_task_id=1, operator=Operator.RUN, **more):
    order = {"stage_key": "s", "params": "{}", "data": {"known": 1}, "continuing": False, **more}
    return Order(epoch=epoch, dag_id=7, sub_task_id=sub_task_id, operator=operator, **order)


async def test_a_stage_is_executed_as_this_agents_and_answers_what_it_published(caller, lines):
    async def act(run):
        run.log(f"{run.agent} {run.generic_id} {run.data} {run.continuing}")
        run.publish(found=2)

    done = await executor_of(act).carry_out(caller, an_order(continuing=True))
    assert (done.published, done.error) == ({"found": 2}, None)
    assert lines == [f"{OWN} 17 {{'known': 1}} True"]


async def test_what_a_stage_raises_is_answered(caller):
    async def refuses(run):
        raise errors.ZONE_NOT_EXIST(zone="z")

    async def breaks(run):
        raise ValueError("as it should")

    refused = await executor_of(refuses).carry_out(caller, an_order())
    assert refused.error["code"] == "OB.Zone.NotExist"
    broken = await executor_of(breaks).carry_out(caller, an_order())
    assert broken.error["arguments"] == {"cause": "as it should"}


async def test_a_rollback_is_the_undoing(caller):
    seen = []

    async def act(run):
        seen.append("do")

    async def undo(run):
        seen.append("undo")

    executor = executor_of(act, undo)
    await executor.carry_out(caller, an_order(operator=Operator.ROLLBACK))
    await executor.carry_out(caller, an_order(operator=Operator.RETRY))
    assert seen == ["undo", "undo", "do"]


async def test_an_order_of_an_epoch_that_is_over_is_refused(caller):
    seen = []

    async def act(run):
        seen.append(run)

    executor = executor_of(act)
    executor.saw(3)
    refused = await executor.carry_out(caller, an_order(epoch=2))
    assert refused.error["code"] == "Agent.Maintainer.NotActive"
    await executor.carry_out(caller, an_order(epoch=4))
    with pytest.raises(OBShellError):
        await executor.alone(3, 1, asyncio.sleep(0))
    assert len(seen) == 1


async def test_another_maintainer_cancels_what_the_one_before_it_ordered(caller):
    gate = Gate()
    executor = executor_of(lambda run: gate.pass_through())
    carrying_out = asyncio.create_task(executor.carry_out(caller, an_order(epoch=1)))
    await gate.reached()
    executor.saw(2)
    await gate.given_up()
    with pytest.raises(asyncio.CancelledError):
        await carrying_out


async def test_asked_again_it_begins_once_the_former_run_has_ended(caller):
    gate, ending, under_way = Gate(), Gate(), 0

    async def act(run):
        nonlocal under_way
        under_way += 1
        assert under_way == 1
        try:
            if not run.continuing:
                await gate.pass_through()
        finally:
            if not run.continuing:
                await ending.pass_through()
            under_way -= 1

    executor = executor_of(act)
    first = asyncio.create_task(executor.carry_out(caller, an_order()))
    await gate.reached()
    second = asyncio.create_task(executor.carry_out(caller, an_order(continuing=True)))
    await ending.reached()
    ending.open()
    assert (await soon(second)).error is None
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_when_the_asker_hangs_up_the_stage_is_cancelled(caller):
    gate = Gate()
    executor = executor_of(lambda run: gate.pass_through())
    carrying_out = asyncio.create_task(executor.carry_out(caller, an_order()))
    await gate.reached()
    carrying_out.cancel()
    await gate.given_up()
