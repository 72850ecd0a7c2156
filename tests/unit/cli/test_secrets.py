"""Passwords are erased from what every user of the host can list."""

from __future__ import annotations

import subprocess
import sys

import pytest

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
