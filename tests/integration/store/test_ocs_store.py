"""The store on a real database: migrations, transactions, losses of connection."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pymysql
import pytest
from sqlalchemy import text

from pyobshell import errors
from pyobshell.errors import OBShellError
from pyobshell.store.database import Database
from pyobshell.store.migrate import migrate_ocs
from pyobshell.store.tables import metadata
from pyobshell.tasks import lease
from support.waiting import PATIENCE_S, soon

pytestmark = pytest.mark.anyio

ADD = text("INSERT INTO setting (name, value) VALUES (:name, :value)")
ALL = text("SELECT name FROM setting ORDER BY name")


def add(name, value=""):
    def work(connection):
        connection.execute(ADD, {"name": name, "value": value})
        return name

    return work


def names(connection):
    return list(connection.execute(ALL).scalars())


@pytest.fixture
def database(line):
    database = Database.mysql(line, lease.wait_for_turn)
    yield database
    database.close()


class Blocked:
    """Keeps the writer busy, so that what is asked for meanwhile becomes one group."""

    def __init__(self, database) -> None:
        self._begun, self._end = threading.Event(), threading.Event()
        self._job = database.submit(self._block)
        assert self._begun.wait(PATIENCE_S)

    def _block(self, _connection):
        self._begun.set()
        assert self._end.wait(PATIENCE_S)

    def release(self) -> None:
        self._end.set()
        self._job.result(PATIENCE_S)


# --- migrations ----------------------------------------------------------------------------------


async def test_every_table_is_there_with_every_column(ocs):
    rows = ocs.rows(
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'ocs'"
    )
    declared = {
        (table.name, column.name) for table in metadata.tables.values() for column in table.c
    }
    assert declared <= set(rows)
    assert {table for table, _ in rows} == {*metadata.tables, "alembic_version", "migration"}


async def test_names_are_told_apart_by_case(database):
    await database.write(add("name"))
    await database.write(add("NAME"))
    assert await database.read(names) == ["NAME", "name"]


async def test_what_stages_publish_and_log_may_be_long(ocs):
    long = ocs.rows(
        "SELECT table_name, column_name FROM information_schema.columns"
        " WHERE table_schema = 'ocs' AND data_type = 'mediumtext'"
    )
    assert set(long) == {
        ("dag", "params"),
        ("dag", "data"),
        ("sub_task", "data"),
        ("sub_task_log", "content"),
    }


async def test_several_agents_may_migrate_at_once_and_take_up_what_was_left_half_done(ocs):
    ocs.rows(
        "DROP TABLE maintainer",
        "ALTER TABLE node DROP COLUMN parallel",
        "UPDATE alembic_version SET version_num = '0001'",
        "DROP TABLE server_setting",
        "DELETE FROM alembic_version",
    )
    with ThreadPoolExecutor(4) as agents:
        migrating = [agents.submit(migrate_ocs, ocs.connect) for _ in range(4)]
        for one in migrating:
            one.result(PATIENCE_S)
    await test_every_table_is_there_with_every_column(ocs)
    assert ocs.rows("SELECT id, epoch FROM maintainer") == ((1, 0),)


# --- transactions --------------------------------------------------------------------------------


async def test_of_a_group_each_fails_or_succeeds_alone(database):
    await database.write(add("one"))
    blocked = Blocked(database)
    jobs = [database.submit(add(name)) for name in ("two", "one", "three")]
    blocked.release()
    results = await asyncio.gather(*map(asyncio.wrap_future, jobs), return_exceptions=True)
    assert (results[0], results[2]) == ("two", "three")
    assert isinstance(results[1], OBShellError)
    assert results[1].code is errors.MYSQL_ERROR
    assert "1062" in str(results[1])
    assert "INSERT" not in str(results[1])
    assert await database.read(names) == ["one", "three", "two"]


async def test_of_several_writers_each_waits_for_its_turn(database, ocs):
    others = [Database.mysql(ocs.connect, lease.wait_for_turn) for _ in range(3)]
    await database.write(add("count", "0"))

    def count(connection):
        (value,) = connection.execute(text("SELECT value FROM setting")).one()
        connection.execute(text("UPDATE setting SET value = :v"), {"v": str(int(value) + 1)})

    await asyncio.gather(*(one.write(count) for one in (database, *others) for _ in range(5)))
    assert ocs.rows("SELECT value FROM setting") == (("20",),)
    for one in others:
        one.close()


async def test_all_that_is_read_together_is_of_one_moment(database):
    await database.write(add("one"))
    between, written = threading.Event(), threading.Event()

    def read_twice(connection):
        before = names(connection)
        between.set()
        assert written.wait(PATIENCE_S)
        return before, names(connection)

    reading = asyncio.create_task(database.read(read_twice))
    await asyncio.to_thread(between.wait, PATIENCE_S)
    await database.write(add("two"))
    written.set()
    assert await soon(reading) == (["one"], ["one"])
    assert await database.read(names) == ["one", "two"]


# --- losses --------------------------------------------------------------------------------------


async def test_a_connection_that_was_lost_is_made_again_and_nothing_is_done_twice(database, line):
    for number in range(3):
        await database.write(add(f"{number}"))
        assert len(await database.read(names)) == number + 1
        line.drop()


async def test_a_server_that_cannot_be_reached_is_an_error_of_the_catalogue(database, line):
    line.cut()
    for asked in (database.write(add("one")), database.read(names)):
        with pytest.raises(OBShellError) as failed:
            await soon(asked)
        assert failed.value.code is errors.SERVER_UNAVAILABLE
    line.mend()
    await database.write(add("two"))
    assert await database.read(names) == ["two"]


async def test_a_wrong_password_is_an_error_and_stands_in_no_text(ocs):
    def connect(database):
        return pymysql.connect(
            unix_socket=str(ocs.socket), user="root", password="s3cret", database=database
        )

    database = Database.mysql(connect)
    for asked in (database.write(names), database.read(names)):
        with pytest.raises(OBShellError) as failed:
            await soon(asked)
        assert failed.value.code is errors.MYSQL_ERROR
        assert "s3cret" not in str(failed.value)
        assert failed.value.__cause__ is None
    database.close()
    with pytest.raises(OBShellError):
        migrate_ocs(connect)


async def test_a_lock_that_is_held_too_long_is_an_error_of_the_catalogue(ocs):
    database = Database.mysql(ocs.connect, lease.wait_for_turn, statement_s=0.2)
    with ocs.connect("ocs") as other, other.cursor() as cursor:
        cursor.execute("SELECT 1 FROM maintainer FOR UPDATE")
        with pytest.raises(OBShellError) as failed:
            await soon(database.write(names))
        assert failed.value.code in (errors.MYSQL_ERROR, errors.SERVER_UNAVAILABLE)
    assert await database.write(names) == []
    database.close()
