"""A task as it goes."""

from __future__ import annotations

import io
import re

import pytest

from pyobshell.cli.progress import LiveView, PlainView, view


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_elsewhere_than_on_a_terminal_each_stage_is_a_line_once(make_dag):
    stream = io.StringIO()
    first = make_dag(("A", "SUCCEED"), ("B", "RUNNING"))
    done = first.model_copy(deep=True)
    done.nodes[1].state, done.nodes[1].end_time = "SUCCEED", "2026-11-24T19:00:01.5Z"
    with view(stream) as shown:
        assert isinstance(shown, PlainView)
        for dag in (first, first, done, done):
            shown.show(dag)
    assert stream.getvalue().splitlines() == ["A [1/2] SUCCEED 12 ms", "B [2/2] SUCCEED 1.5 s"]


def test_stages_of_an_earlier_run_are_old_news(make_dag):
    stream = io.StringIO()
    before = make_dag(("A", "SUCCEED"), ("B", "FAILED"), state="FAILED")
    after = before.model_copy(deep=True)
    after.nodes[1].state, after.nodes[1].operator = "SUCCEED", "RETRY"
    with PlainView(stream, seen=before) as shown:
        shown.show(after)
    assert stream.getvalue() == "B [2/2] SUCCEED by RETRY 12 ms\n"


def test_the_logs_are_shown_if_asked_for(make_dag):
    stream = io.StringIO()
    with PlainView(stream, verbose=True) as shown:
        shown.show(make_dag(("A", "SUCCEED", ["one", "two"])))
    assert stream.getvalue().splitlines()[1:] == ["    one", "    two"]


def test_on_a_terminal_all_stages_are_in_a_table(make_dag, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    with view(stream) as shown:
        assert isinstance(shown, LiveView)
        shown.show(make_dag(("A", "SUCCEED", [], []), ("B", "RUNNING", [], []), ("C", "PENDING")))
        shown.note("→ a note")
    drawn = stream.getvalue()
    for word in ("Stop OB", "[2/3]", "✓", "●", "2/2", "0/2", "→ a note"):
        assert word in drawn


@pytest.mark.parametrize("width", [24, 30, 40, 50, 66, 80])
def test_a_narrow_terminal_costs_names_but_no_number(make_dag, monkeypatch, width):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(width))
    stage = "Wait for all agents to execute tasks successfully"
    stream = Terminal()
    with view(stream) as shown:
        shown.show(make_dag((stage, "SUCCEED", [], []), ("B", "SUCCEED")))
    drawn = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    first, second = [line.rstrip() for line in drawn.splitlines() if line.startswith("✓")][-2:]
    assert first.endswith(" 2/2    12 ms")
    assert second.split() == ["✓", "B", "12", "ms"]
    assert (stage in first) == (width >= 66)
    assert ("…" in first) == (width < 66)


def test_a_dumb_terminal_is_not_drawn_on(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(view(Terminal()), PlainView)
