"""Real seekdb servers, each whole by itself: what is committed on one must be there again."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pymysql

from chaos.cluster import Cluster, Place
from chaos.plans import Scene
from chaos.writer import Writer
from support.running import PASSWORD, RunningAgent, RunningCluster, end_process
from support.standin_clusters import eventually

_TABLE = "test.chaos"
_PATIENCE_S = 10.0


@dataclass(frozen=True)
class _Server:
    """A server that is known by the lock on its pid file."""

    agent: RunningAgent

    @property
    def address(self) -> str:
        return f"{self.agent.ip}:{self.agent.sql_port}"

    def runs(self) -> bool:
        return self.agent.server_pid() is not None

    def kill(self) -> None:
        pid = self.agent.server_pid()
        if pid is not None:
            end_process(pid)

    def connect(self, **options: Any) -> pymysql.Connection:
        given = {"user": "root", "read_timeout": _PATIENCE_S, "autocommit": True, **options}
        given["ssl_disabled"] = True  # else each connection loads all that could be trusted
        ip, port = self.agent.ip, self.agent.sql_port
        return pymysql.connect(host=ip, port=port, password=PASSWORD.encode(), **given)

    def serves(self) -> bool:
        with suppress(pymysql.err.MySQLError):
            self.sql("show databases")
            return True
        return False

    def sql(self, *statements: str) -> None:
        with self.connect() as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)


class Seekdbs(Cluster):
    """Each has a table of its own, and somebody who writes to it; they are in turn in the zones."""

    def __init__(self, cluster: RunningCluster, zones: int) -> None:
        self._servers = [_Server(agent) for agent in cluster.agents]
        self.places = [
            Place(server.agent, f"zone{number % zones + 1}", server, PASSWORD)
            for number, server in enumerate(self._servers)
        ]
        self.scene = Scene(tuple(place.zone for place in self.places), clustered=False)
        # A name of its own: what was locked when a server was killed may not be dropped any more.
        table = f"{_TABLE}_{time.time_ns()}"
        self.writers = [Writer(table, [one.connect], one.connect) for one in self._servers]

    def make_tables(self) -> None:
        for server, writer in zip(self._servers, self.writers, strict=True):
            server.sql(f"create table {writer.table} (n int primary key)")

    def remove_tables(self) -> None:
        for server, writer in zip(self._servers, self.writers, strict=True):
            with suppress(pymysql.err.MySQLError):
                server.sql(f"drop table {writer.table}")

    def all_well(self) -> bool:
        agents = all(server.agent.agent_runs() for server in self._servers)
        return agents and all(server.serves() for server in self._servers)

    def restore(self) -> None:
        for server in self._servers:
            if not server.agent.agent_runs():
                server.agent.start()
        sdk = self._servers[0].agent.sdk()
        left = []
        for dag in sdk.get_unfinished_dags():
            main = (dag.additional_data or {}).get("main_dag_id", dag.generic_id)
            left += [main] if main not in left else []
        sdk.start_sync("GLOBAL", [], force_pass_dag=left or None)
        eventually(self.all_well)
