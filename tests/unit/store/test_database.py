"""What is written is on disk, in order, and the failure of one undoes nothing of another."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import wait

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import IntegrityError, OperationalError

from pyobshell import errors
from pyobshell.errors import OBShellError
from pyobshell.store.database import Database, InDoubtError, Kind, sqlite_engine
from support.waiting import soon

pytestmark = pytest.mark.anyio
PATIENCE_S = 20
ADD = text("INSERT INTO setting (name, value) VALUES (:name, :value)")
ALL = text("SELECT name FROM setting ORDER BY name")
IN_ORDER = text("SELECT name FROM setting ORDER BY rowid")


def add(name):
    """Work that adds a row and returns its name."""

    def work(connection):
        connection.execute(ADD, {"name": name, "value": "v"})
        return name

    return work


def add_and_fail(name):
    """Work that adds a row and then raises."""

    def work(connection):
        add(name)(connection)
        raise ValueError(name)

    return work


def names(connection):
    return list(connection.execute(ALL).scalars())


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


@pytest.fixture
def commits(database):
    """How often the writer has committed, as it goes."""
    seen = []
    event.listen(database._writer, "commit", seen.append)
    return lambda: len(seen)


async def test_what_is_written_is_read_and_its_result_returned(database):
    assert await database.write(add("one")) == "one"
    assert await database.read(names) == ["one"]


async def test_what_was_written_is_there_when_the_file_is_opened_again(database_file):
    first = Database.sqlite(database_file)
    await first.write(add("one"))
    last = first.submit(add("two"))
    first.close()
    assert last.result(0) == "two"
    second = Database.sqlite(database_file)
    assert await second.read(names) == ["one", "two"]
    second.close()


async def test_what_is_written_is_on_disk_before_anybody_is_told(database, database_file):
    """Another connection, as that of a next life, sees it at that very moment."""
    witness = sqlite_engine(database_file)
    seen = []

    def look(_future):
        with witness.connect() as connection:
            seen.append(names(connection))

    job = database.submit(add("one"))
    job.add_done_callback(look)
    job.result(PATIENCE_S)
    await database.write(add("two"))  # the callback was called before this was begun
    assert seen[0] == ["one"]
    witness.dispose()


async def test_every_commit_is_flushed_and_the_log_is_written_ahead(database):
    def pragmas(connection):
        return [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        ]

    assert await database.write(pragmas) == ["wal", 2, 1]
    assert await database.read(pragmas) == ["wal", 2, 1]


async def test_transactions_that_wait_together_are_committed_together(database, commits):
    blocked = Blocked(database)
    jobs = [database.submit(add(f"{n:03}")) for n in range(100)]
    before = commits()
    blocked.release()
    wait(jobs, PATIENCE_S)
    assert [job.result(0) for job in jobs] == [f"{n:03}" for n in range(100)]
    assert len(await database.read(names)) == 100
    assert commits() - before == 2  # that of what blocked, and that of the group


async def test_a_commit_that_fails_fails_alone(database, monkeypatch):
    await database.write(add("before"))
    dialect = database._writer.dialect

    def do_commit(_connection):
        raise dialect.loaded_dbapi.OperationalError("no space left")

    with monkeypatch.context() as patched:
        patched.setattr(dialect, "do_commit", do_commit)
        with pytest.raises(OperationalError, match="no space left"):
            await database.write(add("lost"))
    await database.write(add("later"))
    assert await database.read(names) == ["before", "later"]


async def test_a_failing_job_does_not_undo_its_neighbours_in_the_group(database, commits):
    blocked = Blocked(database)
    before = commits()
    good = [database.submit(add(name)) for name in ("a", "b")]
    bad = [database.submit(add_and_fail(name)) for name in ("c", "d")]
    twice = database.submit(add("a"))
    later = database.submit(add("c"))
    blocked.release()
    assert [job.result(PATIENCE_S) for job in (*good, later)] == ["a", "b", "c"]
    for job, name in zip(bad, ("c", "d"), strict=True):
        with pytest.raises(ValueError, match=name):
            job.result(PATIENCE_S)
    with pytest.raises(IntegrityError):
        twice.result(PATIENCE_S)
    assert await database.read(names) == ["a", "b", "c"]
    assert commits() - before == 2


async def test_a_group_that_cannot_be_committed_fails_as_a_whole(database):
    def break_the_transaction(connection):
        connection.exec_driver_sql("ROLLBACK")

    blocked = Blocked(database)
    jobs = [database.submit(add("a")), database.submit(break_the_transaction)]
    blocked.release()
    for job in jobs:
        with pytest.raises(OperationalError):
            job.result(PATIENCE_S)
    assert await database.read(names) == []
    assert await database.write(add("b")) == "b"


async def test_jobs_are_done_in_the_order_in_which_they_were_given(database):
    blocked = Blocked(database)
    ended = []
    jobs = []
    for n in range(600):  # more than one group takes
        job = database.submit(add(f"{n}"))
        job.add_done_callback(lambda _, n=n: ended.append(n))
        jobs.append(job)
    blocked.release()
    wait(jobs, PATIENCE_S)
    await database.write(add("last"))
    assert ended == list(range(600))
    rows = await database.read(lambda c: list(c.execute(IN_ORDER).scalars()))
    assert rows == [*map(str, range(600)), "last"]


async def test_a_write_sees_what_was_submitted_before_it(database):
    database.submit(add("one"))
    assert await database.write(names) == ["one"]


async def test_a_reader_is_not_held_up_by_the_writer_and_sees_what_is_committed(database):
    await database.write(add("one"))
    blocked = Blocked(database)
    database.submit(add("two"))
    assert await soon(database.read(names)) == ["one"]
    blocked.release()
    await database.write(names)
    assert await database.read(names) == ["one", "two"]


async def test_work_that_nobody_waits_for_any_more_is_left_out_if_it_has_not_begun(database):
    blocked = Blocked(database)
    writing = asyncio.create_task(database.write(add("one")))
    await asyncio.sleep(0)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    blocked.release()
    await database.write(add("two"))
    assert await database.read(names) == ["two"]


async def test_closing_finishes_what_was_asked_for(database_file):
    database = Database.sqlite(database_file)
    blocked = Blocked(database)
    jobs = [database.submit(add(f"{n}")) for n in range(300)]
    closing = asyncio.create_task(asyncio.to_thread(database.close))
    blocked.release()
    await soon(closing)
    assert [job.result(0) for job in jobs] == [f"{n}" for n in range(300)]


async def test_a_closed_database_refuses_work_and_may_be_closed_again(database_file):
    database = Database.sqlite(database_file)
    database.close()
    with pytest.raises(RuntimeError, match="closed"):
        await soon(database.write(add("one")))
    with pytest.raises(RuntimeError):
        await soon(database.read(names))
    database.close()


# --- kinds of databases --------------------------------------------------------------------------


class PassingError(Exception):
    """What may be otherwise at the next attempt."""


class RefusedError(Exception):
    """What a guard says."""


@pytest.fixture
def of_kind(database_file):
    made = []

    def make(**differences):
        kind = Kind(passing=lambda error: isinstance(error, PassingError), **differences)
        made.append(Database(sqlite_engine(database_file), sqlite_engine(database_file), kind))
        return made[-1]

    yield make
    for database in made:
        database.close()


def fails_at_first(name, times):
    attempts = iter(range(times))

    def work(connection):
        add(name)(connection)
        if next(attempts, None) is not None:
            raise PassingError
        return name

    return work


async def test_a_transaction_that_came_to_nothing_for_a_passing_reason_is_made_again(of_kind):
    database = of_kind()
    assert await database.write(fails_at_first("one", 2)) == "one"
    blocked = Blocked(database)
    jobs = [database.submit(work) for work in (add("two"), fails_at_first("three", 1))]
    blocked.release()
    assert [job.result(PATIENCE_S) for job in jobs] == ["two", "three"]
    assert await database.read(names) == ["one", "three", "two"]
    assert await database.read(fails_at_first("four", 1)) == "four"


async def test_in_the_end_a_passing_reason_is_an_error_and_nothing_is_written(of_kind):
    database = of_kind(coded=lambda error: ValueError("coded"))
    with pytest.raises(ValueError, match="coded"):
        await database.write(fails_at_first("one", 3))
    with pytest.raises(ValueError, match="coded"):
        await database.read(fails_at_first("one", 3))
    assert await database.read(names) == []


def losing_commits(database, *fates):
    """Have COMMITs end in doubt: each is made or not before its answer is lost."""
    pending = list(fates)

    @event.listens_for(database._writer, "commit")
    def lose(connection):
        if pending:
            if pending.pop(0):
                connection.exec_driver_sql("COMMIT")
            raise PassingError

    return pending


def unavailable(error):
    known = isinstance(error, OBShellError)
    return error if known else errors.SERVER_UNAVAILABLE(reason="lost")


def add_once(name):
    return lambda connection: name in names(connection) or add(name)(connection)


@pytest.mark.parametrize("fates", [[True], [False], [False, True]])
async def test_what_may_be_done_twice_is_done_again_when_in_doubt(of_kind, fates):
    database = of_kind(coded=unavailable)
    pending = losing_commits(database, *fates)
    await database.write(add_once("one"), again=True)
    assert pending == []
    assert await database.read(names) == ["one"]


async def test_a_commit_that_was_answered_with_an_undoing_is_no_doubt(of_kind):
    database = of_kind(coded=unavailable, undone=lambda error: isinstance(error, PassingError))
    pending = losing_commits(database, False)
    await database.write(add("one"))
    assert pending == []
    assert await database.read(names) == ["one"]


async def test_a_transaction_that_may_have_been_made_is_not_made_again(of_kind):
    database = of_kind(coded=unavailable)
    pending = losing_commits(database, True, False, False, False)
    with pytest.raises(InDoubtError, match="not known, look before you repeat it"):
        await database.write(add("one"))
    assert len(pending) == 3
    assert await database.read(names) == ["one"]
    with pytest.raises(InDoubtError):
        await database.write(add("two"), again=True)


async def test_a_doubt_is_not_forgotten_when_nobody_can_be_asked(of_kind):
    gone = False

    def guard(_connection):
        if gone:
            raise errors.SERVER_UNAVAILABLE(reason="gone")

    database = of_kind(coded=unavailable, guard=guard)

    @event.listens_for(database._writer, "commit")
    def lose(_connection):
        nonlocal gone
        gone = True
        raise PassingError

    with pytest.raises(InDoubtError):
        await database.write(add("one"), again=True)


async def test_what_the_guard_refuses_is_not_written(of_kind):
    allowed = True

    def guard(_connection):
        if not allowed:
            raise RefusedError

    database = of_kind(guard=guard)
    await database.write(add("one"))
    allowed = False
    blocked = database.submit(add("two"))
    others = [database.submit(add(f"{n}")) for n in range(3)]
    for job in (blocked, *others):
        with pytest.raises(RefusedError):
            job.result(PATIENCE_S)
    assert await database.read(names) == ["one"]
