"""The only door to a server process: who it is, how to signal it, when it has ended.

A process is identified by the lock it has on its pid file, which the kernel reports, and is held
by a pidfd from then on: its number may be used again by another process, a pidfd may not.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import select
import signal
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Self

import psutil

from pyobshell import errors
from pyobshell.deadline import Deadline

_FLOCK = "hhqqi4x"  # struct flock: type, whence, start, length, pid
_DELETED = " (deleted)"
_PACE_SECONDS = 0.05


class ServerEnded(errors.OBShellError):
    """The process ended while something was awaited of it."""

    def __init__(self, pid: int) -> None:
        super().__init__(errors.SERVER_UNAVAILABLE, {"reason": f"process {pid} has ended"})


class ServerProcess:
    """One process, held so that its number cannot come to mean another; close it after use."""

    def __init__(self, pid: int, pidfd: int, started: float) -> None:
        self.pid = pid
        self.started = started
        self._pidfd = pidfd

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the process; harmless when repeated."""
        pidfd, self._pidfd = self._pidfd, -1
        if pidfd >= 0:
            os.close(pidfd)

    @property
    def ended(self) -> bool:
        """Whether the last thread is gone, so that files and ports are free."""
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        return bool(poll.poll(0))

    def send(self, number: signal.Signals) -> None:
        """Send a signal to this process and no other; nothing happens if it has ended."""
        try:
            signal.pidfd_send_signal(self._pidfd, number)
        except ProcessLookupError:
            return
        except PermissionError:
            raise errors.SERVER_PROCESS_CHECK_FAILED(
                reason=f"process {self.pid} belongs to another user"
            ) from None

    async def wait_end(self, deadline: Deadline | None = None) -> bool:
        """Wait until the process has ended; False if the deadline came first."""
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        # A loop keeps one reader per descriptor: with its own copy each wait is independent.
        pidfd = os.dup(self._pidfd)
        loop.add_reader(pidfd, ended.set)
        try:
            async with asyncio.timeout(None if deadline is None else deadline.remaining()):
                await ended.wait()
        except TimeoutError:
            return self.ended
        finally:
            loop.remove_reader(pidfd)
            os.close(pidfd)
        self._bury()
        return True

    def _bury(self) -> None:
        """Take leave of a process that became our child, or its number would stay in the list."""
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOHANG)

    async def until(
        self,
        condition: Callable[[], Awaitable[bool]],
        deadline: Deadline,
        pace: float = _PACE_SECONDS,
    ) -> bool:
        """Ask until the condition holds; False on the deadline, ``ServerEnded`` on its death.

        For what only SQL can tell; between two questions it waits for the end of the process.
        """
        while True:
            try:
                if await condition():
                    return True
            except errors.OBShellError:
                if not deadline.passed():
                    raise
            if deadline.passed():
                return False
            if await self.wait_end(deadline.within(pace)):
                raise ServerEnded(self.pid)


def lock_owner(pid_file: Path) -> int | None:
    """The process that has the write lock on the file; none if there is no lock or no file."""
    try:
        descriptor = os.open(pid_file, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise errors.SERVER_PROCESS_CHECK_FAILED(
            reason=f"{pid_file} cannot be read: {error.strerror}"
        ) from error
    try:
        asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, _, _, owner = struct.unpack(_FLOCK, fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))
    finally:
        os.close(descriptor)
    if kind == fcntl.F_UNLCK:
        return None
    if owner <= 0:  # a process outside of our pid namespace, or one that removes files here
        raise errors.SERVER_PROCESS_CHECK_FAILED(
            reason=f"{pid_file} is locked by a process that cannot be seen from here"
        )
    return int(owner)


def take_lock(pid_file: Path) -> int:
    """Lock the pid file ourselves, so that no server can start; returns the open descriptor.

    The lock belongs to the descriptor (OFD): a POSIX lock would be lost as soon as anything in
    this process closed the file, as ``lock_owner`` does.
    """
    descriptor = os.open(pid_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    wanted = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, wanted)
    except OSError as error:
        os.close(descriptor)
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            raise
        raise errors.SERVER_PROCESS_CHECK_FAILED(
            reason=f"a server runs on {pid_file.parent.parent}; stop it first"
        ) from None
    return descriptor


def open_verified(pid_file: Path, home: Path, executable: Path) -> ServerProcess | None:
    """The process that runs ``executable`` in ``home`` and holds the lock on ``pid_file``.

    None if nobody holds the lock; raises if the holder is anything but that server.
    """
    owner = lock_owner(pid_file)
    if owner is None:
        return None
    try:
        pidfd = os.pidfd_open(owner)
    except ProcessLookupError:
        return None  # it has ended just now
    try:
        # Only now that the pidfd is held does the answer to "who has the lock" stay true.
        still = lock_owner(pid_file)
        if still is None:
            raise psutil.NoSuchProcess(owner)
        if still != owner:
            raise errors.SERVER_PROCESS_CHECK_FAILED(
                reason=f"{pid_file} changed hands while it was looked at"
            )
        _require_server(owner, home, executable)
        started = psutil.Process(owner).create_time()
    except psutil.NoSuchProcess:  # it has ended just now
        os.close(pidfd)
        return None
    except BaseException:
        os.close(pidfd)
        raise
    return ServerProcess(owner, pidfd, started)


def _require_server(pid: int, home: Path, executable: Path) -> None:
    """Raise if the process is not the server, or if that cannot be told."""
    try:
        directory = Path(f"/proc/{pid}/cwd").readlink()
        program = str(Path(f"/proc/{pid}/exe").readlink())
    except (FileNotFoundError, ProcessLookupError):
        return  # it is ending, the kernel is taking its memory back: no signal can hurt it
    except PermissionError:
        raise errors.SERVER_PROCESS_CHECK_FAILED(
            reason=f"process {pid} belongs to another user and cannot be looked at"
        ) from None
    # After an upgrade the running program is a deleted file of the same name.
    if program.removesuffix(_DELETED) != str(executable.resolve()):
        raise errors.SERVER_PROCESS_CHECK_FAILED(
            reason=f"process {pid} runs {program}, not {executable.resolve()}"
        )
    if directory != home.resolve():
        raise errors.SERVER_PROCESS_CHECK_FAILED(
            reason=f"process {pid} works in {directory}, not in {home.resolve()}"
        )
