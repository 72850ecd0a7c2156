"""How a command can end: its exit code, and the one line that says why."""

from __future__ import annotations

import errno
import json
import os
import shlex
import sys
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from pyobshell.visible import spelled_out

if TYPE_CHECKING:
    from pyobshell.client import Unreachable


class Exit(IntEnum):
    """Exit codes; those from 16 on are OBShell's, for the agent's own process."""

    OK = 0
    FAILED = 1  # the operation was carried out and failed
    USAGE = 2  # the command makes no sense as given, or was not confirmed
    REFUSED = 3  # the agent refused the request
    UNREACHABLE = 4  # no agent answers
    NO_IP = 17
    INVALID_ADDRESS = 18
    ADDRESS_CHANGED = 19
    START_FAILED = 20
    LISTEN_FAILED = 21
    PERMISSION = 27
    ROOT_PASSWORD = 28
    DAEMON_LOST = 30
    DAMAGED = 33  # OBShell has no such code
    INTERRUPTED = 130


def in_options(text: str) -> str:
    """What an agent says, with the options of commands in place of its API's fields."""
    return text.replace("forcePassDag", "--force-pass-dag")


class CommandError(Exception):
    """A command cannot go on; its text is for the user."""

    def __init__(self, exit_code: Exit, message: str, code: str = "") -> None:
        self.exit_code = exit_code
        self.code = code
        super().__init__(message)


class Finished(Exception):  # noqa: N818 - it is no error
    """A command has said all it had to say, and ends with this exit code."""

    def __init__(self, exit_code: Exit) -> None:
        self.exit_code = exit_code
        super().__init__(exit_code)


@contextmanager
def reporting(*, as_json: bool) -> Iterator[None]:
    """Whatever stops a command's work becomes one line and an exit code."""
    try:
        yield
    except (Finished, typer.Exit) as finished:
        raise typer.Exit(finished.exit_code) from None
    except KeyboardInterrupt:
        fail(CommandError(Exit.INTERRUPTED, "interrupted"), as_json=as_json)
    except BrokenPipeError:
        silence_what_is_gone()  # whoever read our output has read enough
        raise typer.Exit(Exit.FAILED) from None
    except Exception as error:
        if "PYOBSHELL_TRACEBACK" in os.environ:
            raise
        fail(described(error), as_json=as_json)


def run(work: Coroutine[Any, Any, None], *, as_json: bool) -> None:
    """Do a command's work, reporting what stops it."""
    import asyncio  # here, as `--help` needs none

    with reporting(as_json=as_json):
        try:
            asyncio.run(work)
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None  # by another signal, with the same meaning


def fail(error: CommandError, *, as_json: bool) -> NoReturn:
    """End the command with an error: a line on stderr, and a document on stdout if JSON is due."""
    text = spelled_out(" ".join(str(error).split("\n")))
    try:
        sys.stderr.write(f"obshell: {f'[{error.code}] ' if error.code else ''}{text}\n")
        if as_json:
            print_error(str(error), error.code)
    except OSError:
        silence_what_is_gone()
    raise typer.Exit(error.exit_code) from None


def print_error(message: str, code: str = "") -> None:
    """The one document of a command that ends with an error."""
    document = {"error": {"code": code, "message": message}}
    sys.stdout.write(spelled_out(json.dumps(document, ensure_ascii=False)) + "\n")
    sys.stdout.flush()


def silence_what_is_gone() -> None:
    """Turn output that nobody receives elsewhere: the interpreter would complain at its end."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def forbidden(error: OSError) -> bool:
    """Whether the system does not let this user do something, which trying again will not mend."""
    return error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)


def words_of(error: OSError) -> str:
    """An error of the system in words: what it is about, and what is wrong."""
    why = (error.strerror or type(error).__name__).lower()
    return why if error.filename is None else f"{error.filename}: {why}"


def described(error: Exception) -> CommandError:
    """Any error as one that a user can read."""
    if isinstance(error, CommandError):
        return error
    from pyobshell.client import ApiError, Unreachable
    from pyobshell.errors import OBShellError

    if isinstance(error, ApiError):
        return CommandError(Exit.REFUSED, in_options(str(error)), error.code)
    if isinstance(error, Unreachable):
        return CommandError(Exit.UNREACHABLE, f"no agent answers at {error}{_way_out(error)}")
    if isinstance(error, OBShellError):
        return CommandError(Exit.USAGE, str(error), error.code.name)
    if isinstance(error, OSError) and forbidden(error):
        return CommandError(Exit.PERMISSION, words_of(error))
    return CommandError(Exit.FAILED, str(error) or type(error).__name__, type(error).__name__)


def _way_out(error: Unreachable) -> str:
    """What the user can do about an agent of this host that does not answer."""
    if error.socket is None:
        return ""
    home = shlex.quote(str(error.socket.parent.parent))
    if error.silent:
        return f"; to see what it is at: obshell agent doctor --base-dir {home}"
    return f"; if it does not run, start it: obshell agent start --base-dir {home}"
