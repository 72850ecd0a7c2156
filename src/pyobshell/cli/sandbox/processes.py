"""The processes of a sandbox: which they are, and their end. Nobody else's are touched."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

import psutil

from pyobshell.cli import agents
from pyobshell.cli.outcome import CommandError, Exit
from pyobshell.cli.sandbox.record import Node, Sandbox
from pyobshell.deadline import Deadline
from pyobshell.engines import make_engine
from pyobshell.engines.occupied import holders_of
from pyobshell.engines.process import ServerProcess, lock_owner
from pyobshell.errors import OBShellError
from pyobshell.settings import Paths

# A server that stands behind another one has its home some levels further down.
_PID_FILES = ("run/*.pid", "*/run/*.pid", "*/*/run/*.pid")
_PACE_S = 0.1


def agent_of(node: Node) -> ServerProcess | None:
    """The agent of a node, to be closed by the caller."""
    return agents.find(node.base_dir)


async def server_of(sandbox: Sandbox, node: Node) -> ServerProcess | None:
    """The server of a node, to be closed by the caller; none if nothing is provably it."""
    paths = Paths(node.base_dir)
    try:
        engine = make_engine(sandbox.engine, node.base_dir, paths.state_dir, sandbox.observer)
        return await engine.process()
    except OBShellError:
        return None


async def server_pid(sandbox: Sandbox, node: Node) -> int | None:
    """The process of a node's server, if it runs."""
    process = await server_of(sandbox, node)
    if process is None:
        return None
    with process:
        return process.pid


# --- the end of all ------------------------------------------------------------------------------


async def end_all(sandbox: Sandbox, deadline: Deadline) -> None:
    """Kill the agents and the servers, also those that are only just being born.

    Raises ``CommandError`` if there are still some on the deadline.
    """
    while found := await _find(sandbox):
        ends = [agents.end(process, signal.SIGKILL, deadline) for process in found]
        if not all(await asyncio.gather(*ends)) or deadline.passed():
            pids = ", ".join(str(process.pid) for process in found)
            raise CommandError(Exit.FAILED, f"these processes do not end: {pids}")


async def until_let_go(places: Collection[Path], deadline: Deadline) -> None:
    """Wait until nobody has a file open there; raises ``CommandError`` on the deadline."""
    while holders := await asyncio.to_thread(holders_of, places):
        for holder in holders:
            with suppress(ProcessLookupError):
                process = ServerProcess(holder.pid, os.pidfd_open(holder.pid), 0)
                with process:
                    await process.wait_end(deadline.within(_PACE_S))
        if deadline.passed():
            who = ", ".join(map(str, holders))
            raise CommandError(Exit.FAILED, f"the sandbox's files are in use by {who}")


async def _find(sandbox: Sandbox) -> list[ServerProcess]:
    """Every process of the sandbox, the agents first: they would start their servers again."""
    held = {one.pid: one for node in sandbox.nodes if (one := agent_of(node)) is not None}
    for node in sandbox.nodes:
        server = await server_of(sandbox, node)
        if server is not None:
            held[server.pid] = server
    for process in await asyncio.to_thread(_others, sandbox, set(held)):
        held[process.pid] = process
    return list(held.values())


def _others(sandbox: Sandbox, known: Collection[int]) -> list[ServerProcess]:
    """Those that cannot be found by their files, or not yet."""
    held = []
    for pid in psutil.pids():
        if pid in known or not _belongs(pid, sandbox):
            continue
        with suppress(ProcessLookupError, psutil.NoSuchProcess):
            process = ServerProcess(pid, os.pidfd_open(pid), psutil.Process(pid).create_time())
            # Asked again now that the process is held: its number may have been another's.
            if _belongs(pid, sandbox):
                held.append(process)
            else:
                process.close()
    return held


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
