"""Passwords on their way into a command: out of sight of others, and read only where needed."""

from __future__ import annotations

import ctypes
import getpass
import os
import sys
from itertools import pairwise
from pathlib import Path

from pyobshell.cli import interrupts
from pyobshell.cli.outcome import CommandError, Exit

ENVIRONMENT = "OB_ROOT_PASSWORD"
_OPTIONS = ("--password", "--rootpassword", "--rp", "--proxyro_password", "--proxyro-password")
_ARG_START, _ARG_END = 47, 48  # fields of /proc/self/stat, counted from 0


def take_from_environment() -> str | None:
    """The password given in the environment, which no process that we start shall inherit."""
    return os.environ.pop(ENVIRONMENT, None)


def erase_from_command_line() -> None:
    """Overwrite passwords in this process's arguments, which every user of the host can list."""
    given = list(_passwords(sys.argv))
    if not given:
        return
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        # What follows the name in parentheses begins with the third field.
        start, end = int(fields[_ARG_START - 2]), int(fields[_ARG_END - 2])
    except (OSError, ValueError, IndexError):
        return  # not the kernel we know: nothing can be hidden, and nothing is broken
    arguments = ctypes.string_at(start, end - start)
    for word in given:
        whole = os.fsencode(word)
        secret = whole.partition(b"=")[2] if _joined(word) else whole
        at = arguments.find(b"\0" + whole + b"\0")
        if at >= 0:
            ctypes.memset(start + at + 1 + len(whole) - len(secret), ord("*"), len(secret))


def _passwords(words: list[str]) -> list[str]:
    """The words of a command line that are a password, or an option joined with one."""
    apart = [after for word, after in pairwise(words) if word in _OPTIONS]
    return apart + [word for word in words if _joined(word)]


def _joined(word: str) -> bool:
    option, equals, _ = word.partition("=")
    return bool(equals) and option in _OPTIONS


def find_password(given: str | None, file: Path | None, environment: str | None) -> str | None:
    """The password from the option, a file (its first line) or the environment."""
    if given is not None:
        return given
    if file is None:
        return environment
    try:
        return file.expanduser().read_text().partition("\n")[0]
    except OSError as error:
        raise CommandError(Exit.USAGE, f"{file} cannot be read: {error.strerror}") from None


def ask_password(what: str, hint: str, *, twice: bool = False) -> str:
    """The password as somebody types it at the terminal; ``hint`` is for where there is none."""
    if not sys.stdin.isatty():
        raise CommandError(Exit.USAGE, f"the password of {what} is needed: {hint}")
    with interrupts.ending_at_once():
        password = getpass.getpass(f"Password of {what}: ")
        if twice and getpass.getpass("Once more: ") != password:
            raise CommandError(Exit.USAGE, "these are two different passwords")
    return password
