"""Clusters of stand-in observers with an agent beside each, as the sandbox makes them."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from obshell.service.client_v1 import OBShellHandleError, TaskExecuteFailedError

from pyobshell.client import Client
from pyobshell.settings import Paths
from standin.control import OBSERVER, Knobs
from support.running import OBSHELL, RunningAgent
from support.standin_clusters import Cluster, Node, Rows, eventually

_NOT_IN_SERVICE = "select zone from oceanbase.DBA_OB_ZONES where status = 'INACTIVE'"


@dataclass(kw_only=True)
class Member(RunningAgent):
    """An agent and the server beside it; the server is known by its rpc port."""

    node: Node
    password: str

    @property
    def zone(self) -> str:
        return self.node.zone

    @property
    def server(self) -> str:
        """What the server is called in the cluster."""
        return self.node.address

    def sdk(self, password: str | None = None) -> Any:
        return super().sdk(self.password if password is None else password)

    def server_pid(self) -> int | None:
        """The server's process, if it runs."""
        return self.node.pid if self.node.runs() else None

    def stop_servers(self, scope: str, target: list[str], **how: Any) -> Any:
        """Stop servers through the SDK, as its ``stop_sync`` but without its pauses."""
        return self.see_through(self.sdk().stop(scope, target, **how))

    def start_servers(self, scope: str, target: list[str], **how: Any) -> Any:
        """Start servers through the SDK, as its ``start_sync`` but without its pauses."""
        return self.see_through(self.sdk().start(scope, target, **how))

    def see_through(self, dag: Any) -> Any:
        """The task once it has ended, as the SDK gives it; raises what the SDK raises."""
        asyncio.run(self._hold(dag.generic_id))
        return self.sdk().wait_dag_succeed(dag.generic_id)

    async def _hold(self, task_id: str) -> None:
        async with Client.local(Paths(self.base_dir).socket) as client:
            async for _ in client.follow(task_id):
                pass


@dataclass
class SixServers:
    """Some agents with their servers, which form one cluster; ``sdk`` asks the first agent."""

    directory: Path
    password: str
    members: list[Member]
    servers: Cluster = field(init=False)

    def __post_init__(self) -> None:
        (shared,) = self.directory.glob("standin-cluster-*")
        number = int(shared.name.rpartition("-")[2])
        nodes = [member.node for member in self.members]
        self.servers = Cluster(self.directory, nodes, number)

    @property
    def sdk(self) -> Any:
        return self.members[0].sdk()

    @property
    def knobs(self) -> Knobs:
        """How long things take in the cluster, and what never comes about."""
        return self.servers.knobs

    def stop(self, scope: str, target: list[str], **how: Any) -> Any:
        """Have the first agent stop servers."""
        return self.members[0].stop_servers(scope, target, **how)

    def start(self, scope: str, target: list[str], **how: Any) -> Any:
        """Have the first agent start servers."""
        return self.members[0].start_servers(scope, target, **how)

    def in_zone(self, zone: str) -> list[Member]:
        return [member for member in self.members if member.zone == zone]

    def sql(self, statement: str) -> Rows:
        """Ask whichever server answers first."""
        for member in self.members:
            if member.node.runs() and member.node.serves():
                return member.node.sql(statement)
        raise AssertionError("no server answers")

    def pids(self) -> list[int | None]:
        return [member.server_pid() for member in self.members]

    def stopped(self) -> tuple[set[str], set[str]]:
        """Servers with a stop time, and zones that are INACTIVE."""
        rows = self.sql(
            "select svr_ip, svr_port from oceanbase.DBA_OB_SERVERS where stop_time is not null"
        )
        zones = {zone for (zone,) in self.sql(_NOT_IN_SERVICE)}
        return {f"{ip}:{port}" for ip, port in rows}, zones

    def all_well(self) -> bool:
        """Whether every server runs and serves in an ACTIVE zone, all replicas in sync."""
        runs = all(member.agent_runs() and member.server_pid() for member in self.members)
        return runs and self.servers.all_well() and not self.sql(_NOT_IN_SERVICE)

    def restore(self) -> None:
        """End what is unfinished, clear all faults, and have every server in service again."""
        self.knobs.clear()
        for member in self.members:
            member.node.faults.clear()
        for member in self.members:
            if not member.agent_runs():
                member.start()
        left = _release(self.members)
        if left or None in self.pids():
            self.start("GLOBAL", [], force_pass_dag=left or None)
        servers, zones = self.stopped()
        for zone in zones:
            self.sql(f"ALTER SYSTEM START ZONE '{zone}'")
        for server in servers:
            self.sql(f"ALTER SYSTEM START SERVER '{server}'")
        eventually(self.all_well)


def _release(members: Sequence[Member]) -> list[str]:
    """Cancel every task that runs; returns those whose agents are still locked."""
    left = []
    for dag in members[0].sdk().get_unfinished_dags():
        main = (dag.additional_data or {}).get("main_dag_id", dag.generic_id)
        left += [main] if main not in left else []
    for task in left:
        with suppress(OBShellHandleError, TaskExecuteFailedError):
            members[0].sdk().operate_dag_sync(task, "CANCEL")
    return left


def bring_up(directory: Path, nodes: int, zones: int) -> SixServers:
    """Make a cluster with the sandbox's command."""
    size = ["--nodes", str(nodes), "--zones", str(zones)]
    kind = ["--engine", "oceanbase", "--observer", str(OBSERVER)]
    where = ["--base-dir", str(directory), "--json"]
    done = subprocess.run(
        [*OBSHELL, "sandbox", "up", *size, *kind, *where],
        text=True,
        capture_output=True,
        timeout=90,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    password = told["root_password"]
    members = []
    for agent in told["agents"]:
        home = Path(agent["base_dir"])
        rpc_port = _configured(home)["rpc_port"]
        ports = (agent["sql_port"], int(rpc_port))
        node = Node(home, agent["zone"], *ports, agent["ip"], password=password)
        address = (agent["ip"], agent["port"])
        members.append(Member(*address, agent["sql_port"], home, node=node, password=password))
    return SixServers(directory, password, members)


def take_down(cluster: SixServers) -> None:
    """Remove it; nothing of it may be left."""
    down = [*OBSHELL, "sandbox", "down", "--base-dir", str(cluster.directory)]
    done = subprocess.run(down, text=True, capture_output=True, timeout=90)
    assert done.returncode == 0, done.stderr
    assert cluster.servers.processes() == []
    assert not cluster.directory.exists()


def _configured(home: Path) -> dict[str, str]:
    """What a server has stored of its options."""
    lines = (home / "etc/observer.config.bin").read_bytes().lstrip(b"\0").decode().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)
