"""Going into the background: the launcher waits until the daemon serves, or says why not."""

from __future__ import annotations

import fcntl
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from standin.files import Home

Report = Callable[[str], None]
_READY = "ready"


class StartError(Exception):
    """Why a server does not start."""


def launch(home: Home, serve: Callable[[Report], None]) -> int:
    """Run ``serve`` in a daemon; returns the exit code of the launcher.

    The daemon calls what it is given with "" when it serves. Any exception before that is what
    the launcher prints.
    """
    reading, writing = os.pipe()
    if os.fork():
        os.close(writing)
        with os.fdopen(reading) as told:
            verdict = told.read()
        if verdict == _READY:
            return 0
        print(verdict or "the server ended while starting", file=sys.stderr)
        return 1
    os.close(reading)
    os.setsid()

    def report(problem: str) -> None:
        nonlocal writing
        if writing >= 0:
            os.write(writing, (problem or _READY).encode())
            os.close(writing)
            writing = -1

    try:
        _settle(home)
        serve(report)
    except BaseException as error:
        report(f"observer start fail: {error}")
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(1)


def own_pid_file(file: Path) -> None:
    """Take the lock on the pid file and write the pid; raises if another process has it."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        owner = os.read(descriptor, 20).decode().strip()
        raise StartError(f"observer is already running as process {owner}") from error
    os.truncate(descriptor, 0)
    os.pwrite(descriptor, str(os.getpid()).encode(), 0)


def _settle(home: Home) -> None:
    own_pid_file(home.pid_file)
    Path("/proc/self/comm").write_text("observer")
    log = os.open(home.log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(nothing)
    os.close(log)
