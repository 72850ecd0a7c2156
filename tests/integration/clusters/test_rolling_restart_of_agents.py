"""A rolling restart of real agents and servers, of which nothing is lost whatever happens."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pymysql
import pytest

from support.observer_clusters import Member, SixServers
from support.restarting import Restart, last_logs
from support.running import end_process
from support.standin_clusters import eventually

_DOWN = (
    "select distinct s.zone from oceanbase.DBA_OB_SERVERS s join oceanbase.DBA_OB_ZONES z"
    " on s.zone = z.zone where s.status != 'ACTIVE' or s.start_service_time is null"
    " or s.stop_time is not null or z.status != 'ACTIVE'"
)


class Client:
    """Asks one server after the other, as a client does that reconnects."""

    def __init__(self, cluster: SixServers) -> None:
        self._members = cluster.members
        self._connection: pymysql.Connection | None = None
        self._turn = 0

    def ask(self, statement: str) -> tuple[tuple[Any, ...], ...] | None:
        """Rows, or None if no answer came; the statement may have been done all the same."""
        try:
            if self._connection is None:
                self._turn = (self._turn + 1) % len(self._members)
                self._connection = self._members[self._turn].node.connect(read_timeout=5)
            with self._connection.cursor() as cursor:
                cursor.execute(statement)
                return cursor.fetchall()
        except pymysql.err.MySQLError:
            if self._connection is not None:
                with suppress(pymysql.err.MySQLError):
                    self._connection.close()
            self._connection = None
            return None


@contextmanager
def going_on(act: Callable[[], object]) -> Iterator[None]:
    """Have it done again and again by a thread; what it raises is raised in the end."""
    end, failures = threading.Event(), []

    def work() -> None:
        try:
            while not end.wait(0.02):
                act()
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()
    if failures:
        raise failures[0]


@contextmanager
def unreadable(file: Path) -> Iterator[None]:
    """Have a server's file be one that its next start cannot open."""
    kept = file.rename(file.with_suffix(".kept"))
    file.mkdir()
    try:
        yield
    finally:
        file.rmdir()
        kept.rename(file)


@pytest.mark.long
def test_rows_are_inserted_all_the_time_though_coordinator_and_members_are_killed(
    cluster: SixServers,
) -> None:
    writing, watching = Client(cluster), Client(cluster)
    assert writing.ask("create table test.rolled (n int primary key)") is not None
    kept: list[int] = []
    tried = iter(range(1_000_000))
    down: list[set[str]] = []

    def insert() -> None:
        number = next(tried)
        if writing.ask(f"insert into test.rolled values ({number})") is not None:
            kept.append(number)

    def look() -> None:
        rows = watching.ask(_DOWN)
        if rows is not None:
            down.append({zone for (zone,) in rows})

    before = cluster.pids()
    coordinator = cluster.members[0]
    with going_on(insert), going_on(look):
        restart = Restart(coordinator)
        eventually(lambda: restart.stage() == "Restart observers of zone2")
        killed = [coordinator, *cluster.in_zone("zone2")]
        for member in killed:
            end_process(member.pid())
        with ThreadPoolExecutor(len(killed)) as starting:
            list(starting.map(Member.start, killed))
        dag = restart.ended()
    assert (dag["state"], dag["max_stage"]) == ("SUCCEED", 21), last_logs(dag)
    assert all(new and new != old for new, old in zip(cluster.pids(), before, strict=True))
    assert max(map(len, down)) == 1
    order = [zones for zones in down if zones]
    assert list(dict.fromkeys(map(min, order))) == ["zone2", "zone3", "zone1"]
    assert cluster.stopped() == (set(), set())
    rows = cluster.sql("select n from test.rolled")
    assert kept
    assert not set(kept) - {n for (n,) in rows}
    cluster.sql("drop table test.rolled")


@pytest.mark.long
def test_a_server_that_does_not_start_ends_it_and_after_its_repair_it_goes_on(
    cluster: SixServers,
) -> None:
    broken = cluster.in_zone("zone2")[1]
    before = cluster.pids()
    untouched = [n for n, member in enumerate(cluster.members) if member.zone != "zone2"]
    with unreadable(broken.node.home / "store/sstable/block_file"):
        restart = Restart(cluster.members[0])
        dag = restart.ended()
        assert (dag["state"], dag["stage"]) == ("FAILED", 6)
        *_, out, advice, _ = last_logs(dag)
        assert out.startswith("Out of service: zone zone2 is stopped; ")
        assert f"{broken.server} is INACTIVE" in out
        assert "It stopped at zone2. RETRY of this task goes on from here" in advice
        after = cluster.pids()
        assert all(after[n] == before[n] for n in untouched)
    cluster.knobs.set(out_of_sync=[cluster.in_zone("zone2")[0].server])
    restart.operate("RETRY")
    eventually(lambda: any("not in sync" in line for line in last_logs(restart.dag())))
    assert restart.stage() == "Wait until all is in sync after zone2"
    restart.operate("CANCEL")
    assert restart.ended()["state"] == "FAILED"
    after = cluster.pids()
    assert all(after[n] == before[n] for n in untouched)
    cluster.knobs.clear()
    restart.operate("RETRY")
    assert restart.ended()["state"] == "SUCCEED"
    assert all(new != old for new, old in zip(cluster.pids(), before, strict=True))
