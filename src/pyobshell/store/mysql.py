"""The cluster's own database ``ocs``, in OceanBase: connections to it, and its errors.

Who may log in how is known to whoever supplies ``connect``; here each connection is made fit for
the store. What a server answers reaches users as an error of the catalogue, in the server's words.
"""

from __future__ import annotations

from collections.abc import Callable

import pymysql
from sqlalchemy import Engine, create_engine
from sqlalchemy.exc import DBAPIError

from pyobshell import errors

OCS = "ocs"
STATEMENT_S = 5.0
DDL_S = 120.0

Connect = Callable[[str | None], pymysql.Connection]
"""Logs in to the server beside this agent and uses a database, or none.

The connection has timeouts for connecting, reading and writing, so that a server that hangs is
noticed; those for reading and writing are longer than the statements of the store may take.
"""

_ACCESS_DENIED = 1045
_TIMEOUT = 4012  # what a cluster without a leader, too, answers in the end
_LOST = {2002, 2003, 2006, 2013, 2014}
# Nothing was done, because somebody else was doing something: the next attempt may succeed.
_IN_THE_WAY = {1205, 1213, 6002}


def mysql_engine(
    connect: Connect, *, isolation: str = "READ-COMMITTED", statement_s: float = STATEMENT_S
) -> Engine:
    """An engine on ``ocs``.

    A transaction that lasts longer than ``statement_s`` is undone by the server: the locks of an
    agent that was paused in the middle of one are in nobody's way for long.
    """
    microseconds = int(statement_s * 1_000_000)
    session = (
        "SET autocommit = 0, time_zone = '+00:00', sql_mode = 'STRICT_TRANS_TABLES',"
        f" tx_isolation = '{isolation}',"
        f" ob_query_timeout = {microseconds}, ob_trx_timeout = {microseconds}"
    )

    def creator() -> pymysql.Connection:
        connection = connect(OCS)
        with connection.cursor() as cursor:
            cursor.execute(session)
        return connection

    return create_engine("mysql+pymysql://", creator=creator)


def is_passing(error: Exception) -> bool:
    """Whether a transaction that was not committed may succeed at the next attempt."""
    return isinstance(error, DBAPIError) and (
        error.connection_invalidated or _number(error.orig) in _IN_THE_WAY
    )


def is_undone(error: Exception) -> bool:
    """Whether the server says that a transaction was undone: no answer says nothing."""
    return (
        isinstance(error, DBAPIError)
        and not error.connection_invalidated
        and _number(error.orig) in _IN_THE_WAY
    )


def coded(error: Exception) -> Exception:
    """An error of the driver as one of the catalogue, without the statement; others as they are."""
    original = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(original, pymysql.err.MySQLError):
        number, text = _number(original), str(original.args[-1]) if original.args else ""
        if number == _ACCESS_DENIED:
            return errors.MYSQL_ERROR(cause="the password of root is not accepted")
        if number in (_TIMEOUT, *_LOST) or isinstance(original, pymysql.err.InterfaceError):
            return errors.SERVER_UNAVAILABLE(reason=f"database {OCS}: {text}")
        return errors.MYSQL_ERROR(cause=f"{text} ({number})")
    if isinstance(original, OSError):
        return errors.SERVER_UNAVAILABLE(reason=f"database {OCS}: {original.strerror}")
    return error


def _number(error: BaseException | None) -> int:
    """The server's or the driver's number of an error; 0 if it has none."""
    first = error.args[0] if error is not None and error.args else None
    return first if isinstance(first, int) else 0
