"""`obshell audit`: the trail as a person and a program are shown it."""

from __future__ import annotations

import json

import pytest

from pyobshell.client import Client
from pyobshell.wire import AuditRecord, AuditTrail, UnreachableAgent


def a_record(**more) -> AuditRecord:
    given = {
        "number": 1,
        "time": "2026-11-24T19:00:00.012345678+08:00",
        "trace_id": "t",
        "who": "root@sys",
        "uid": None,
        "pid": None,
        "client": "10.0.0.9",
        "agent": "10.0.0.1:2886",
        "method": "POST",
        "path": "/api/v1/ob/stop",
        "body": {"scope": {"type": "ZONE", "target": ["zone2"]}},
        "status": 200,
        "errCode": None,
        "dag": "22130706433028869",
        "dag_state": "FAILED",
        "duration": 12,
    }
    return AuditRecord(**{**given, **more})


@pytest.fixture
def audit(obshell, monkeypatch):
    """Run the command on a trail; returns what was asked for, its exit code, stdout and stderr."""

    def run(trail, *words):
        asked = []

        async def call(self, method, path, body=None):
            asked.append((method, path))
            return trail.model_dump()

        monkeypatch.setattr(Client, "call", call)
        said = obshell("audit", "--host", "10.0.0.1:2886", "--password", "p", *words)
        return asked, *said

    return run


def trail_of(*records, unreachable=()) -> AuditTrail:
    return AuditTrail(contents=list(records), unreachable=list(unreachable))


def test_a_person_sees_a_table(audit):
    local = a_record(who="admin", uid=1000, pid=77, client="local", status=None, dag=None)
    refused = a_record(status=400, errCode="OB.Zone.NotExist", body={"x": "y" * 200})
    _, code, out, err = audit(trail_of(a_record(), local, refused))
    assert (code, err) == (0, "")
    head, first, second, third = out.splitlines()
    assert head.split() == [
        *("TIME", "WHO", "FROM", "AGENT", "REQUEST", "RESULT", "TASK", "STATE", "BODY")
    ]
    assert first.startswith("2026-11-24T19:00:00+08:00  root@sys  10.0.0.9")
    assert "POST /ob/stop  200" in first
    assert "22130706433028869  FAILED" in first
    assert '"target": ["zone2"]' in first
    assert "admin     local, pid 77" in second
    assert "no answer" in second
    assert "400 OB.Zone.NotExist" in third
    assert third.endswith("yyy…")
    assert len(third) < 300


def test_a_program_gets_the_document(audit):
    gone = UnreachableAgent(agent="10.0.0.3:2886", message="it cannot be reached")
    trail = trail_of(a_record(), unreachable=[gone])
    _, code, out, err = audit(trail, "--json")
    assert code == 0
    assert json.loads(out) == trail.model_dump()
    assert err == "WARNING: 10.0.0.3:2886 is left out: it cannot be reached\n"


def test_that_nothing_is_on_record_is_said(audit):
    assert audit(trail_of())[1:] == (0, "Nothing on record\n", "")


@pytest.mark.parametrize(
    ("words", "path"),
    [
        ((), "/audit?limit=100"),
        (
            ("--since", "2026-11-24T19:00:00+08:00", "--until", "1h"),
            "/audit?since=2026-11-24T19%3A00%3A00%2B08%3A00&until=1h&limit=100",
        ),
        (
            ("--who", "root@sys", "--path", "ob/stop", "-i", "217", "--failed", "-n", "5"),
            "/audit?who=root%40sys&path=ob%2Fstop&dag=217&failed=true&limit=5",
        ),
        (("--only-this-agent",), "/audit?scope=agent&limit=100"),
    ],
)
def test_filters_are_the_agents_to_apply(audit, words, path):
    assert audit(trail_of(), *words)[0] == [("GET", path)]


@pytest.mark.parametrize("words", [("--limit", "0"), ("--limit", "1001"), ("--bogus",), ("x",)])
def test_wrong_usage_is_exit_code_2(obshell, words):
    assert obshell("audit", *words)[0] == 2


def test_it_is_in_the_help_of_the_command_and_has_its_own(obshell):
    assert " audit " in obshell("--help")[1]
    code, said, _ = obshell("audit", "--help")
    assert code == 0
    assert "--since" in said
