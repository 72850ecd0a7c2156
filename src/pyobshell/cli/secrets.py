"""Passwords on their way into a command: out of sight of others, and read only where needed."""

from __future__ import annotations

import ctypes
import getpass
import os
import stat
import sys
from itertools import pairwise
from pathlib import Path

from pyobshell.cli import interrupts
from pyobshell.cli.outcome import CommandError, Exit

ENVIRONMENT = "OB_ROOT_PASSWORD"
OF_AGENT = "OB_AGENT_PASSWORD"
NEW_OF_AGENT = "OB_NEW_AGENT_PASSWORD"
OF_MASTER = "OB_MASTER_AGENT_PASSWORD"
_OPTIONS = ("--password", "--rootpassword", "--rp", "--proxyro_password", "--proxyro-password")
_ARGUMENTS, _ENVIRONMENT = 47, 49  # fields of /proc/self/stat, counted from 0: where they begin


def take_from_environment(name: str = ENVIRONMENT) -> str | None:
    """The password given in the environment; asked for again there is none."""
    return os.environ.pop(name, None)


def erase_from_environment() -> None:
    """Overwrite passwords in the environment that the kernel shows of this process, and leave them
    to no process that this one starts. ``take_from_environment`` still gives them.
    """
    for name in (ENVIRONMENT, OF_AGENT, NEW_OF_AGENT, OF_MASTER):
        value = os.environ.get(name)
        if value is not None:
            os.unsetenv(name)  # behind the back of os.environ, which keeps it
            _overwrite(_ENVIRONMENT, os.fsencode(f"{name}={value}"), os.fsencode(value))


def erase_from_command_line() -> None:
    """Overwrite passwords in this process's arguments, which every user of the host can list."""
    for word in _passwords(sys.argv):
        whole = os.fsencode(word)
        _overwrite(_ARGUMENTS, whole, whole.partition(b"=")[2] if _joined(word) else whole)


def _overwrite(field: int, whole: bytes, secret: bytes) -> None:
    """Overwrite the secret at the end of one of the words that the kernel shows of this process."""
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        # What follows the name in parentheses begins with the third field.
        start, end = int(fields[field - 2]), int(fields[field - 1])
    except (OSError, ValueError, IndexError):
        return  # not the kernel we know: nothing can be hidden, and nothing is broken
    shown = b"\0" + ctypes.string_at(start, end - start)
    at = shown.find(b"\0" + whole + b"\0")
    if at >= 0:
        ctypes.memset(start + at + len(whole) - len(secret), ord("*"), len(secret))


def _passwords(words: list[str]) -> list[str]:
    """The words of a command line that are a password, or an option joined with one."""
    apart = [after for word, after in pairwise(words) if word in _OPTIONS]
    return apart + [word for word in words if _joined(word)]


def _joined(word: str) -> bool:
    option, equals, _ = word.partition("=")
    return bool(equals) and option in _OPTIONS


def find_password(given: str | None, file: Path | None, environment: str | None) -> str | None:
    """The password from the option, a file (its first line) or the environment.

    Raises ``CommandError`` for a file that cannot be read; one that others can read is warned of.
    """
    if given is not None:
        return given
    if file is None:
        return environment
    try:
        with file.expanduser().open() as opened:
            status = os.fstat(opened.fileno())
            password = opened.read().partition("\n")[0]
    except UnicodeDecodeError:
        raise CommandError(Exit.USAGE, f"{file} is no text in UTF-8") from None
    except OSError as error:
        raise CommandError(Exit.USAGE, f"{file} cannot be read: {error.strerror}") from None
    # A warning and no more: what is mounted for a container cannot have another mode.
    if stat.S_ISREG(status.st_mode) and status.st_mode & 0o077:
        sys.stderr.write(f"obshell: {file} can be read by others: chmod 600 {file}\n")
    return password


def ask_password(what: str, hint: str, *, twice: bool = False) -> str:
    """The password as somebody types it at the terminal; ``hint`` is for where there is none."""
    if not sys.stdin.isatty():
        raise CommandError(Exit.USAGE, f"the password of {what} is needed: {hint}")
    with interrupts.ending_at_once():
        password = getpass.getpass(f"Password of {what}: ")
        if twice and getpass.getpass("Once more: ") != password:
            raise CommandError(Exit.USAGE, "these are two different passwords")
    return password
