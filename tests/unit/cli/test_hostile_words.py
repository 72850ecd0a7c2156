"""What agents and servers say is shown, and never obeyed by the terminal."""

from __future__ import annotations

import io
import json

import pytest
from typer import Exit as Ended

from pyobshell.cli import outcome, output
from pyobshell.cli.progress import LiveView
from pyobshell.visible import spelled_out

HOSTILE = "\x1b]0;owned\x07\x1b[2Jzone\x9b1A\r\u202e\x08"


def is_harmless(text):
    return all(character.isprintable() or character in "\n\t" for character in text)


def test_what_a_terminal_would_obey_is_spelled_out_and_the_rest_stays():
    assert spelled_out("zone\t密码 ✓\n") == "zone\t密码 ✓\n"
    assert spelled_out("\x1b[31m\x9b\u2028\udcff") == r"\u001b[31m\u009b\u2028\udcff"


def test_lines_tables_and_documents_are_harmless(capsys):
    output.say(HOSTILE)
    output.print_table(["ZONE"], [[HOSTILE]])
    assert is_harmless(capsys.readouterr().out)
    output.print_json({"name": HOSTILE})
    document = capsys.readouterr().out
    assert is_harmless(document)
    assert json.loads(document) == {"name": HOSTILE}


def test_errors_are_harmless(capsys):
    with pytest.raises(Ended):
        outcome.fail(outcome.CommandError(outcome.Exit.REFUSED, HOSTILE), as_json=True)
    told = capsys.readouterr()
    assert is_harmless(told.out)
    assert is_harmless(told.err)
    assert json.loads(told.out)["error"]["message"] == HOSTILE


def test_notes_above_a_table_that_moves_are_harmless():
    stream = io.StringIO()
    LiveView(stream).note(HOSTILE)
    assert is_harmless(stream.getvalue())
