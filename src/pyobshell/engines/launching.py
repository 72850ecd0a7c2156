"""Runs a server's program to its end: its launcher, or a question about its version."""

from __future__ import annotations

import os
import select
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from pyobshell import errors
from pyobshell.deadline import Deadline
from pyobshell.engines import cores

_LAUNCHER_SECONDS = 30.0  # it takes 0.1
_PACE_MILLISECONDS = 5
_LOG_TAIL_BYTES = 1 << 18
_LOG_LINE_LENGTH = 400
_INHERITED = ("PATH", "HOME", "LANG")
_UMASK = 0o077  # data and redo log hold all rows, and what passwords are checked against


def launch_daemon(
    command: list[str],
    is_seen: Callable[[], bool],
    *,
    home: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> tuple[int, str]:
    """Run a launcher, which leaves a daemon behind; returns its exit code and what it printed.

    On 0 the daemon can be seen, which may come after the launcher's exit, or has ended: it has
    inherited the other end of a pipe, which tells.
    """
    lifeline, inherited = os.pipe()
    try:
        try:
            code, printed = run_program(command, inherited, home=home, environment=environment)
        finally:
            os.close(inherited)
        life = select.poll()
        life.register(lifeline, select.POLLIN)
        deadline = Deadline.after(_LAUNCHER_SECONDS)
        while code == 0 and not is_seen() and not life.poll(_PACE_MILLISECONDS):
            if deadline.passed():
                raise errors.SERVER_UNAVAILABLE(
                    reason=f"{command[0]} has started a server, but it leaves no trace of itself"
                )
    finally:
        os.close(lifeline)
    return code, printed


def run_program(
    command: list[str],
    *inherited: int,
    home: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> tuple[int, str]:
    """Run a command in ``home`` with these descriptors; returns its exit code and what it printed.

    A daemon it leaves behind knows nothing of our environment but where programs are, and this.
    """
    known = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    # A file, not a pipe: a daemon that kept the pipe open would keep us reading.
    with tempfile.TemporaryFile() as output:
        try:
            with cores.as_started():
                process = subprocess.Popen(  # noqa: S603 - a list of words, and no shell
                    command,
                    cwd=home,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env=known | dict(environment or {}),
                    pass_fds=inherited,
                    umask=_UMASK,
                )
            code = _end_of(process)
        except (OSError, ValueError, subprocess.TimeoutExpired) as error:
            raise errors.SERVER_UNAVAILABLE(
                reason=f"{command[0]} cannot be run: {error}"
            ) from error
        output.seek(0)
        return code, output.read().decode(errors="replace")


def _end_of(process: subprocess.Popen[bytes]) -> int:
    """The exit code of a program; one that takes too long is killed, and an error."""
    with process:
        try:
            return process.wait(_LAUNCHER_SECONDS)
        except BaseException:
            process.kill()
            raise


def last_line(printed: str) -> str:
    """The last of what a program printed, for an error."""
    lines = printed.strip().splitlines()
    return lines[-1] if lines else "it printed nothing"


def last_error(log: Path, offset: int) -> str | None:
    """The last line of level ERROR that a server's log has got since it had this size."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            begin = offset if offset <= size else 0  # a smaller log is a new one
            file.seek(max(begin, size - _LOG_TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return None
    found = [line for line in lines if "] ERROR " in line]
    return found[-1][:_LOG_LINE_LENGTH] if found else None


def size_of(log: Path) -> int:
    """The size of a log before a start, for ``last_error``."""
    return log.stat().st_size if log.exists() else 0
