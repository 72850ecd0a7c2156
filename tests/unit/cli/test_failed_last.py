"""What `obshell task show` tells who comes when something is wrong."""

from __future__ import annotations

import json

import pytest

from pyobshell.cli.text import moment
from pyobshell.client import ApiError, Client
from pyobshell.wire import AuditRecord, AuditTrail, DagsOfAgents

NOTHING = DagsOfAgents(contents=[], unreachable=[])
AGENT = ("--host", "10.0.0.1:2886")


def at(second: float) -> str:
    return f"2026-11-24T19:00:{second:06.3f}Z"


def a_record(dag, state, path="/api/v1/ob/stop", **more) -> AuditRecord:
    given = {
        "number": 1,
        "time": at(0),
        "trace_id": "t",
        "who": "root@sys",
        "uid": None,
        "pid": None,
        "client": "10.0.0.9",
        "agent": "10.0.0.2:2886",
        "method": "POST",
        "path": path,
        "body": {},
        "status": 200 if dag else 400,
        "errCode": None if dag else "OB.Zone.NotExist",
        "dag": dag,
        "dag_state": state,
        "duration": 3,
    }
    return AuditRecord(**{**given, **more})


@pytest.fixture
def agent(monkeypatch):
    """An agent with these records, the newest first, and these tasks."""

    def answer(records, *dags):
        monkeypatch.setenv("OB_ROOT_PASSWORD", "secret")  # a command takes it away

        async def none(self, **_):
            return NOTHING

        async def audit(self, *, failed, since, **_):
            if isinstance(records, Exception):
                raise records
            found = [one for one in records if one.dag_state != "SUCCEED" or not failed]
            if since != "24h":
                found = [one for one in found if moment(one.time) >= moment(since)]
            return AuditTrail(contents=found, unreachable=[])

        async def dag(self, task_id, details=True, **_):
            found = [one for one in dags if one.id == task_id]
            if not found:
                raise ApiError(500, "Agent.RPC.RequestFailed", "it cannot be reached")
            plain = {} if details else {"nodes": None, "additional_data": None}
            return found[0].model_copy(update=plain)

        for name, told in (("main_dags", none), ("unfinished", none), ("audit", audit)):
            monkeypatch.setattr(Client, name, told)
        monkeypatch.setattr(Client, "dag", dag)

    return answer


def test_the_task_that_failed_last_is_told_with_why_and_what_to_do(agent, obshell, make_dag):
    failed = make_dag(
        ("A", "SUCCEED"), ("B", "FAILED", ["x", "ERROR: no"]), state="FAILED", id="22"
    )
    gone = [a_record(None, None), a_record("23", None), a_record("24", "RUNNING")]
    agent([*gone, a_record("22", "FAILED"), a_record("21", "FAILED")], failed)
    code, out, _ = obshell("task", "show", *AGENT)
    assert code == 0
    assert out.splitlines() == [
        "No unfinished tasks",
        "Failed last: 'Stop OB' 22, POST /ob/stop by root@sys at 10.0.0.2:2886, "
        + str(failed.end_time),
        "✗ 10.0.0.1:2886 B: ERROR: no",
        "→ all of its logs: obshell task show -i 22 --host 10.0.0.1:2886 -d",
        "→ once the cause is mended: obshell task retry -i 22 --host 10.0.0.1:2886",
        "→ all that failed or was refused: obshell audit --failed --host 10.0.0.1:2886",
    ]


def test_what_keeps_its_agents_is_said_to_and_what_was_cancelled_too(agent, obshell, make_dag):
    log = "To give it up: StartCluster of the same scope with forcePassDag 22"
    agent(
        [a_record("22", "FAILED")],
        make_dag(("A", "FAILED", [log]), state="FAILED", id="22", operator="CANCEL"),
    )
    _, out, _ = obshell("task", "show", *AGENT)
    assert ", cancelled\n" in out
    assert "→ its agents stay locked until a start or stop has --force-pass-dag 22" in out
    assert "forcePassDag" not in out


@pytest.mark.parametrize(
    "records", [[], [a_record("22", "SUCCEED")], ApiError(500, "Agent.RPC.RequestFailed", "no")]
)
def test_where_none_has_failed_or_nobody_knows_nothing_is_said(agent, obshell, records):
    agent(records)
    assert obshell("task", "show", *AGENT) == (0, "No unfinished tasks\n", "")


def test_a_program_is_told_of_unfinished_tasks_alone(agent, obshell, make_dag):
    agent(AssertionError("it was asked for"))
    code, out, _ = obshell("task", "show", "--json", *AGENT)
    assert (code, json.loads(out)) == (0, NOTHING.model_dump())


# --- which of several it is ----------------------------------------------------------------------


