"""The only door to a database: durable transactions in one writer thread, reads beside it.

Transactions that wait at the same moment are committed together (group commit): one disk flush
then serves them all, and each still fails or succeeds alone, in its own savepoint.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import StaticPool

from pyobshell.errors import OUTCOME_UNKNOWN, SERVER_UNAVAILABLE, OBShellError
from pyobshell.store import mysql, sqlite

T = TypeVar("T")

_LARGEST_GROUP = 256
_ATTEMPTS = 3
_MYSQL_READERS = 4
_REWRITE = "UPDATE alembic_version SET version_num = version_num"


def sqlite_engine(path: Path) -> Engine:
    """An engine on one SQLite file: write-ahead log, every commit flushed to disk."""
    engine = create_engine(
        f"sqlite+pysqlite:///{path}",
        poolclass=StaticPool,
        connect_args={"check_same_thread": False, "timeout": 30.0},
    )

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # SQLAlchemy says BEGIN, not the driver
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.info.get("writes") else "BEGIN")

    return engine


class InDoubtError(OBShellError):
    """Nobody knows whether a transaction was made: its COMMIT was not answered."""

    def __init__(self, cause: OBShellError) -> None:
        super().__init__(OUTCOME_UNKNOWN, {"cause": cause})


class _Job:
    """One piece of work for the writer, and where its result goes."""

    def __init__(self, work: Callable[[Connection], Any]) -> None:
        self.work = work
        self.result: Future[Any] = Future()


@dataclass(frozen=True, slots=True)
class Kind:
    """What databases differ in.

    ``guard`` begins each transaction that writes; if it raises, nothing is written. ``passing``
    says whether a transaction that failed did nothing, for a reason that passes, ``undone`` whether
    even a COMMIT that failed certainly did nothing, and ``coded`` what an error is called.
    """

    guard: Callable[[Connection], None] = lambda _: None
    passing: Callable[[Exception], bool] = lambda _: False
    undone: Callable[[Exception], bool] = lambda _: False
    coded: Callable[[Exception], Exception] = lambda error: error
    readers: int = 1


_SQLITE = Kind()


class Database:
    """Transactions on one database; ``write`` is durable when it returns."""

    def __init__(self, writer: Engine, reader: Engine, kind: Kind = _SQLITE) -> None:
        self._writer = writer
        self._reader = reader
        self._kind = kind
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._giving = threading.Lock()
        self._closed = False
        self._readers = ThreadPoolExecutor(kind.readers, thread_name_prefix="store-reader")
        self._thread = threading.Thread(target=self._write_groups, name="store-writer", daemon=True)
        self._thread.start()

    @classmethod
    def sqlite(cls, path: Path) -> Database:
        """A database in one SQLite file, whose tables exist already.

        What keeps the file from being used is ``Agent.Store.Unavailable``, until it does no more.
        """
        kind = Kind(undone=sqlite.is_undone, coded=partial(sqlite.coded, path))
        return cls(sqlite_engine(path), sqlite_engine(path), kind)

    @classmethod
    def mysql(
        cls,
        connect: mysql.Connect,
        guard: Callable[[Connection], None] = lambda _: None,
        *,
        statement_s: float = mysql.STATEMENT_S,
    ) -> Database:
        """The database ``ocs`` of a cluster, whose tables exist already; logs in when it is used.

        Several agents write to it, so ``guard`` begins each transaction that writes: it waits for
        its turn, and raises if it has none. Errors of the server are those of the catalogue.
        """
        return cls(
            mysql.mysql_engine(connect, statement_s=statement_s),
            # All that is read in one transaction is of one moment.
            mysql.mysql_engine(connect, isolation="REPEATABLE-READ", statement_s=statement_s),
            Kind(guard, mysql.is_passing, mysql.is_undone, mysql.coded, _MYSQL_READERS),
        )

    async def write(self, work: Callable[[Connection], T], *, again: bool = False) -> T:
        """Run ``work`` in a transaction and return its result once that is on disk.

        What ``work`` raises rolls its own changes back and is raised here. Raises InDoubtError if
        nobody knows whether it was done; ``again`` is for what may be done twice: then it is.
        """
        try:
            return await asyncio.wrap_future(self.submit(work))
        except InDoubtError as error:
            if not again:
                raise
            doubt = error
        for _ in range(_ATTEMPTS - 1):
            try:
                return await asyncio.wrap_future(self.submit(work))
            except OBShellError as error:
                if error.code not in (SERVER_UNAVAILABLE, OUTCOME_UNKNOWN):
                    raise
        raise doubt

    async def prove_writable(self) -> None:
        """Write what changes nothing; raises what others would meet, such as a full disk."""
        await self.write(lambda connection: connection.exec_driver_sql(_REWRITE), again=True)

    def submit(self, work: Callable[[Connection], T]) -> Future[T]:
        """Queue ``work`` without waiting; later writes come after it.

        Raises RuntimeError when the database is closed.
        """
        job = _Job(work)
        with self._giving:
            if self._closed:
                raise RuntimeError("the database is closed")
            self._jobs.put(job)
        return job.result

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run ``work`` on a snapshot of what is committed."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, self._read, work)

    def _read(self, work: Callable[[Connection], T]) -> T:
        def attempt() -> T:
            with self._reader.begin() as connection:
                return work(connection)

        try:
            return self._persistently(attempt)
        except Exception as error:
            raise self._kind.coded(error) from None

    def close(self) -> None:
        """Finish what is queued, then let go of the files."""
        with self._giving:
            self._closed = True
            self._jobs.put(None)
        self._thread.join()
        self._readers.shutdown()
        self._writer.dispose()
        self._reader.dispose()

    def _persistently(self, attempt: Callable[[], T]) -> T:
        for _ in range(_ATTEMPTS - 1):
            try:
                return attempt()
            except Exception as error:
                if not self._kind.passing(error):
                    raise
        return attempt()

    def _write_groups(self) -> None:
        connection: Connection | None = None
        while group := self._next_group():
            begun = [job for job in group if job.result.set_running_or_notify_cancel()]
            try:
                if connection is None:
                    connection = self._writer.connect()
                connection.info["writes"] = True  # it may have been connected anew
                outcomes = self._commit(connection, begun)
            except Exception as error:
                outcomes = [_Outcome(error=error)] * len(begun)
            for job, outcome in zip(begun, outcomes, strict=True):
                if outcome.error is None:
                    job.result.set_result(outcome.value)
                else:
                    job.result.set_exception(self._kind.coded(outcome.error))
        if connection is not None:
            connection.close()

    def _next_group(self) -> list[_Job]:
        """The jobs that wait, or the next one that comes; none when the database is closed."""
        group: list[_Job] = []
        while not group or (len(group) < _LARGEST_GROUP and not self._jobs.empty()):
            job = self._jobs.get()
            if job is None:
                self._jobs.put(None)  # for whoever asks next
                break
            group.append(job)
        return group

    def _commit(self, connection: Connection, group: list[_Job]) -> list[_Outcome]:
        """Run a group in one transaction, again if it came to nothing for a reason that passes."""

        def attempt() -> list[_Outcome]:
            with connection.begin() as transaction:
                self._kind.guard(connection)
                if len(group) == 1:  # the transaction is its own: no savepoint is needed
                    outcomes = [_Outcome(group[0].work(connection))]
                else:
                    outcomes = [self._run(connection, job) for job in group]
                try:
                    transaction.commit()
                except Exception as error:  # it may have been made: another attempt may repeat it
                    # SQLAlchemy keeps it, and does not undo it: the connection is of no more use.
                    transaction.rollback()
                    connection.invalidate()
                    if self._kind.undone(error):
                        raise
                    raise _in_doubt(self._kind.coded(error)) from None
            return outcomes

        return self._persistently(attempt)

    def _run(self, connection: Connection, job: _Job) -> _Outcome:
        """Run one job in a savepoint of its own, so that its failure undoes nothing but itself."""
        connection.exec_driver_sql("SAVEPOINT job")  # a tenth of the cost of begin_nested()
        try:
            value = job.work(connection)
        except Exception as error:
            if self._kind.passing(error):
                raise  # the whole transaction is gone
            try:
                connection.exec_driver_sql("ROLLBACK TO SAVEPOINT job")
            except DBAPIError:  # as SQLite sees to it, for one, when no space is left
                raise error from None
            return _Outcome(error=error)
        connection.exec_driver_sql("RELEASE SAVEPOINT job")
        return _Outcome(value)


def _in_doubt(error: Exception) -> Exception:
    return InDoubtError(error) if isinstance(error, OBShellError) else error


@dataclass(frozen=True, slots=True)
class _Outcome:
    value: Any = None
    error: Exception | None = None
