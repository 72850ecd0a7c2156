"""What becomes of the orders that an agent carries out alone, and what they may meet."""

from __future__ import annotations

import pytest

from pyobshell import errors
from pyobshell.cluster.model import Identity
from pyobshell.cluster.procedures import Caller
from pyobshell.deadline import Deadline
from pyobshell.operations import emergency, takeover
from pyobshell.operations.sub_dag import ADVANCE, prepare
from pyobshell.tasks.ids import GenericId
from pyobshell.tasks.model import State
from support.emergencies import DOWN, RUNNING, UP, seen_through, start, stop
from support.undertakings import (
    a_part,
    a_waiting_sub_dag,
    id_of,
    locked,
    logs_of,
    outline,
    wait_end,
)
from support.waiting import PATIENCE_S

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """Whoever answers is waited for, however busy the machine is."""
    monkeypatch.setattr(emergency, "_LOOK_S", PATIENCE_S)


# --- its stages ----------------------------------------------------------------------------------


async def test_a_server_that_refuses_the_password_runs_all_the_same(alone):
    alone.engine.set_state(DOWN)
    alone.engine.starts_as, alone.engine.refuses_all = RUNNING, True
    dag = await seen_through(alone, await start(alone))
    assert dag["state"] == "SUCCEED"
    (note,) = dag["additional_data"]["notes"]
    assert "this agent does not know its password" in note


async def test_a_server_that_gives_no_answer_is_not_taken_for_one_that_runs(start_outsider):
    host = await start_outsider(Identity.UNIDENTIFIED)
    host.site.settings = host.site.settings.model_copy(update={"start_timeout_s": 0.2})
    host.engine.starts_as = RUNNING
    host.engine.set_state(DOWN)
    dag = await seen_through(host, await start(host))
    assert outline(dag)[2] == ("Get connection of observer", "FAILED")
    assert "OB.Cluster.AsyncOperationTimeout" in logs_of(dag["nodes"][2])[-1]


async def test_a_server_that_ends_again_is_no_success(alone):
    alone.engine.set_state(DOWN)
    alone.engine.starts_as = DOWN
    dag = await seen_through(alone, await start(alone))
    assert outline(dag)[2] == ("Get connection of observer", "FAILED")
    assert "OB.Server.Process.NotExist" in logs_of(dag["nodes"][2])[-1]


async def test_a_start_that_cannot_succeed_is_not_tried(alone):
    alone.engine.set_state(DOWN)
    alone.engine.failures["check_start"] = errors.SERVER_UNAVAILABLE(reason="the disk is full")
    dag = await seen_through(alone, await start(alone))
    assert outline(dag)[0] == ("Check ob process and config", "FAILED")
    assert "the disk is full" in logs_of(dag["nodes"][0])[-1]
    refused = await alone.local.post(f"/task/dag/{dag['id']}", {"operator": "RETRY"})
    assert refused.refusal[0] == "Task.Dag.Operator.RetryNotAllowed"
    assert (await alone.local.post(f"/task/dag/{dag['id']}", {"operator": "PASS"})).status == 200


async def test_a_start_that_failed_is_retried(alone):
    alone.engine.set_state(DOWN)
    alone.engine.failures["start"] = errors.SERVER_UNAVAILABLE(reason="no memory")
    dag = await seen_through(alone, await start(alone))
    assert outline(dag)[1] == ("Start observer", "FAILED")
    assert not alone.site.cluster.server_wanted
    alone.engine.failures.clear()
    assert (await alone.local.post(f"/task/dag/{dag['id']}", {"operator": "RETRY"})).status == 200
    assert (await wait_end(alone, dag["id"]))["state"] == "SUCCEED"


async def test_a_stop_that_failed_is_retried(alone):
    alone.engine.failures["kill"] = errors.SERVER_PROCESS_CHECK_FAILED(reason="another user's")
    dag = await seen_through(alone, await stop(alone))
    assert outline(dag) == [("Stop observer", "FAILED")]
    alone.engine.failures.clear()
    assert (await alone.local.post(f"/task/dag/{dag['id']}", {"operator": "RETRY"})).status == 200
    assert (await wait_end(alone, dag["id"]))["state"] == "SUCCEED"
    assert await alone.engine.state() is DOWN


async def test_a_start_that_hangs_is_cancelled(alone):
    alone.engine.set_state(DOWN)
    gate = alone.engine.hold("start")
    begun = await start(alone)
    await gate.reached()
    task = f"/task/dag/{begun.data['id']}"
    assert (await alone.local.post(task, {"operator": "CANCEL"})).status == 200
    dag = await wait_end(alone, begun.data["id"])
    assert (dag["state"], dag["operator"]) == ("FAILED", "CANCEL")
    assert not alone.site.cluster.server_wanted


# --- what it may meet ----------------------------------------------------------------------------


async def test_a_stop_ends_a_start_that_hangs(alone):
    alone.engine.set_state(DOWN)
    gate = alone.engine.hold("start")
    starting = await start(alone)
    await gate.reached()
    stopped = await seen_through(alone, await stop(alone))
    dag = await seen_through(alone, starting)
    assert (dag["state"], stopped["state"]) == ("FAILED", "SUCCEED")
    assert "a stop was asked for meanwhile" in logs_of(dag["nodes"][1])[-1]
    assert await alone.engine.state() is DOWN
    assert alone.site.cluster.server_wanted is False