@pytest.fixture
def told_last(agent, obshell, make_dag):
    """The id of the task that is told of, of tasks each with a record; "" if none is."""

    def ask(*tasks):
        records = sorted((one[0] for one in tasks), key=lambda one: one.time, reverse=True)
        agent(records, *(one[1] for one in tasks))
        code, out, err = obshell("task", "show", *AGENT)
        assert (code, err) == (0, "")
        told = [line for line in out.splitlines() if line.startswith("Failed last")]
        return told[0].split(",")[0].split()[-1] if told else ""

    return ask


@pytest.fixture
def a_task(make_dag):
    """A task that was asked for at a second and ended at another, with its record."""

    def make(number, state, asked, ended, name="Stop OB", operator="RUN", **record):
        dag = make_dag(
            ("A", state, ["why"]),
            state=state, id=number, name=name, operator=operator, end_time=at(ended),
        )  # fmt: skip
        return a_record(number, state, time=at(asked), **record), dag

    return make


def test_it_is_the_one_that_ended_last_whenever_it_was_asked_for(told_last, a_task):
    assert told_last(a_task("21", "FAILED", 1, 9), a_task("22", "FAILED", 2, 3)) == "21"
    assert told_last(a_task("21", "FAILED", 1, 4), a_task("22", "FAILED", 2, 5)) == "22"


def test_one_that_cannot_be_asked_for_keeps_none_of_the_others_from_being_told(told_last, a_task):
    record, _ = a_task("21", "FAILED", 1, 9)
    assert told_last(a_task("22", "FAILED", 2, 3), (record, *a_task("23", "FAILED", 1, 2)[1:]))


@pytest.mark.parametrize("name", ["Stop OB", "Start OB", "Rolling restart"])
def test_once_a_later_stop_or_start_has_succeeded_none_is_told(told_last, a_task, name):
    done = a_task("23", "SUCCEED", 5, 6, name)
    assert told_last(a_task("22", "FAILED", 2, 3), done) == ""
    assert told_last(a_task("22", "FAILED", 2, 3, "Start local observer"), done) == ""


def test_what_fails_after_that_is_told(told_last, a_task):
    """As of a coordinator that was killed, and came back when others had given its task up."""
    given_up = a_task("21", "FAILED", 1, 9)
    blocked, repeated = a_task("22", "FAILED", 2, 3), a_task("23", "SUCCEED", 5, 6)
    assert told_last(given_up, blocked, repeated) == "21"


def test_what_was_asked_for_before_it_failed_leaves_it_to_do(told_last, a_task):
    """As of one that failed because it met the other's locks."""
    earlier = a_task("21", "FAILED", 1, 2, "Scale out")
    assert told_last(earlier, a_task("22", "FAILED", 4, 6), a_task("23", "SUCCEED", 3, 9)) == "22"


def test_an_earlier_one_that_was_retried_since_has_succeeded_since(told_last, a_task):
    failed, done = a_task("22", "FAILED", 3, 4), a_task("21", "SUCCEED", 1, 9, operator="RETRY")
    retried = a_record("21", "SUCCEED", "/api/v1/task/dag/21", time=at(6))
    assert told_last(failed, done, (retried, done[1])) == ""


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("Scale out", {}),
        ("Stop OB", {"operator": "PASS"}),
        ("Stop OB", {"status": 400}),
        ("Stop local observer", {}),
    ],
)
def test_what_is_of_another_kind_or_was_not_carried_out_leaves_it_to_do(
    told_last, a_task, name, how
):
    assert told_last(a_task("22", "FAILED", 2, 3), a_task("23", "SUCCEED", 5, 6, name, **how))


def test_a_failed_task_of_another_kind_is_told_whatever_was_stopped_or_started(told_last, a_task):
    scaling = a_task("21", "FAILED", 1, 2, "Scale out")
    stops = a_task("22", "FAILED", 2, 3), a_task("23", "SUCCEED", 5, 6)
    assert told_last(scaling, *stops) == "21"


def test_what_an_agent_did_alone_leaves_the_same_to_do_at_others(told_last, a_task):
    failed = a_task("21", "FAILED", 1, 2, "Start local observer")
    done = a_task("22", "SUCCEED", 5, 6, "Start local observer")
    assert told_last(failed, done) == ""
    elsewhere = a_task("22", "SUCCEED", 5, 6, "Start local observer", agent="10.0.0.3:2886")
    assert told_last(failed, elsewhere) == "21"


@pytest.mark.parametrize(
    ("name", "order"),
    [("Start local observer", "start"), ("Stop local observer", "stop -f")],
)
def test_what_failed_alone_is_to_be_asked_for_again(agent, obshell, make_dag, name, order):
    data = {"emergency": "nobody answers"}
    dag = make_dag(
        ("A", "FAILED", ["no"]), state="FAILED", id="22", name=name, additional_data=data
    )
    agent([a_record("22", "FAILED")], dag)
    _, out, _ = obshell("task", "show", *AGENT)
    again = f"obshell cluster {order} -s 10.0.0.1:2886 --host 10.0.0.1:2886"
    assert f"→ once the cause is mended: {again}\n" in out
    assert "task retry" not in out
