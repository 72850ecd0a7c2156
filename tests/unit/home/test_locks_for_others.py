"""What the doctor says of a lock that is held for a task of another agent."""

from __future__ import annotations

import pytest

from pyobshell.address import Address
from pyobshell.home.findings import Level
from pyobshell.home.processes import Running, Task, look_at_tasks
from pyobshell.tasks.ids import GenericId

MAIN = str(GenericId(77, Address("10.0.0.2", 2886)))


def test_a_lock_whose_coordinator_cannot_be_asked_is_a_warning_that_names_the_ways_out(tmp_path):
    task = Task("2x", "Stop observer", "RUNNING", "1 of 3", True, MAIN)
    (finding,) = look_at_tasks([task], Running(1, [task]), tmp_path)
    assert finding.level is Level.WARNING
    assert f"for {MAIN}; agent 10.0.0.2:2886 could not be asked how that is" in finding.message
    assert "start agent 10.0.0.2:2886 if it is down (obshell agent start, there)" in finding.remedy
    assert f"--force-pass-dag {MAIN} of the next start or stop" in finding.remedy


def test_one_that_has_failed_names_that_its_coordinator_could_not_be_asked(tmp_path):
    task = Task("2x", "Stop observer", "FAILED", "1 of 3", True, MAIN)
    (finding,) = look_at_tasks([task], Running(1, [task]), tmp_path)
    assert finding.level is Level.WARNING
    assert "agent 10.0.0.2:2886 could not be asked" in finding.message


@pytest.mark.parametrize("main", ["1" + "5", "7x"])
def test_where_the_id_tells_no_agent_none_is_named(tmp_path, main):
    task = Task("2x", "Stop observer", "RUNNING", "1 of 3", True, main)
    (finding,) = look_at_tasks([task], Running(1, [task]), tmp_path)
    assert "; its agent could not be asked how that is" in finding.message


@pytest.mark.parametrize(
    ("task", "level"),
    [
        (Task("2x", "Stop observer", "RUNNING", "1 of 3", True, MAIN, "RUNNING"), Level.OK),
        (Task("2x", "Stop OB", "RUNNING", "1 of 3", False), Level.OK),
    ],
)
def test_a_task_whose_coordinator_answers_or_that_has_none_is_well(tmp_path, task, level):
    (finding,) = look_at_tasks([task], Running(1, [task]), tmp_path)
    assert (finding.level, "could not be asked" in finding.message) == (level, False)


@pytest.mark.parametrize("running", [None, Running(1, None)])
def test_where_the_agent_tells_nothing_nobody_was_asked_of_the_coordinator(tmp_path, running):
    task = Task("2x", "Stop observer", "RUNNING", "1 of 3", True, MAIN)
    (finding,) = look_at_tasks([task], running, tmp_path)
    assert "could not be asked" not in finding.message
