"""The only door to a server's SQL, through which no other server can answer.

The pool is ours, and a list, because the driver's keeps a lock while it connects: behind one
paused server every other question would wait. No text of a password gets into an error or a log.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiomysql
import pymysql

from pyobshell import errors
from pyobshell.deadline import Deadline
from pyobshell.socket_name import short_name

Row = tuple[Any, ...]
Place = Callable[[], AbstractContextManager[dict[str, Any]]]
"""Where a server is to be connected to, as options of the driver that hold within the context."""

_MAX_IDLE = 2
_READ_SECONDS = 10.0  # the server's own ob_query_timeout
_CONNECT_SECONDS = 5.0
_SILENCE_SECONDS = 130.0  # longer than the longest statement of a store, which makes tables
_ACCESS_DENIED = 1045
_CONNECTION_LOST = {2002, 2003, 2006, 2013, 2014}
_SET_PASSWORD = "ALTER USER root IDENTIFIED BY %s"  # noqa: S105 - a statement, no password
# Sessions start at +08:00, and with the sql_mode of the server, under which a backslash or a
# quotation mark might mean something else than the driver's escaping takes it for. Not the driver's
# init_command: it commits after that, which a server without a majority does not answer.
_SESSION = "SET time_zone = '+00:00', sql_mode = 'STRICT_TRANS_TABLES'"
_PATIENCE = "SET ob_query_timeout = %s, ob_trx_timeout = %s"


class AccessDenied(errors.OBShellError):
    """The server answers, but not to this password."""

    def __init__(self) -> None:
        super().__init__(errors.MYSQL_ERROR, {"cause": "the password of root is not accepted"})


def at_socket(socket: Path) -> Place:
    """The server's own unix socket, however long its name is."""

    @contextmanager
    def place() -> Iterator[dict[str, Any]]:
        with short_name(socket) as name:
            yield {"unix_socket": name}

    return place


class Refused(errors.OBShellError):
    """The server's own error for a statement; ``number`` is its code."""

    def __init__(self, number: int, cause: str) -> None:
        super().__init__(errors.MYSQL_ERROR, {"cause": cause})
        self.number = number


class _QuietCursor(aiomysql.Cursor):  # type: ignore[misc] # the driver has no types
    """A cursor that does not turn the server's notes into Python warnings."""

    async def _show_warnings(self, conn: object) -> None:
        return


