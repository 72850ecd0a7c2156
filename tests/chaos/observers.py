"""Stand-in observers, which form one cluster: it can spare a minority of them."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pymysql

from chaos.cluster import Cluster, Place
from chaos.plans import Scene
from chaos.truth import Journal
from chaos.writer import Writer
from standin.places import JOURNAL
from support.observer_clusters import SixServers

_TABLE = "test.chaos"
_TENANT = "chaos"
_MAKE = (
    f"CREATE RESOURCE UNIT {_TENANT}_unit MAX_CPU 1, MIN_CPU 1, MEMORY_SIZE '2G'",
    f"CREATE RESOURCE POOL {_TENANT}_pool UNIT='{_TENANT}_unit', UNIT_NUM=2",
    f"CREATE TENANT {_TENANT} resource_pool_list=('{_TENANT}_pool')",
    f"create table {_TABLE} (n int primary key)",
)
_REMOVE = (
    f"DROP TENANT IF EXISTS {_TENANT} FORCE",
    f"DROP RESOURCE POOL IF EXISTS {_TENANT}_pool",
    f"DROP RESOURCE UNIT IF EXISTS {_TENANT}_unit",
    f"drop table if exists {_TABLE}",
)


class Observers(Cluster):
    """They share one table, in a tenant with replicas everywhere."""

    def __init__(self, six: SixServers) -> None:
        self._six = six
        members = six.members
        self.places = [Place(one, one.zone, one.node, one.password) for one in members]
        self.scene = Scene(tuple(one.zone for one in members), clustered=True)
        self.journal = Journal(six.servers.directory / JOURNAL)
        sessions = [partial(one.node.connect, user=f"root@{_TENANT}") for one in members]
        self.writers = [Writer(_TABLE, sessions, members[0].node.connect)]

    def make_tables(self) -> None:
        self._six.members[0].node.sql(*_REMOVE, *_MAKE)

    def remove_tables(self) -> None:
        with suppress(pymysql.err.MySQLError):  # the cluster may be beyond repair
            self._six.members[0].node.sql(*_REMOVE)

    def all_well(self) -> bool:
        return self._six.all_well()

    def restore(self) -> None:
        self._six.restore()

    def sql(self, statement: str) -> tuple[tuple[Any, ...], ...]:
        return self._six.sql(statement)

    def turn(self, **knobs: object) -> None:
        self._six.knobs.clear()
        if knobs:
            self._six.knobs.set(**knobs)

    def hinder(self, number: int, **how: object) -> None:
        self._six.members[number].node.faults.set(**how)

    def unhinder(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            self._six.members[number].node.faults.clear()

    def files(self) -> list[Path]:
        assert self.journal is not None
        return [*super().files(), self.journal.file]