@pytest.mark.parametrize("order", [start, stop])
async def test_two_of_a_kind_at_once_both_succeed(alone, order):
    deed = "start" if order is start else "kill"
    alone.engine.set_state(DOWN if order is start else UP)
    gate = alone.engine.hold(deed)
    begun = [await order(alone), await order(alone)]
    await gate.reached()
    gate.open()
    assert [(await seen_through(alone, one))["state"] for one in begun] == ["SUCCEED"] * 2
    assert alone.engine.deeds.count(deed) == 2
    assert alone.site.cluster.server_wanted is (order is start)


@pytest.fixture
def pursued(monkeypatch):
    """The coordinator of whatever has an agent locked answers that it will go on with it."""

    async def yes(*_):
        return True

    monkeypatch.setattr(emergency, "is_needed", yes)


def of_a_lost_agent(host):
    """A task of the member that does not answer."""
    return str(GenericId(99, host.site.cluster.view.others[0]))


async def test_an_older_order_of_an_agent_that_is_lost_is_given_up(start_member):
    host = await start_member()
    host.engine.set_state(DOWN)
    holder = await a_waiting_sub_dag(host, of_a_lost_agent(host))
    dag = await seen_through(host, await start(host))
    assert dag["state"] == "SUCCEED"
    given_up, served = dag["additional_data"]["notes"]
    assert f"DAG {of_a_lost_agent(host)} is given up here, for this order is the newer" in given_up
    assert "serves SQL" in served
    assert (await host.site.tasks.dag(holder.id)).state is State.SUCCEED
    assert "kill" not in host.engine.deeds
    assert await locked([host]) == [False]


async def test_an_older_order_that_the_agent_coordinates_itself_is_given_up(start_member, pursued):
    host = await start_member()
    holder = await a_waiting_sub_dag(host, id_of(host, 99))
    assert (await seen_through(host, await stop(host)))["state"] == "SUCCEED"
    assert (await host.site.tasks.dag(holder.id)).state is State.SUCCEED


async def prepared(host, age_s):
    """What is made of a part of an operation that began so long ago."""
    key = host.site.key.public_text
    caller = Caller(host.address, key, True, Deadline.after(PATIENCE_S), print)
    part = a_part(of_a_lost_agent(host)).model_copy(update={"age_s": age_s})
    return await prepare.handler(host.site, caller, part)


@pytest.mark.parametrize("order", [start, stop])
async def test_an_older_order_that_comes_later_is_refused_a_newer_one_is_not(start_member, order):
    """As of a coordinator that was killed, and goes on when it is back."""
    host = await start_member()
    await seen_through(host, await order(host))
    with pytest.raises(errors.OBShellError) as refused:
        await prepared(host, PATIENCE_S)
    assert refused.value.code is errors.ORDER_SUPERSEDED
    assert await locked([host]) == [False]
    await prepared(host, 0.0)
    assert await locked([host]) == [True]


async def test_an_order_whose_coordinator_is_there_is_named_and_left_alone(start_member, pursued):
    host = await start_member()
    holder = await a_waiting_sub_dag(host, of_a_lost_agent(host))
    dag = await seen_through(host, await stop(host))
    assert dag["state"] == "SUCCEED"
    (note,) = dag["additional_data"]["notes"]
    assert f"locked by 'Stop observer' of DAG {of_a_lost_agent(host)}" in note
    assert (await host.site.tasks.dag(holder.id)).state is State.RUNNING
    assert await locked([host]) == [True]


async def test_it_is_given_up_all_the_same_if_that_is_asked_for(start_member, pursued):
    host = await start_member()
    main_dag_id = of_a_lost_agent(host)
    holder = await a_waiting_sub_dag(host, main_dag_id)
    dag = await seen_through(host, await start(host, forcePassDag=[main_dag_id]))
    assert dag["state"] == "SUCCEED"
    assert f"DAG {main_dag_id} is given up here: its part" in logs_of(dag["nodes"][0])[0]
    assert (await host.site.tasks.dag(holder.id)).state is State.SUCCEED
    assert await locked([host]) == [False]


async def test_a_stop_that_is_being_carried_out_is_overtaken_by_a_start(start_member, pursued):
    host = await start_member()
    gate = host.engine.hold("kill")
    holder = await a_waiting_sub_dag(host, of_a_lost_agent(host))
    await host.site.tasks.signal(holder.id, ADVANCE)
    await gate.reached()
    dag = await seen_through(host, await start(host))
    assert dag["state"] == "SUCCEED"
    stopped = await wait_end(host, id_of(host, holder.id))
    assert "a start was asked for meanwhile" in logs_of(stopped["nodes"][1])[-1]
    assert (await host.engine.state(), host.site.cluster.server_wanted) == (UP, True)


async def test_a_server_that_was_stopped_is_not_started_by_a_take_over(alone):
    recorded = alone.engine.record
    await seen_through(alone, await stop(alone))
    with pytest.raises(errors.OBShellError, match="stays down until it is started"):
        await takeover._identify(alone.site, recorded, "its password")
    assert "start" not in alone.engine.deeds