class Sql:
    """SQL on one server as root; each statement is bounded, whatever state the server is in."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._password = ""
        self._idle: list[aiomysql.Connection] = []
        self._open: set[aiomysql.Connection] = set()

    def use_password(self, password: str) -> None:
        """Log in with this password from now on."""
        self._password = password
        self.forget()

    @property
    def sessions(self) -> set[int]:
        """The ids of our own connections, as the server's process list shows them."""
        return {connection.thread_id() for connection in self._open}

    async def query(
        self, statement: str, *values: object, deadline: Deadline, confidential: bool = False
    ) -> list[Row]:
        """Run one statement with its values escaped into the places marked ``%s``.

        Raises ``AccessDenied``, ``SERVER_UNAVAILABLE`` if the server gives no answer (not waiting
        longer than the server itself would), ``MYSQL_ERROR`` with the server's words if it refuses,
        without them if the statement is confidential: they may repeat a part of it.
        """
        with _coded(limit := deadline.within(_READ_SECONDS), confidential):
            async with asyncio.timeout(limit.remaining()):
                async with self._connection() as connection:
                    return await _run(connection, statement, values)

    async def query_long(self, statement: str, *values: object, deadline: Deadline) -> list[Row]:
        """Run a statement that may take as long as the deadline is away; raises as ``query``."""
        microseconds = int(deadline.remaining() * 1_000_000)
        with _coded(deadline):
            async with asyncio.timeout(deadline.remaining()):
                connection = await self._connect(self._password)
                try:
                    await _run(connection, _PATIENCE, (microseconds, microseconds))
                    return await _run(connection, statement, values)
                finally:
                    self._discard(connection)

    def connect(self, database: str | None) -> pymysql.Connection:
        """A connection of the synchronous driver, for a store, which limits its statements.

        The limits here are for a server that gives no answer at all.
        """
        with self._place() as place:
            connection = pymysql.connect(
                **place,
                user="root",
                password=_encoded(self._password).decode("latin-1"),
                database=database,
                charset="utf8mb4",
                connect_timeout=_CONNECT_SECONDS,
                read_timeout=_SILENCE_SECONDS,
                write_timeout=_SILENCE_SECONDS,
                program_name="pyobshell",
                ssl_disabled=True,  # on this host; to load what could be trusted takes longest
            )
        try:
            with connection.cursor() as cursor:
                cursor.execute(_SESSION)
        except BaseException:
            connection.close()
            raise
        return connection

    async def login(self, password: str, deadline: Deadline) -> None:
        """Log in with this password once, on a connection of its own; raises as ``query``."""
        with _coded(limit := deadline.within(_READ_SECONDS)):
            async with asyncio.timeout(limit.remaining()):
                self._discard(await self._connect(password))

    async def set_password(self, new: str, deadline: Deadline) -> None:
        """Change root's password, and log in with it to be sure; raises as ``query``."""
        _encoded(new)  # refused before the driver could complain about it, with the text
        await self.query(_SET_PASSWORD, new, deadline=deadline, confidential=True)
        await self.login(new, deadline)

    def forget(self) -> None:
        """Close the idle connections: the server has ended, or its password is another."""
        while self._idle:
            self._discard(self._idle.pop())

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[aiomysql.Connection]:
        connection = await self._take()
        try:
            yield connection
        except pymysql.err.MySQLError:  # an answer, after which the connection is in order
            self._give_back(connection)
            raise
        except BaseException:  # the answer may still come: nobody else may read it
            self._discard(connection)
            raise
        self._give_back(connection)

    async def _take(self) -> aiomysql.Connection:
        while self._idle:
            connection = self._idle.pop()
            try:
                await connection.ping(reconnect=False)
            except pymysql.err.MySQLError:
                self._discard(connection)  # of a server that has ended since
            except BaseException:
                self._discard(connection)
                raise
            else:
                return connection
        return await self._connect(self._password)

    def _give_back(self, connection: aiomysql.Connection) -> None:
        if connection.closed or len(self._idle) >= _MAX_IDLE:
            self._discard(connection)
        else:
            self._idle.append(connection)

    def _discard(self, connection: aiomysql.Connection) -> None:
        self._open.discard(connection)
        connection.close()

    async def _connect(self, password: str) -> aiomysql.Connection:
        with self._place() as place:
            connection = await aiomysql.connect(
                **place,
                user="root",
                # The driver knows passwords of latin-1 only; this way it sends the UTF-8 bytes.
                password=_encoded(password).decode("latin-1"),
                charset="utf8mb4",
                autocommit=True,
                cursorclass=_QuietCursor,
                program_name="pyobshell",
            )
        self._open.add(connection)
        try:
            await _run(connection, _SESSION, ())
        except BaseException:
            self._discard(connection)
            raise
        return connection


async def _run(
    connection: aiomysql.Connection, statement: str, values: tuple[object, ...]
) -> list[Row]:
    async with connection.cursor() as cursor:
        await cursor.execute(statement, values or None)
        return list(await cursor.fetchall())


@contextmanager
def _coded(limit: Deadline, confidential: bool = False) -> Iterator[None]:
    """Errors of the driver, as errors of the catalogue."""
    try:
        yield
    except TimeoutError:
        reason = f"it gives no answer to SQL within {limit.seconds:.1f} s"
        raise errors.SERVER_UNAVAILABLE(reason=reason) from None
    except pymysql.err.MySQLError as error:
        raise _translated(error, confidential) from None
    except OSError as error:
        raise errors.SERVER_UNAVAILABLE(reason=f"it takes no SQL: {error.strerror}") from None


def _translated(error: pymysql.err.MySQLError, confidential: bool) -> errors.OBShellError:
    number, text = error.args if len(error.args) == 2 else (0, str(error))
    if number == _ACCESS_DENIED:
        return AccessDenied()
    if number in _CONNECTION_LOST or isinstance(error, pymysql.err.InterfaceError):
        cause = error.__cause__
        detail = cause.strerror if isinstance(cause, OSError) else None
        return errors.SERVER_UNAVAILABLE(reason=f"it takes no SQL: {detail or text}")
    return Refused(number, f"error {number}" if confidential else f"{text} ({number})")


def _encoded(password: str) -> bytes:
    try:
        return password.encode()
    except UnicodeEncodeError:
        raise errors.ILLEGAL_ARGUMENT(name="password", reason="it is not valid Unicode") from None
