"""What stops a command becomes one line and an exit code."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest
import typer

from pyobshell import errors
from pyobshell.cli.outcome import CommandError, Exit, Finished, reporting, run
from pyobshell.client import ApiError, Unreachable


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (CommandError(Exit.LISTEN_FAILED, "x"), 21),
        (ApiError(400, "OB.Zone.NotExist", "x"), 3),
        (Unreachable("10.0.0.1:2886", "refused"), 4),
        (errors.INVALID_IP(text="x"), 2),
        (PermissionError(13, "denied", "/x"), 27),
        (OSError(errno.EROFS, "Read-only file system", "/x"), 27),
        (ValueError("x"), 1),
        (KeyboardInterrupt(), 130),
        (Finished(Exit.FAILED), 1),
    ],
)
def test_each_kind_of_error_has_its_exit_code(error, code):
    with pytest.raises(typer.Exit) as ended, reporting(as_json=False):
        raise error
    assert ended.value.exit_code == code


def test_an_error_is_one_line_on_stderr_with_its_code(capsys):
    with pytest.raises(typer.Exit), reporting(as_json=False):
        raise ApiError(400, "OB.Zone.NotExist", "Zone 'z'\ndoes not exist")
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "obshell: [OB.Zone.NotExist] Zone 'z' does not exist\n"


@pytest.mark.parametrize(("silent", "command"), [(False, "start"), (True, "doctor")])
def test_who_gets_no_answer_on_this_host_is_told_what_to_do(capsys, silent, command):
    socket = Path("/data/o b/run/obshell.sock")
    with pytest.raises(typer.Exit), reporting(as_json=False):
        raise Unreachable(str(socket), "Server disconnected", socket=socket, silent=silent)
    said = capsys.readouterr().err
    assert said.endswith(f"obshell agent {command} --base-dir '/data/o b'\n")


def test_with_json_an_error_is_the_one_document(capsys):
    with pytest.raises(typer.Exit), reporting(as_json=True):
        raise ApiError(400, "OB.Zone.NotExist", "no zone")
    document = json.loads(capsys.readouterr().out)
    assert document == {"error": {"code": "OB.Zone.NotExist", "message": "no zone"}}


def test_a_cancelled_piece_of_work_counts_as_interrupted():
    async def work() -> None:
        import asyncio

        raise asyncio.CancelledError

    with pytest.raises(typer.Exit) as ended:
        run(work(), as_json=False)
    assert ended.value.exit_code == Exit.INTERRUPTED
