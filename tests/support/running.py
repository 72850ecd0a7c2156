"""Real agents with real servers, brought up through the official SDK as its users do."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pymysql
from obshell import ClientSet
from obshell.auth import PasswordAuth

from pyobshell.cli.sandbox.ports import hold
from pyobshell.engines.process import lock_owner

PASSWORD = "pa'ss\"w\\ord-密码"
LOOPBACK = "127.0.0.1"
OBSHELL = [sys.executable, "-m", "pyobshell.cli"]


@dataclass
class RunningAgent:
    """An agent started by its command, with a base directory of its own."""

    ip: str
    port: int
    sql_port: int
    base_dir: Path
    settings: tuple[str, ...] = ()

    @property
    def address(self) -> str:
        return f"[{self.ip}]:{self.port}" if ":" in self.ip else f"{self.ip}:{self.port}"

    def command(
        self, verb: str, *options: str, password: str | None = None, of: str = "agent"
    ) -> subprocess.CompletedProcess[str]:
        command = [*OBSHELL, of, verb, "--base-dir", str(self.base_dir), *options]
        given = {} if password is None else {"OB_ROOT_PASSWORD": password}
        environment = os.environ | given
        return subprocess.run(command, text=True, capture_output=True, timeout=60, env=environment)

    def start(self) -> None:
        more = [word for setting in self.settings for word in ("--set", setting)]
        started = self.command("start", "--ip", self.ip, "--port", str(self.port), *more)
        assert started.returncode == 0, started.stderr

    def pid(self) -> int:
        return int((self.base_dir / "run" / "obshell.pid").read_text())

    def agent_runs(self) -> bool:
        with suppress(FileNotFoundError, ProcessLookupError):
            os.kill(self.pid(), 0)
            return True
        return False

    def sdk(self, password: str = PASSWORD) -> Any:
        """The official client of this agent."""
        return ClientSet(self.ip, self.port, PasswordAuth(password)).v1

    def server_pid(self) -> int | None:
        """The owner of the lock on the server's pid file."""
        return lock_owner(self.base_dir / "run" / "seekdb.pid")

    def sql(self, statement: str, *arguments: Any) -> tuple[tuple[Any, ...], ...]:
        """Rows of a statement, over TCP as users send it."""
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute(statement, arguments)
            return cursor.fetchall()

    def connect(self) -> pymysql.Connection:
        return pymysql.connect(
            host=self.ip,
            port=self.sql_port,
            user="root",
            password=PASSWORD.encode(),
            autocommit=True,
            ssl_disabled=True,
        )

    def end(self) -> None:
        """Leave no process behind, whatever state it is in."""
        pid_file = self.base_dir / "run" / "obshell.pid"
        if pid_file.exists():
            end_process(int(pid_file.read_text()))
        pid = self.server_pid()  # asked last: a living agent may bring a server back
        if pid is not None:
            end_process(pid)


@dataclass
class RunningCluster:
    """Some agents that form a cluster, one in each zone."""

    agents: list[RunningAgent] = field(default_factory=list)

    @property
    def sdk(self) -> Any:
        return self.agents[0].sdk()

    def server_pids(self) -> list[int | None]:
        return [agent.server_pid() for agent in self.agents]


def stage_logs(node: Any) -> str:
    """What one stage of a task logged, as the SDK gives it."""
    return "\n".join(line for task in node.sub_tasks for line in task.task_logs or [])


def logs(dag: Any) -> str:
    """What all stages of a task logged, as the SDK gives it."""
    return "\n".join(map(stage_logs, dag.nodes))


def end_process(pid: int) -> None:
    """Kill a process and wait until it has ended."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        assert select.select([pidfd], [], [], 20)[0]
    except ProcessLookupError:
        pass
    finally:
        os.close(pidfd)


@contextmanager
def running_agents(count: int, ip: str = LOOPBACK, *settings: str) -> Iterator[list[RunningAgent]]:
    """So many agents that know nothing of each other."""
    directory = Path(tempfile.mkdtemp(prefix="obshell-test-"))
    with hold(2 * count) as ports:  # held to the end: servers are stopped and started in between
        agents = [
            RunningAgent(ip, ports[2 * n], ports[2 * n + 1], directory / str(n), settings)
            for n in range(count)
        ]
        try:
            with ThreadPoolExecutor(count) as starting:
                list(starting.map(RunningAgent.start, agents))
            yield agents
        finally:
            for agent in agents:
                agent.end()
            shutil.rmtree(directory)


@contextmanager
def running_cluster(
    count: int, ip: str = LOOPBACK, *settings: str, zones: int | None = None
) -> Iterator[RunningCluster]:
    """A cluster, made through the SDK, of so many zones: as many as agents if not said."""
    with running_agents(count, ip, *settings) as agents:
        sdk = agents[0].sdk()
        for number, agent in enumerate(agents):
            sdk.join_sync(agent.ip, agent.port, f"zone{number % (zones or count) + 1}")
        for agent in agents:
            options = {"mysql_port": str(agent.sql_port)}
            sdk.config_observer_sync(options, "SERVER", [agent.address])
        sdk.config_obcluster_sync("test", 7, PASSWORD)
        sdk.init_sync()
        yield RunningCluster(agents)
