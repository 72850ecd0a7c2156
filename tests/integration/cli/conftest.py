"""The command as a user runs it, and a sandbox that a module's tests share."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pymysql
import pytest

from pyobshell.engines.process import lock_owner
from support.forking import Forks

_PATIENCE_S = 90
_PROGRAM = "pyobshell.cli"
_LIBRARIES = ("aiomysql", "cryptography.x509", "httpx", "psutil", "pydantic", "rich.table", "typer")


@dataclass
class Obshell:
    """Runs the command, with an environment in which nothing is the user's own.

    ``command`` is for those who want it as a process that they start themselves.
    """

    environment: dict[str, str]
    cwd: Path
    forks: Forks
    command: list[str] = field(default_factory=lambda: [sys.executable, "-m", _PROGRAM])

    def __call__(
        self, *words: object, exit_code: int = 0, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        done = self.forks.run(
            [*map(str, words)], self.environment | environment, self.cwd, _PATIENCE_S
        )
        assert done.returncode == exit_code, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def json(self, *words: object, exit_code: int = 0, **environment: str) -> Any:
        """The one document that a command prints."""
        return json.loads(self(*words, "--json", exit_code=exit_code, **environment).stdout)


@dataclass
class Node:
    """An agent of a sandbox and its server."""

    ip: str
    port: int
    zone: str
    sql_port: int
    observer_pid: int
    base_dir: str

    @property
    def address(self) -> str:
        return f"{self.ip}:{self.port}"

    @property
    def agent_pid(self) -> int:
        return int(Path(self.base_dir, "run/obshell.pid").read_text())

    @property
    def server_pid(self) -> int | None:
        """The process that runs now."""
        return lock_owner(Path(self.base_dir, "run/seekdb.pid"))


@dataclass
class Box:
    """A sandbox that is up."""

    obshell: Obshell
    directory: Path
    root_password: str
    nodes: list[Node]

    def __call__(self, *words: object, **more: Any) -> subprocess.CompletedProcess[str]:
        """Run a command for the first agent."""
        return self.obshell(*words, "--base-dir", self.nodes[0].base_dir, **more)

    def json(self, *words: object, **more: Any) -> Any:
        return self.obshell.json(*words, "--base-dir", self.nodes[0].base_dir, **more)

    def connect(self, node: Node) -> pymysql.Connection:
        return pymysql.connect(
            host=node.ip,
            port=node.sql_port,
            user="root",
            password=self.root_password,
            ssl_disabled=True,
        )

    def states(self) -> list[str]:
        """The states of the servers, as the cluster tells them."""
        topology = self.json("cluster", "show")["obcluster_info"]["topology"]
        return [server["status"] for zone in topology.values() for server in zone]


@pytest.fixture(scope="session")
def surroundings(tmp_path_factory) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    state = tmp_path_factory.mktemp("state")
    return kept | {"HOME": str(state), "XDG_STATE_HOME": str(state), "TERM": "dumb"}


@pytest.fixture(scope="session")
def obshell(surroundings, tmp_path_factory) -> Iterator[Obshell]:
    forks = Forks(_PROGRAM, _LIBRARIES, surroundings)
    yield Obshell(surroundings, tmp_path_factory.mktemp("cwd"), forks)
    forks.close()


@pytest.fixture(scope="session")
def bring_up(obshell) -> Iterator[Callable[..., Box]]:
    """Bring a sandbox up; one that its test has not removed is removed in the end."""
    directories = []

    def up(directory: Path, *words: object) -> Box:
        directories.append(directory)
        told = obshell.json("sandbox", "up", "--base-dir", directory, *words)
        nodes = [Node(**agent) for agent in told["agents"]]
        return Box(obshell, directory, told["root_password"], nodes)

    yield up
    for directory in directories:
        if (directory / "sandbox.json").exists():
            obshell("sandbox", "down", "--base-dir", directory)


@pytest.fixture(scope="module")
def box(obshell, bring_up, tmp_path_factory) -> Iterator[Box]:
    """Two servers in two zones; each test leaves them running."""
    directory = tmp_path_factory.mktemp("shared") / "box"
    box = bring_up(directory, "--nodes", 2, "--name", "shared")
    yield box
    obshell("sandbox", "down", "--base-dir", directory)
    assert _processes_in(directory) == []


@pytest.fixture(scope="session")
def ended() -> Callable[..., bool]:
    """Wait for the end of a process; False if it does not come within some seconds."""
    return _ended


@pytest.fixture(scope="session")
def processes_in() -> Callable[[Path], list[psutil.Process]]:
    """The processes that work in a directory or name it in their command line."""
    return _processes_in


def _ended(pid: int, seconds: float = 20) -> bool:
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        return bool(poll.poll(seconds * 1000))
    finally:
        os.close(pidfd)


def _processes_in(directory: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            named = any(str(directory) in word for word in process.cmdline())
            if named or Path(process.cwd()).is_relative_to(directory):
                found.append(process)
    return found
