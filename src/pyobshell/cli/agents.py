"""Agents as processes of their own: launched detached, found again by their home, ended."""

from __future__ import annotations

import json
import os
import select
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from signal import Signals
from typing import Any, TextIO

import psutil

from pyobshell.cli.outcome import CommandError, Exit
from pyobshell.deadline import Deadline
from pyobshell.engines.process import ServerProcess
from pyobshell.settings import Paths
from pyobshell.socket_name import short_name

MODULE = "pyobshell.cli.detached"
_PEER = struct.Struct("3i")  # struct ucred: pid, uid, gid


@dataclass(frozen=True)
class Running:
    """An agent that has said that it serves."""

    pid: int
    address: str
    base_dir: Path
    note: str = ""

    @property
    def document(self) -> dict[str, Any]:
        """What others' scripts are told of it."""
        told = {"pid": self.pid, "address": self.address, "base_dir": str(self.base_dir)}
        return {**told, "note": self.note} if self.note else told


class Launch:
    """An agent on its way up, and the pipe on which it says how that went."""

    def __init__(self, base_dir: Path, pipe: TextIO) -> None:
        self.base_dir = base_dir
        self._pipe = pipe

    def wait(self, deadline: Deadline) -> Running:
        """Return when the agent serves; raises ``CommandError`` with the reason if it will not.

        An agent whose launcher has gone away before it serves ends again.
        """
        with self._pipe as pipe:
            if not select.select([pipe], [], [], deadline.remaining())[0]:
                raise CommandError(
                    Exit.DAEMON_LOST,
                    f"the agent on {self.base_dir} was not up within {deadline.seconds:g} s; "
                    f"see {Paths(self.base_dir).log_file}",
                )
            word = pipe.readline()
        if not word:
            raise CommandError(
                Exit.DAEMON_LOST,
                f"the agent on {self.base_dir} ended without a word; "
                f"see {Paths(self.base_dir).log_dir}",
            )
        said = json.loads(word)
        if "error" in said:
            raise CommandError(Exit(said["exit"]), said["error"])
        return Running(said["pid"], said["address"], self.base_dir, said["note"])


def launch(
    all_settings: Sequence[dict[str, Any]], take_over: dict[str, Any] | None = None
) -> list[Launch]:
    """Start agents as daemons, all at once: one process loads the program and forks for each.

    Each of the settings must have ``base_dir``; ``take_over`` has the fields of
    ``agent.TakeOver``. The homes are arguments of the daemons, so that an administrator, and
    ``sandbox down``, can tell them apart.
    """
    pipes = [os.pipe() for _ in all_settings]
    homes = [str(settings["base_dir"]) for settings in all_settings]
    work = [
        {"settings": settings, "report": writing, "take_over": take_over or {}}
        for settings, (_, writing) in zip(all_settings, pipes, strict=True)
    ]
    try:
        launcher = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", MODULE, *homes],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=[writing for _, writing in pipes],
            cwd="/",
            text=True,
        )
        launcher.communicate(json.dumps(work, default=str))
    finally:
        for _, writing in pipes:
            os.close(writing)
    return [
        Launch(Path(home), os.fdopen(reading, "r"))
        for home, (reading, _) in zip(homes, pipes, strict=True)
    ]


def find(base_dir: Path) -> ServerProcess | None:
    """The agent that runs on a home, held so that nobody else can be signalled in its place.

    It is a process that has the home's lock file open; an agent alone opens that, and keeps it
    open as long as it lives. To be closed by the caller.
    """
    paths = Paths(base_dir.resolve())
    for pid in _candidates(paths):
        found = None if pid is None else _held(pid, paths.lock)
        if found is not None:
            return found
    return None


def _candidates(paths: Paths) -> Iterator[int | None]:
    """Who may be the agent: any of its files below ``run`` may have been lost."""
    yield _listener(paths.socket)
    yield _written(paths.pid_file)
    yield _lock_holder(paths.lock)


def _listener(path: Path) -> int | None:
    """The process that listens on a socket, as the kernel knows it."""
    try:
        with short_name(path) as name, socket.socket(socket.AF_UNIX) as asking:
            asking.setblocking(False)  # it connects at once or not at all
            asking.connect(name)
            answer = asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    except OSError:
        return None
    pid: int = _PEER.unpack(answer)[0]
    return pid


def _written(pid_file: Path) -> int | None:
    """The process that a file names."""
    try:
        return int(pid_file.read_text())
    except (OSError, ValueError):
        return None


def _lock_holder(file: Path) -> int | None:
    """The process that has locked a file, as the kernel lists it."""
    try:
        number = str(file.stat().st_ino)
        locks = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return None
    for kind, _, _, pid, where, *_ in (line.split()[1:] for line in locks if "->" not in line):
        if kind == "FLOCK" and where.rpartition(":")[2] == number:
            return int(pid)
    return None


def _held(pid: int, lock: Path) -> ServerProcess | None:
    """A process, if it has the lock file open."""
    try:
        pidfd = os.pidfd_open(pid)
    except (OSError, ValueError, OverflowError):
        return None
    try:
        if _has_open(pid, lock):
            return ServerProcess(pid, pidfd, psutil.Process(pid).create_time())
    except psutil.NoSuchProcess:
        pass
    except PermissionError:
        os.close(pidfd)
        raise CommandError(
            Exit.PERMISSION,
            f"process {pid} of another user may be the agent on {lock.parent.parent}",
        ) from None
    os.close(pidfd)
    return None


def _has_open(pid: int, file: Path) -> bool:
    with suppress(FileNotFoundError, ProcessLookupError):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError, ProcessLookupError):
                if descriptor.readlink() == file:
                    return True
    return False


async def end(process: ServerProcess, number: Signals, deadline: Deadline) -> bool:
    """Send a signal to a process and wait for its end; False on the deadline. Closes it.

    One that is paused (SIGSTOP) goes on, for so long it would not take note of the signal.
    """
    with process:
        process.send(number)
        process.send(Signals.SIGCONT)
        return await process.wait_end(deadline)
