"""What `obshell task show` tells who comes when something is wrong."""

from __future__ import annotations

import json

import pytest

from pyobshell.client import ApiError, Client
from pyobshell.wire import AuditRecord, AuditTrail, DagsOfAgents

NOTHING = DagsOfAgents(contents=[], unreachable=[])
AGENT = ("--host", "10.0.0.1:2886")


def a_record(dag, state, path="/api/v1/ob/stop") -> AuditRecord:
    return AuditRecord(
        number=1,
        time="2026-11-24T19:00:00Z",
        trace_id="t",
        who="root@sys",
        uid=None,
        pid=None,
        client="10.0.0.9",
        agent="10.0.0.2:2886",
        method="POST",
        path=path,
        body={},
        status=200 if dag else 400,
        errCode=None if dag else "OB.Zone.NotExist",
        dag=dag,
        dag_state=state,
        duration=3,
    )


@pytest.fixture
def agent(monkeypatch):
    """An agent with these records of what failed or was refused, and these tasks."""
    monkeypatch.setenv("OB_ROOT_PASSWORD", "secret")

    def answer(records, *dags):
        async def none(self, **_):
            return NOTHING

        async def audit(self, *, failed, **_):
            assert failed
            if isinstance(records, Exception):
                raise records
            return AuditTrail(contents=records, unreachable=[])

        async def dag(self, task_id, **_):
            (found,) = [one for one in dags if one.id == task_id]
            return found

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
