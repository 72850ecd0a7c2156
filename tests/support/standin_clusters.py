"""Clusters of stand-in observers, run and asked as their operator would."""

from __future__ import annotations

import itertools
import os
import random
import select
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pymysql
import pytest

from standin.control import OBSERVER, Faults, Knobs

PATIENCE_S = 30.0
CLUSTER_ID = 7
_UNWELL = (
    "select svr_port from oceanbase.DBA_OB_SERVERS where status != 'ACTIVE' or stop_time is"
    " not null or start_service_time is null union all select svr_port"
    " from oceanbase.GV$OB_LOG_STAT where in_sync = 'NO'"
)
Rows = tuple[tuple[Any, ...], ...]


def eventually(condition: Callable[[], Any], patience_s: float = PATIENCE_S) -> Any:
    """The first true value of the condition, which nothing tells of."""
    end = time.monotonic() + patience_s
    while not (value := condition()):
        assert time.monotonic() < end, "it did not come about"
        select.select([], [], [], 0.05)
    return value


def free_ports(count: int) -> list[int]:
    """Ports below those that the kernel gives to clients."""
    found: list[int] = []
    while len(found) < count:
        port = random.randrange(12000, 32000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("0.0.0.0", port))
            found += [port] if port not in found else []
    return found


@dataclass
class Node:
    """One server."""

    home: Path
    zone: str
    sql_port: int
    rpc_port: int
    ip: str = "127.0.0.1"
    cluster_id: int = CLUSTER_ID
    password: str = ""

    @property
    def address(self) -> str:
        ip = f"[{self.ip}]" if ":" in self.ip else self.ip
        return f"{ip}:{self.rpc_port}"

    @property
    def pid(self) -> int:
        return int((self.home / "run/observer.pid").read_text())

    @property
    def faults(self) -> Faults:
        return Faults(self.home)

    def first_options(self) -> list[str]:
        options = ["-n", "a cluster", "-c", str(self.cluster_id), "-z", self.zone]
        options += ["-p", str(self.sql_port), "-P", str(self.rpc_port), "-I", self.ip]
        return [*options, "-d", str(self.home / "store")]

    def run(self, *options: str) -> subprocess.CompletedProcess[str]:
        """Run the program in the home, through a link as an operator does."""
        (self.home / "bin").mkdir(parents=True, exist_ok=True)
        (self.home / "store").mkdir(exist_ok=True)
        program = self.home / "bin/observer"
        if not program.is_symlink():
            program.symlink_to(OBSERVER)
        return subprocess.run(
            [program, *options], cwd=self.home, text=True, capture_output=True, timeout=PATIENCE_S
        )

    def runs(self) -> bool:
        """Whether its process lives; one that has not written its pid yet is not running yet."""
        with suppress(FileNotFoundError, ValueError, psutil.Error):
            return Path(psutil.Process(self.pid).cwd()) == self.home
        return False

    def start(self, *options: str) -> None:
        """Start it; options are added to those of a first start."""
        first = not (self.home / "etc/observer.config.bin").exists()
        done = self.run(*(self.first_options() if first else []), *options)
        assert done.returncode == 0, done.stderr

    def signal(self, number: int) -> None:
        """Send a signal; after SIGKILL, return when it has ended."""
        pidfd = os.pidfd_open(self.pid)
        signal.pidfd_send_signal(pidfd, number)
        if number == signal.SIGKILL:
            assert select.select([pidfd], [], [], PATIENCE_S)[0]
        os.close(pidfd)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)

    def redeploy(self) -> None:
        """Remove a dead server's files, and start it as a new one."""
        shutil.rmtree(self.home)
        self.start()

    def connect(self, **options: Any) -> pymysql.Connection:
        password = options.pop("password", self.password).encode()  # the driver takes latin1
        given = {"user": "root", "password": password, "read_timeout": PATIENCE_S, **options}
        given["ssl_disabled"] = True  # else each connection loads all that could be trusted
        return pymysql.connect(host=self.ip, port=self.sql_port, autocommit=True, **given)

    def sql(self, *statements: str, **options: Any) -> Rows:
        """Run statements in one session; returns the rows of the last."""
        with self.connect(**options) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            rows: Rows = cursor.fetchall()
            return rows

    def fails(self, statement: str, **options: Any) -> tuple[int, str]:
        """The error that a statement gives."""
        with pytest.raises(pymysql.err.MySQLError) as failed:
            self.sql(statement, **options)
        number, message = failed.value.args
        return number, message

    def serves(self) -> bool:
        """Whether it takes statements that need tables."""
        with suppress(pymysql.err.MySQLError):
            return bool(self.sql("set ob_query_timeout = 1000000", "show databases"))
        return False


