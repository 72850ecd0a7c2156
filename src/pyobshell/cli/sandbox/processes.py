"""The processes of a sandbox: which they are, and their end. Nobody else's are touched."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from pathlib import Path

import psutil

from pyobshell.cli import agents
from pyobshell.cli.outcome import CommandError, Exit
from pyobshell.cli.sandbox.record import Node, Sandbox
from pyobshell.deadline import Deadline
from pyobshell.engines.process import ServerProcess, lock_owner
from pyobshell.errors import OBShellError

# A server that stands behind another one has its home some levels further down.
_PID_FILES = ("run/*.pid", "*/run/*.pid", "*/*/run/*.pid")


def agent_of(node: Node) -> ServerProcess | None:
    """The agent of a node, to be closed by the caller."""
    return agents.find(node.base_dir)


def server_pid(node: Node) -> int | None:
    """The process of a node's server: the owner of the lock on its pid file."""
    for name in ("observer.pid", "seekdb.pid"):
        owner = lock_owner(node.base_dir / "run" / name)
        if owner is not None:
            return owner
    return None


async def end_all(sandbox: Sandbox, deadline: Deadline) -> None:
    """Kill the agents and the servers, also those that are only just being born.

    Raises ``CommandError`` if there are still some on the deadline.
    """
    while found := await asyncio.to_thread(_find, sandbox):
        ends = [agents.end(process, signal.SIGKILL, deadline) for process in found]
        if not all(await asyncio.gather(*ends)) or deadline.passed():
            pids = ", ".join(str(process.pid) for process in found)
            raise CommandError(Exit.FAILED, f"these processes do not end: {pids}")


def _find(sandbox: Sandbox) -> list[ServerProcess]:
    """Every process of the sandbox, the agents first: they would start their servers again."""
    held = {one.pid: one for node in sandbox.nodes if (one := agent_of(node)) is not None}
    for pid in psutil.pids():
        if pid in held or not _belongs(pid, sandbox):
            continue
        with suppress(ProcessLookupError, psutil.NoSuchProcess):
            process = ServerProcess(pid, os.pidfd_open(pid), psutil.Process(pid).create_time())
            # Asked again now that the process is held: its number may have been another's.
            if _belongs(pid, sandbox):
                held[pid] = process
            else:
                process.close()
    return list(held.values())


def _belongs(pid: int, sandbox: Sandbox) -> bool:
    """Whether a process is an agent or a server of the sandbox."""
    try:
        process = psutil.Process(pid)
        words = process.cmdline()
        homes = [node.base_dir for node in sandbox.nodes]
        if agents.MODULE in words and any(str(home) in words for home in homes):
            return True
        if "--base-dir" in words[:-1]:
            home = Path(words[words.index("--base-dir") + 1])
            return any(home.is_relative_to(one) for one in homes) and _is_server(words)
        return _serves(pid, words, Path(process.cwd()), sandbox)
    except (psutil.Error, OSError, OBShellError):
        return False  # it has ended, or is another user's


def _is_server(words: list[str]) -> bool:
    """Whether a command line is a server's, rather than that of somebody who looks at one."""
    return Path(words[0]).name in ("seekdb", "observer")


def _serves(pid: int, words: list[str], cwd: Path, sandbox: Sandbox) -> bool:
    """Whether a process works in one of the homes and is a server by its program or its lock."""
    for home in (node.base_dir for node in sandbox.nodes):
        if cwd.is_relative_to(home):
            files = (file for pattern in _PID_FILES for file in home.glob(pattern))
            return str(sandbox.observer) in words or any(lock_owner(f) == pid for f in files)
    return False
