"""Passwords are erased from what others can list, and are read from where nobody else can look."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from pyobshell.cli.outcome import CommandError
from pyobshell.cli.secrets import find_password

_SHOW = """
import sys
from pathlib import Path
from pyobshell.cli.secrets import erase_from_command_line
erase_from_command_line()
print(Path("/proc/self/cmdline").read_bytes())
print(sys.argv[1:])
"""


@pytest.mark.parametrize(
    ("words", "secrets"),
    [
        (["init", "--rp", "s3cret"], ["s3cret"]),
        (["init", "--rootpassword=s3cret", "-n", "x"], ["s3cret"]),
        (["init", "--proxyro_password", "pass-wörd", "--password=p=q"], ["pass-wörd", "p=q"]),
    ],
)
def test_a_password_disappears_from_the_process_list_but_not_from_the_program(words, secrets):
    shown = subprocess.run(
        [sys.executable, "-c", _SHOW, *words], text=True, capture_output=True, check=True
    )
    listed, kept = shown.stdout.splitlines()
    assert kept == str(words)
    for secret in secrets:
        assert repr(secret.encode())[2:-1] not in listed
    assert "*" * len(secrets[0].encode()) in listed
    assert "init" in listed


def test_a_command_line_without_password_stays_as_it_is():
    words = ["cluster", "stop", "--force-pass-dag", "12"]
    shown = subprocess.run(
        [sys.executable, "-c", _SHOW, *words], text=True, capture_output=True, check=True
    )
    assert "cluster\\x00stop\\x00--force-pass-dag\\x0012" in shown.stdout


_ENVIRONMENT = """
import os, subprocess
from pathlib import Path
from pyobshell.cli.secrets import erase_from_environment, take_from_environment
erase_from_environment()
print(Path("/proc/self/environ").read_bytes())
print(subprocess.run(["env"], capture_output=True, text=True).stdout.splitlines())
print(take_from_environment(), take_from_environment())
print(Path("/proc/self/environ").read_bytes())
"""


@pytest.mark.parametrize("secret", ["s3cret", "pass=wörd ' \"", ""])
def test_a_password_disappears_from_the_environment_and_is_inherited_by_nobody(secret):
    shown = subprocess.run(
        [sys.executable, "-c", _ENVIRONMENT],
        env={"OB_ROOT_PASSWORD": secret, "OTHER": "stays", "PATH": os.defpath, "LANG": "C.UTF-8"},
        text=True,
        capture_output=True,
        check=True,
    )
    before, inherited, taken, after = shown.stdout.splitlines()
    assert taken == f"{secret} None"
    assert "OB_ROOT_PASSWORD" not in inherited
    stars = b"OB_ROOT_PASSWORD=" + b"*" * len(secret.encode()) + b"\0"
    for listed in (before, after):
        assert repr(stars)[2:-1] in listed
        assert "OTHER=stays" in listed
        assert not secret or repr(secret.encode())[2:-1] not in listed


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_password_is_the_first_line_of_a_file(tmp_path, capsys, mode):
    file = tmp_path / "password"
    file.write_text("pass wörd \nnote\n")
    file.chmod(mode)
    assert find_password(None, file, "other") == "pass wörd "
    assert find_password("given", file, "other") == "given"
    assert find_password(None, None, "other") == "other"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o622])
def test_whoever_gives_a_file_that_others_can_read_is_warned(tmp_path, capsys, mode):
    file = tmp_path / "password"
    file.write_text("s3cret")
    file.chmod(mode)
    assert find_password(None, file, None) == "s3cret"
    warning = capsys.readouterr().err
    assert warning == f"obshell: {file} can be read by others: chmod 600 {file}\n"


def test_a_file_that_cannot_be_read_is_said_so_without_what_is_in_it(tmp_path):
    with pytest.raises(CommandError, match="cannot be read"):
        find_password(None, tmp_path, None)
    file = tmp_path / "binary"
    file.write_bytes(b"s3cret\xff")
    with pytest.raises(CommandError, match="is no text") as refused:
        find_password(None, file, None)
    assert "s3cret" not in str(refused.value)
    assert refused.value.__cause__ is None