@dataclass
class Cluster:
    """Servers that belong together."""

    base: Path
    nodes: list[Node] = field(default_factory=list)
    cluster_id: int = CLUSTER_ID
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def directory(self) -> Path:
        """What they share."""
        return self.base / f"standin-cluster-{self.cluster_id}"

    @property
    def knobs(self) -> Knobs:
        return Knobs.beside(self.nodes[0].home, self.cluster_id)

    def add(self, zone: str) -> Node:
        """One more, not started."""
        ports = free_ports(2)
        home = self.base / f"node{next(self.numbers)}"
        password = self.nodes[0].password if self.nodes else ""
        node = Node(home, zone, *ports, cluster_id=self.cluster_id, password=password)
        self.nodes.append(node)
        return node

    def bootstrap(self) -> None:
        """The first of each zone with BOOTSTRAP, the rest with ADD SERVER."""
        first: dict[str, Node] = {}
        for node in self.nodes:
            first.setdefault(node.zone, node)
        places = ", ".join(f"ZONE '{zone}' SERVER '{node.address}'" for zone, node in first.items())
        self.nodes[0].sql(f"ALTER SYSTEM BOOTSTRAP {places}")
        for node in self.nodes:
            if node not in first.values():
                self.nodes[0].sql(f"ALTER SYSTEM ADD SERVER '{node.address}' ZONE '{node.zone}'")

    def statuses(self, asked: Node | None = None) -> dict[int, str]:
        rows = (asked or self.nodes[0]).sql("select svr_port, status from oceanbase.DBA_OB_SERVERS")
        names = {node.rpc_port: number for number, node in enumerate(self.nodes)}
        return {names[port]: status for port, status in rows}

    def restore(self) -> None:
        """Clear all faults, start all that is down or stopped, and wait until all is well."""
        self.knobs.clear()
        dead = [node for node in self.nodes if not node.runs()]
        start_all(dead)
        for node in self.nodes:
            node.faults.clear()
        for node in dead:
            eventually(node.serves)
        with self.nodes[0].connect() as connection, connection.cursor() as cursor:

            def names(statement: str) -> list[str]:
                cursor.execute(statement)
                return [name for (name,) in cursor.fetchall()]

            inactive = "select zone from oceanbase.DBA_OB_ZONES where status = 'INACTIVE'"
            for zone in names(inactive):
                cursor.execute(f"ALTER SYSTEM START ZONE '{zone}'")
            users = "select tenant_name from oceanbase.DBA_OB_TENANTS where tenant_type = 'USER'"
            for tenant in names(users):
                cursor.execute(f"DROP TENANT {tenant} FORCE")
            unused = "select name from oceanbase.DBA_OB_RESOURCE_POOLS where tenant_id is null"
            for pool in names(unused):
                cursor.execute(f"DROP RESOURCE POOL {pool}")
            every = ", ".join(f"'{node.address}'" for node in self.nodes)
            cursor.execute(f"ALTER SYSTEM START SERVER {every}")
            eventually(lambda: not names(_UNWELL))

    def all_well(self, asked: Node | None = None) -> bool:
        """Whether all serve, and all replicas are in sync."""
        return not (asked or self.nodes[0]).sql(_UNWELL)

    def processes(self) -> list[psutil.Process]:
        """All that run because of this cluster."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                cwd = Path(process.cwd())
                if self.base in (cwd, *cwd.parents):
                    found.append(process)
        return found

    def destroy(self) -> None:
        """End all of it; the hub last, which the servers would start again."""
        for name in ("observer", "standin-hub", ""):
            for process in self.processes():
                with suppress(psutil.Error):
                    if name in process.name():
                        process.kill()
        eventually(lambda: not self.processes())
        if self.base.exists():  # who made the servers may have removed it
            shutil.rmtree(self.base)


def start_all(nodes: Sequence[Node]) -> None:
    """Start them at the same time."""
    running = []
    for node in nodes:
        (node.home / "store").mkdir(parents=True, exist_ok=True)
        first = not (node.home / "etc/observer.config.bin").exists()
        options = node.first_options() if first else []
        running.append(subprocess.Popen([OBSERVER, *options], cwd=node.home))
    for process in running:
        assert process.wait(PATIENCE_S) == 0
