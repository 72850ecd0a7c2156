"""What keeps SQLite from working is told with a code, harms nothing, and passes when it is over."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from contextlib import closing

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from pyobshell import errors
from pyobshell.errors import OBShellError
from pyobshell.store.database import Database
from pyobshell.store.sqlite import DamagedError, coded, is_undone, reading

pytestmark = pytest.mark.anyio
ADD = text("INSERT INTO setting (name, value) VALUES (:name, :value)")
ALL = text("SELECT name FROM setting ORDER BY name")


def add(name, value="v"):
    return lambda connection: connection.execute(ADD, {"name": name, "value": value})


def add_much(name):
    return add(name, "x" * 1_000_000)


def names(connection):
    return list(connection.execute(ALL).scalars())


async def limit_pages(database, more):
    """Have the file hold so many more pages, as if no space were left."""

    def limit(connection):
        used = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {used + more}")

    await database.write(limit)


async def test_on_a_full_disk_a_write_is_refused_and_reads_go_on_until_there_is_space(
    database, database_file
):
    await database.write(add("before"))
    await database.prove_writable()
    await limit_pages(database, 10)
    with pytest.raises(OBShellError, match="no space is left") as refused:
        await database.write(add_much("lost"))
    assert refused.value.code is errors.STORE_UNAVAILABLE
    assert str(database_file) in str(refused.value)
    home = database_file.parent.parent
    assert f"on its host: obshell agent doctor --base-dir {home}" in str(refused.value)
    assert await database.read(names) == ["before"]
    await limit_pages(database, 10_000)
    await database.write(add_much("later"))
    assert await database.read(names) == ["before", "later"]


async def test_of_writes_that_wait_together_those_that_do_not_fit_say_why(database):
    await limit_pages(database, 10)
    go_on = threading.Event()
    database.submit(lambda _: go_on.wait(20))
    jobs = [database.submit(work) for work in (add_much("lost"), add("little"))]
    go_on.set()
    with pytest.raises(OBShellError, match="no space is left"):
        jobs[0].result(20)
    outcome = jobs[1].exception(20)
    assert outcome is None or "no space is left" in str(outcome)
    assert ("little" in await database.read(names)) == (outcome is None)


_FULL = """
import asyncio, resource, sys
from pathlib import Path
from pyobshell.store.database import Database
from sqlalchemy import text

file = Path(sys.argv[1])
log = file.with_name(file.name + "-wal")
ADD = text("INSERT INTO setting (name, value) VALUES (:name, :value)")
ALL = text("SELECT name FROM setting")

def allow(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

async def main():
    database = Database.sqlite(file)
    async def add(name, value):
        await database.write(lambda c: c.execute(ADD, {"name": name, "value": value}))
        return name
    async def names():
        return await database.read(lambda c: list(c.execute(ALL).scalars()))
    print(await names())
    await add("before", "")
    allow(log.stat().st_size + 10_000)
    for name in ("lost", "lost too"):
        try:
            print(await add(name, "x" * 50_000))
        except Exception as error:
            print(type(error).__name__, getattr(error, "code", error), "ulimit -f" in str(error))
    print(await names())
    allow(resource.RLIM_INFINITY)
    print(await add("later", "x" * 50_000), await names())
    database.close()

asyncio.run(main())
"""


def test_a_log_that_cannot_grow_in_the_middle_of_a_commit_leaves_nothing_of_it(database_file):
    """The system itself refuses to write on, in the middle of what a COMMIT writes."""
    words = [sys.executable, "-c", _FULL, str(database_file)]
    told = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert told.stderr == ""
    lines = told.stdout.splitlines()
    assert lines[0] == "[]"
    assert [line.split()[0] for line in lines[1:3]] == ["OBShellError"] * 2
    assert all("Agent.Store.Unavailable" in line for line in lines[1:3])
    assert all(line.endswith("True") for line in lines[1:3])
    assert lines[3:] == ["['before']", "later ['before', 'later']"]


async def test_a_database_that_another_process_has_locked_is_said_to_be(database_file):
    database = Database.sqlite(database_file)
    await database.write(lambda c: c.exec_driver_sql("PRAGMA busy_timeout = 1"))
    with closing(sqlite3.connect(database_file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(OBShellError, match="another process has locked it"):
            await database.write(add("one"))
        other.execute("ROLLBACK")
    await database.write(add("two"))
    assert await database.read(names) == ["two"]
    database.close()


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (sqlite3.SQLITE_FULL, "no space is left"),
        (sqlite3.SQLITE_READONLY, "it is read-only"),
        (sqlite3.SQLITE_READONLY_DIRECTORY, "it is read-only"),
        (sqlite3.SQLITE_IOERR_FSYNC, "reading or writing it fails (SQLITE_IOERR_FSYNC)"),
        (sqlite3.SQLITE_CANTOPEN, "it cannot be opened"),
        (sqlite3.SQLITE_BUSY, "another process has locked it"),
        (sqlite3.SQLITE_CORRUPT, "it is damaged"),
        (sqlite3.SQLITE_NOTADB, "it is damaged"),
    ],
)
def test_each_error_is_told_in_words_without_the_statement(tmp_path, number, words):
    raw = sqlite3.OperationalError("x")
    raw.sqlite_errorcode = number
    raw.sqlite_errorname = "SQLITE_IOERR_FSYNC"
    for error in (raw, OperationalError("INSERT s3cret", {}, raw)):
        told = coded(tmp_path / "meta.db", error)
        assert isinstance(told, OBShellError)
        assert told.code is errors.STORE_UNAVAILABLE
        assert words in str(told)
        assert "s3cret" not in str(told)
        damaged = number in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
        assert isinstance(told, DamagedError) == damaged
        assert is_undone(error) == (number != sqlite3.SQLITE_IOERR_FSYNC)


def test_other_errors_are_as_they_are(tmp_path):
    for error in (ValueError("x"), sqlite3.OperationalError("no code"), errors.ZONE_NAME_EMPTY()):
        assert coded(tmp_path, error) is error
        assert not is_undone(error)


def test_an_empty_file_is_not_opened_as_the_log_beside_it_would_be_lost(tmp_path):
    file, log = tmp_path / "meta.db", tmp_path / "meta.db-wal"
    file.touch()
    log.write_text("log")
    with pytest.raises(DamagedError, match="it is empty"), reading(file):
        pass
    assert log.read_text() == "log"
