"""Tasks in words."""

from __future__ import annotations

import pytest

from pyobshell.cli import text


@pytest.mark.parametrize(
    ("milliseconds", "said"),
    [(0, "0 ms"), (999, "999 ms"), (1000, "1.0 s"), (59_949, "59.9 s"), (61_000, "1 min 01 s")],
)
def test_a_length_of_time_is_said_as_a_person_says_it(milliseconds, said):
    assert text.duration(milliseconds) == said


@pytest.mark.parametrize(
    ("begin", "end", "milliseconds"),
    [
        ("2026-11-24T19:00:00.123456789Z", "2026-11-24T19:00:00.135456789Z", 12),
        ("2026-11-24T19:00:00Z", "2026-11-24T20:00:01.5+01:00", 1500),
        ("2026-11-24T19:00:00.01+08:00", "2026-11-24T19:00:00+08:00", 0),
    ],
)
def test_times_are_read_as_the_api_writes_them(begin, end, milliseconds):
    assert text.elapsed_ms(begin, end) == milliseconds


def test_a_stage_that_has_ended_is_one_line(make_dag):
    dag = make_dag(("Inform all agents", "SUCCEED"), ("Wait", "RUNNING"))
    line = text.line_of(dag, 1, dag.nodes[0])
    assert line == "Inform all agents [1/2] SUCCEED 12 ms"


def test_the_last_line_of_each_failed_part_is_the_reason(make_dag):
    dag = make_dag(("Stop", "FAILED", ["began", "ERROR: no"], []), state="FAILED")
    assert [reason for reason, _ in text.failures(dag)] == ["ERROR: no", "it left no log"]


def test_the_tasks_in_the_way_are_found_in_the_log(make_dag):
    blocked = (
        "10.0.0.2:2886 ERROR: [Agent.UnderMaintenanceDag]: Agent 10.0.0.2:2886 is under maintenance"
        " by 'Stop observer' of DAG 22130706433028867; name 22130706433028867 in forcePassDag to"
        " release it"
    )
    dag = make_dag(("Inform", "SUCCEED", [blocked], [blocked]), ("Ready", "FAILED", ["no"]))
    assert text.blocking_dags(dag) == ["22130706433028867"]


def test_a_task_that_keeps_its_own_locks_says_so(make_dag):
    log = "To give it up: StartCluster of the same scope with forcePassDag 22130706433028869"
    assert text.stays_locked(make_dag(("Freeze", "FAILED", [log])))
    assert not text.stays_locked(make_dag(("Freeze", "FAILED", ["no"])))


def test_a_task_in_full_is_what_yaml_reads(make_dag):
    log = "10.0.0.1:2886 has 'prepared': sub DAG 1"
    lines = list(text.full(make_dag(("Inform", "SUCCEED", [log])), details=True))
    assert lines[:3] == ["id: '22130706433028869'", "dag_id: 9", "name: Stop OB"]
    assert "  name: Inform" in lines
    assert "    agent: 10.0.0.1:2886" in lines
    assert "    - '10.0.0.1:2886 has ''prepared'': sub DAG 1'" in lines


def test_without_details_there_are_no_stages(make_dag):
    assert "nodes:" not in list(text.full(make_dag(("Inform", "SUCCEED")), details=False))
