"""What the demo says in the end, and of an error; the whole of it is among the sandboxes."""

from __future__ import annotations

import io

import pytest

from pyobshell.cli import demo
from pyobshell.cli.outcome import CommandError
from pyobshell.cli.steps import Steps


def test_an_error_is_told_with_the_step_at_which_it_came_even_before_the_first():
    steps = Steps(io.StringIO())
    with (
        pytest.raises(CommandError, match="failed at 'preparing': no"),
        demo._naming_the_step(steps),
    ):
        raise ValueError("no")
    with (
        pytest.raises(CommandError, match="failed at 'counting': no"),
        demo._naming_the_step(steps),
        steps.step("counting", "counted"),
    ):
        raise ValueError("no")


def test_that_nobody_reads_any_more_is_not_told_to_anybody():
    with pytest.raises(BrokenPipeError), demo._naming_the_step(Steps(io.StringIO())):
        raise BrokenPipeError


def test_without_json_the_tasks_are_summed_up_in_a_table(obshell, make_dag, monkeypatch):
    stages = [("Inform all agents", "SUCCEED"), ("Inform all agents to end the task", "SUCCEED")]
    dags = [make_dag(*stages, name=name, state="SUCCEED") for name in ("Stop OB", "Start OB")]

    async def done_already(_place, steps):
        steps.say("it is done")
        return None, dags

    monkeypatch.setattr(demo, "_in", done_already)
    exit_code, out, err = obshell("demo")
    assert (exit_code, err) == (0, "")
    said, blank, *table = out.splitlines()
    assert (said, blank) == ("it is done", "")
    assert table[0].split() == ["TASK", "STAGE", "AGENTS", "TIME"]
    assert [line.split()[:2] for line in table[1::3]] == [["Stop", "OB"], ["Start", "OB"]]
    assert table[1].split()[2:5] == ["all", "2", "stages"]
    assert table[2].split()[:-2] == ["Inform", "all", "agents", "1"]
    assert len(table) == 7
