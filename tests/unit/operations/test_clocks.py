"""A clock that jumps: nothing waits longer for it, and what cannot be judged by it is refused."""

from __future__ import annotations

import json
import time
from types import SimpleNamespace

import pytest

from pyobshell import errors
from pyobshell.api.call import Call
from pyobshell.deadline import Deadline
from pyobshell.operations import ordered, sub_dag
from support.undertakings import (
    FORCE_ALL,
    a_waiting_sub_dag,
    id_of,
    locked,
    outline,
    stop,
    wait_end,
)
from support.waiting import PATIENCE_S

pytestmark = pytest.mark.anyio
HOUR_S = 3600
jumps = pytest.mark.parametrize("jump_s", [-HOUR_S, HOUR_S], ids=["back", "forward"])


def shift(monkeypatch, seconds):
    """Set the clock of this process, as an administrator or a time server does."""
    now, now_ns = time.time, time.time_ns
    monkeypatch.setattr(time, "time", lambda: now() + seconds)
    monkeypatch.setattr(time, "time_ns", lambda: now_ns() + seconds * 10**9)


@jumps
async def test_a_stop_during_which_the_clock_jumps_works_and_keeps_its_order(
    cluster, monkeypatch, jump_s
):
    before = await stop(cluster[0], {"type": "GLOBAL"}, force=True)
    for host in cluster:
        host.engine.start_afresh()
    gate = cluster[1].engine.hold("kill")
    began = (await cluster[0].api.post("/ob/stop", FORCE_ALL)).data
    await gate.reached()
    with monkeypatch.context() as patched:
        shift(patched, jump_s)
        gate.open()
        dag = await wait_end(cluster[0], began["id"])
        assert dag["state"] == "SUCCEED"
        assert [state for _, state in outline(dag)] == ["SUCCEED"] * 5
        assert dag["dag_id"] > before["dag_id"]
        for host in cluster:
            host.engine.start_afresh()
        last = await stop(cluster[0], {"type": "GLOBAL"}, force=True)
        assert last["state"] == "SUCCEED"
        assert last["dag_id"] > dag["dag_id"]
        newest = (await cluster[0].local.get("/task/dag/maintain/agents")).contents
        assert last["id"] in [(one["additional_data"] or {}).get("main_dag_id") for one in newest]
        assert await locked(cluster) == [False] * 3


@jumps
async def test_who_is_told_to_go_on_at_another_time_than_its_own_refuses_and_names_the_clocks(
    start_member, monkeypatch, jump_s
):
    host = await start_member(zones=("zone1",))
    dag = await a_waiting_sub_dag(host, id_of(host, 99))
    go = sub_dag.GoAhead(id=id_of(host, dag.id), looked_at=time.time())
    patience = Deadline.after(PATIENCE_S)
    with monkeypatch.context() as patched:
        shift(patched, jump_s)
        with pytest.raises(errors.OBShellError, match="the clocks of the agents differ") as refused:
            await host.site.peers.call(host.address, sub_dag.advance, go, patience)
        assert refused.value.code is errors.SUB_DAG_NOT_ALL_ADVANCED
    assert (await host.site.tasks.dag(dag.id)).stage == 1
    assert host.engine.deeds == []


def test_a_task_that_seems_to_begin_in_the_future_has_not_just_begun(monkeypatch):
    """Else it would not look whether it still has its locks."""
    run = SimpleNamespace(ordered_at=time.time_ns())
    assert ordered.has_just_begun(run)
    for jump_s in (-HOUR_S, HOUR_S):
        with monkeypatch.context() as patched:
            shift(patched, jump_s)
            assert not ordered.has_just_begun(run)


@jumps
async def test_how_long_an_answer_took_is_not_told_by_a_clock_that_jumps(monkeypatch, jump_s):
    call = Call.of({}, "/", trusted=True)
    with monkeypatch.context() as patched:
        shift(patched, jump_s)
        answer = call.answer()
    assert 0 <= json.loads(answer.body)["duration"] < PATIENCE_S * 1000
