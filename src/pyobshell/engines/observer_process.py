"""Finds the process of an observer: the one its pid file names, if it is what it should be.

A number in a file outlives its process, and may come to mean another. It is believed only of a
process that works in the server's home and runs the server's program.
"""

from __future__ import annotations

import os
from pathlib import Path

import psutil

from pyobshell import errors
from pyobshell.engines.process import ServerProcess

_DELETED = " (deleted)"
_PID_DIGITS = 7
_COMM_LENGTH = 15  # what the kernel keeps of a program's name


def open_observer(pid_file: Path, home: Path, program: Path) -> ServerProcess | None:
    """The observer of ``home``, held by a pidfd; None if it does not run.

    Raises ``OB.Server.Process.CheckFailed`` for one that cannot be looked at.
    """
    pid = _noted(pid_file)
    if pid is None:
        return None
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    try:
        # Only now that the pidfd is held does the number mean one process.
        if not _is_observer(pid, home, program):
            os.close(pidfd)
            return None
        started = psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:  # it has ended just now
        os.close(pidfd)
        return None
    except BaseException:
        os.close(pidfd)
        raise
    process = ServerProcess(pid, pidfd, started)
    if process.ended:  # a zombie, which nobody has buried
        process.close()
        return None
    return process


def _noted(pid_file: Path) -> int | None:
    try:
        text = pid_file.read_bytes().strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise errors.SERVER_PROCESS_CHECK_FAILED(
            reason=f"{pid_file} cannot be read: {error.strerror}"
        ) from error
    # Bytes are digits only if they are ASCII's. A pid has seven at most.
    return int(text) if text.isdigit() and len(text) <= _PID_DIGITS and int(text) > 1 else None


def _is_observer(pid: int, home: Path, program: Path) -> bool:
    process = psutil.Process(pid)
    # Of a script the kernel knows the interpreter; the name is the server's all the same.
    named = process.name()[:_COMM_LENGTH] == program.name[:_COMM_LENGTH]
    try:
        if Path(f"/proc/{pid}/cwd").readlink() != home:
            return False
        executable = str(Path(f"/proc/{pid}/exe").readlink())
    except (FileNotFoundError, ProcessLookupError):
        return named  # it is ending, the kernel is taking its memory back: no signal can hurt it
    except PermissionError:
        if not named:
            return False  # a process that got the number of a server that has ended
        raise errors.SERVER_PROCESS_CHECK_FAILED(
            reason=f"process {pid} belongs to another user and cannot be looked at"
        ) from None
    # After an upgrade the running program is a deleted file of the same name.
    return named or executable.removesuffix(_DELETED) == str(program.resolve())
