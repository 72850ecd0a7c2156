"""Following a task to its end, and not."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from pyobshell.cli import place
from pyobshell.cli.follow import Follower
from pyobshell.cli.outcome import CommandError, Exit, Finished
from pyobshell.client import ApiError, Unreachable

pytestmark = pytest.mark.anyio


class FakeAgent:
    """Answers with one state after the other; holds the answer when there is no other."""

    def __init__(self, *dags, refusal=None):
        self._dags = {dags[0].id: list(dags)}
        self.operated = []
        self.was_operated = False
        self.asked = asyncio.Event()
        self._refusal = refusal

    def add(self, *dags):
        self._dags[dags[0].id] = list(dags)

    async def dag(self, task_id, **_):
        dags = self._dags[task_id]
        if isinstance(dags[0], Exception):
            raise dags[0]
        self.asked.set()
        if len(dags) > 1:
            return dags.pop(0)
        if dags[0].state == "RUNNING" and not self.was_operated:
            await asyncio.Event().wait()
        return dags[0]

    async def operate(self, task_id, operator):
        self.was_operated = True
        if self._refusal:
            raise self._refusal
        self.operated.append((task_id, operator))
        self._dags[task_id] = [
            dag.model_copy(update={"state": "SUCCEED" if operator == "PASS" else "FAILED"})
            for dag in self._dags[task_id][-1:]
        ]


def follower(agent, **more):
    return Follower(agent, place.locate(Path("/home")), **more)


async def test_a_task_that_succeeds_is_shown_stage_by_stage(make_dag, capsys):
    first = make_dag(("A", "SUCCEED"), ("B", "RUNNING"))
    last = first.model_copy(deep=True, update={"state": "SUCCEED"})
    last.nodes[1].state, last.nodes[1].end_time = "SUCCEED", "2026-11-24T19:00:01Z"
    dag = await follower(FakeAgent(first, last)).succeed(first)
    assert dag.state == "SUCCEED"
    assert capsys.readouterr().out == "A [1/2] SUCCEED 12 ms\nB [2/2] SUCCEED 1.0 s\n"


async def test_a_task_that_fails_says_why_and_what_to_do(make_dag, capsys):
    dag = make_dag(("A", "FAILED", ["x", "ERROR: no"]), state="FAILED")
    with pytest.raises(Finished) as ended:
        await follower(FakeAgent(dag)).succeed(dag)
    assert ended.value.exit_code == Exit.FAILED
    said = capsys.readouterr().out.splitlines()
    assert said[1] == "✗ 10.0.0.1:2886 A: ERROR: no"
    assert said[2].startswith("→ all of its logs: obshell task show -i 22130706433028869")


async def test_where_its_logs_are_is_said_beside_what_the_command_advises(make_dag, capsys):
    dag = make_dag(("A", "FAILED", ["ERROR: no"]), state="FAILED")
    with pytest.raises(Finished):
        await follower(FakeAgent(dag), advise=lambda _: ["mend it"]).succeed(dag)
    logs = "→ all of its logs: obshell task show -i 22130706433028869 -d --base-dir /home"
    assert capsys.readouterr().out.splitlines()[-2:] == [logs, "→ mend it"]


async def test_a_task_that_keeps_its_agents_says_what_releases_them(make_dag, capsys):
    log = "To give it up: StartCluster of the same scope with forcePassDag 22130706433028869"
    dag = make_dag(("A", "FAILED", [log, "ERROR: no"]), state="FAILED")
    with pytest.raises(Finished):
        await follower(FakeAgent(dag)).succeed(dag)
    said = capsys.readouterr().out
    assert "until a start or stop has --force-pass-dag 22130706433028869" in said
    assert "obshell task retry -i 22130706433028869" in said


@pytest.mark.parametrize(
    ("name", "order"),
    [("Start local observer", "start"), ("Stop local observer", "stop -f")],
)
async def test_what_an_agent_did_alone_is_neither_retried_nor_rolled_back(
    make_dag, capsys, name, order
):
    data = {"emergency": "nobody answers"}
    dag = make_dag(("A", "FAILED", ["no"]), state="FAILED", name=name, additional_data=data)
    with pytest.raises(Finished):
        await follower(FakeAgent(dag)).succeed(dag)
    again = f"→ to go on: obshell cluster {order} -s 10.0.0.1:2886 --base-dir /home"
    assert capsys.readouterr().out.splitlines()[-1] == again


async def test_what_is_in_the_way_is_told_with_the_option_of_the_command(make_dag, capsys):
    log = "ERROR: [Agent.UnderMaintenanceDag]: of DAG 2277; name 2277 in forcePassDag to release it"
    dag = make_dag(("A", "FAILED", [log]), state="FAILED")
    with pytest.raises(Finished):
        await follower(FakeAgent(dag), verbose=True).succeed(dag)
    said = capsys.readouterr().out
    assert "name 2277 in --force-pass-dag to release it" in said
    assert "forcePassDag" not in said


async def test_with_json_only_the_task_is_on_stdout(make_dag, capsys):
    dag = make_dag(("A", "FAILED", ["ERROR: no"]), state="FAILED")
    with pytest.raises(Finished):
        await follower(FakeAgent(dag), as_json=True).succeed(dag)
    said = capsys.readouterr()
    assert json.loads(said.out)["state"] == "FAILED"
    assert "ERROR: no" in said.err


async def interrupted(agent, dag, **more):
    following = asyncio.create_task(follower(agent, **more).follow(dag))
    await agent.asked.wait()
    following.cancel()
    return await asyncio.gather(following, return_exceptions=True)


async def test_interrupted_it_cancels_the_task_and_says_how_to_go_on(make_dag, capsys):
    dag = make_dag(("A", "RUNNING"))
    agent = FakeAgent(dag)
    (ended,) = await interrupted(agent, dag)
    assert isinstance(ended, Finished)
    assert ended.exit_code == Exit.INTERRUPTED
    assert agent.operated == [(dag.id, "CANCEL")]
    said = capsys.readouterr().out
    assert "'Stop OB' is cancelled" in said
    assert "→ to go on: obshell task retry -i 22130706433028869" in said


async def test_interrupted_it_has_undone_what_can_be_undone(make_dag, capsys):
    data = {"sub_dags": {"10.0.0.2:2886": "2299"}}
    dag = make_dag(("A", "RUNNING"), name="Rolling restart", additional_data=data)
    agent = FakeAgent(dag)
    start = make_dag(("Start Zone", "SUCCEED"), id="2211", state="SUCCEED", name="Start OB")
    agent.add(start)

    async def undo(cancelled):
        assert cancelled.id == dag.id
        return start

    (ended,) = await interrupted(agent, dag, undo=undo)
    assert ended.exit_code == Exit.INTERRUPTED
    assert agent.operated == [(dag.id, "CANCEL")]
    said = capsys.readouterr().out
    assert "'Rolling restart' is cancelled; bringing back what it stopped: 2211" in said
    assert said.endswith("All of its servers are in service\n")


async def test_what_cannot_be_undone_is_told_with_what_to_do(make_dag, capsys):
    dag = make_dag(("A", "RUNNING"))
    agent = FakeAgent(dag)

    async def undo(_):
        raise ApiError(400, "x", "no such zone")

    (ended,) = await interrupted(agent, dag, undo=undo, advise=lambda _: ["start it yourself"])
    assert ended.exit_code == Exit.INTERRUPTED
    said = capsys.readouterr().out
    assert "cannot be brought back: no such zone" in said
    assert "→ start it yourself" in said


async def test_a_task_that_cannot_be_cancelled_goes_on_and_that_is_said(make_dag, capsys):
    dag = make_dag(("A", "RUNNING"))
    agent = FakeAgent(dag, refusal=ApiError(400, "x", "Stage 'A' does not allow CANCEL"))
    (ended,) = await interrupted(agent, dag)
    assert ended.exit_code == Exit.INTERRUPTED
    assert "goes on: Stage 'A' does not allow CANCEL" in capsys.readouterr().out


async def test_a_task_that_is_only_watched_is_left_alone(make_dag):
    dag = make_dag(("A", "RUNNING"))
    agent = FakeAgent(dag)
    (ended,) = await interrupted(agent, dag, cancels=False)
    assert isinstance(ended, asyncio.CancelledError)
    assert agent.operated == []


async def test_an_agent_that_is_lost_meanwhile_does_not_end_the_task(make_dag):
    dag = make_dag(("A", "RUNNING"))
    agent = FakeAgent(dag, Unreachable("10.0.0.1:2886", "refused"))
    with pytest.raises(CommandError, match=r"to see it: obshell task watch -i 22") as lost:
        await follower(agent).follow(dag)
    assert lost.value.exit_code == Exit.UNREACHABLE
