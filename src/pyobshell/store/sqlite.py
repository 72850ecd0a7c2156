"""The agent's own database, one SQLite file: what its errors mean, and how it is looked at."""

from __future__ import annotations

import os
import re
import resource
import shlex
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from sqlalchemy.exc import DBAPIError

from pyobshell import errors
from pyobshell.errors import OBShellError
from pyobshell.store import wal

_TABLES = "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name"
_REVISION = "SELECT version_num FROM alembic_version"
_REVISIONS = re.compile("[0-9]{4}")
_LARGE = "sub_task_log"  # by far; a damage in there harms nobody but who reads that line
_PRIMARY = 0xFF  # the rest of an error's number says more of the same
_CAUSES = {
    sqlite3.SQLITE_FULL: "no space is left on its file system",
    sqlite3.SQLITE_READONLY: "it is read-only",
    sqlite3.SQLITE_PERM: "it may not be used by this user",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened",
    sqlite3.SQLITE_BUSY: "another process has locked it",
    sqlite3.SQLITE_LOCKED: "another process has locked it",
    sqlite3.SQLITE_CORRUPT: "it is damaged",
    sqlite3.SQLITE_NOTADB: "it is damaged, and is no database any more",
}
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
# Of a statement that is right these say that what it is about is not what was written.
_STRANGE = (
    sqlite3.SQLITE_ERROR,
    sqlite3.SQLITE_SCHEMA,
    sqlite3.SQLITE_TOOBIG,
    sqlite3.SQLITE_MISMATCH,
    sqlite3.SQLITE_FORMAT,
)
_NO_TEXT = "it is damaged (a text in it is none)"
_NOT_AS_WRITTEN = "it is damaged (what is in it is not what was written)"


class DamagedError(OBShellError):
    """What is in the file is not what was written to it; only another file can help."""

    def __init__(self, file: Path, cause: str) -> None:
        super().__init__(errors.STORE_UNAVAILABLE, unavailable(file, cause).arguments)


def unavailable(file: Path, cause: str) -> OBShellError:
    """``Agent.Store.Unavailable``: the agent's database cannot be used, and who says what to do."""
    base_dir = shlex.quote(str(file.parent.parent))
    return errors.STORE_UNAVAILABLE(file=file, cause=cause, base_dir=base_dir)


def coded(file: Path, error: Exception) -> Exception:
    """An error of the driver as one of the catalogue, without the statement; others as they are."""
    original = error.orig if isinstance(error, DBAPIError) else error
    if _is_of_a_text(original):
        return DamagedError(file, _NO_TEXT)  # the driver's own words quote it
    number = getattr(original, "sqlite_errorcode", None)
    if number is None:
        return error
    kind = number & _PRIMARY
    if kind in _DAMAGED:
        return DamagedError(file, _CAUSES[kind])
    if kind == sqlite3.SQLITE_IOERR:
        name = getattr(original, "sqlite_errorname", "")
        cause = f"reading or writing it fails ({name}){_limited()}"
        return unavailable(file, _out_of_space(file) or cause)
    return unavailable(file, _CAUSES[kind]) if kind in _CAUSES else error


def _is_of_a_text(error: BaseException | None) -> bool:
    """Whether the driver met bytes that are no UTF-8, in a value or in SQLite's own words."""
    if isinstance(error, sqlite3.OperationalError):
        return str(error).startswith("Could not decode to UTF-8")
    return isinstance(error, UnicodeDecodeError)


def _out_of_space(file: Path) -> str:
    """That no space is left, if so: of some files the database says only that they fail."""
    try:
        free = os.statvfs(file.parent).f_bavail
    except OSError:
        return ""
    return "" if free else _CAUSES[sqlite3.SQLITE_FULL]


def _limited() -> str:
    """That this process may not write files of any size, if so: the disk need not be at fault."""
    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    if limit == resource.RLIM_INFINITY:
        return ""
    return f"; the process may write no file of more than {limit} bytes (ulimit -f)"


def is_undone(error: Exception) -> bool:
    """Whether a COMMIT that failed certainly did nothing.

    One whose flush failed may be found in the file at the next start; all others are not there.
    """
    original = error.orig if isinstance(error, DBAPIError) else error
    number = getattr(original, "sqlite_errorcode", None)
    return number is not None and number != sqlite3.SQLITE_IOERR_FSYNC


def connect_to_read(file: Path) -> sqlite3.Connection:
    """A connection that changes nothing, for one thread; raises the driver's errors."""
    where = f"file:{quote(str(file))}?mode=ro"
    return sqlite3.connect(where, uri=True, isolation_level=None)


@contextmanager
def reading(file: Path) -> Iterator[sqlite3.Connection]:
    """A connection that changes nothing, not even when it is closed; errors are coded.

    Raises DamagedError for an empty file, as on opening it SQLite would remove the log beside it,
    and for whatever is found not to be what this program writes: for a ValueError or a TypeError
    of who looks as well, whose words may quote what is stored.
    """
    try:
        if file.stat().st_size == 0:
            raise DamagedError(file, "it is empty")
        with closing(connect_to_read(file)) as connection:
            yield connection
    except (ValueError, TypeError) as error:
        told = coded(file, error)
        raise (DamagedError(file, _NOT_AS_WRITTEN) if told is error else told) from None
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", None) in _STRANGE:
            raise DamagedError(file, _NOT_AS_WRITTEN) from None
        raise coded(file, error) from None


def revision(connection: sqlite3.Connection) -> str | None:
    """Which migration was the last one; None for a database without tables.

    Raises ValueError for what is the name of no migration, of any release.
    """
    tables = [name for (name,) in connection.execute(_TABLES)]
    if "alembic_version" not in tables:
        return None
    row = connection.execute(_REVISION).fetchone()
    if row is None:
        return None
    if not isinstance(row[0], str) or not _REVISIONS.fullmatch(row[0]):
        raise ValueError("no revision")
    return row[0]


def damages(connection: sqlite3.Connection, tables: Collection[str] = ()) -> list[str]:
    """What is wrong with these tables, in SQLite's words; by default all but the tasks' logs."""
    found: list[str] = []
    for (table,) in connection.execute(_TABLES).fetchall():
        if table in tables if tables else table != _LARGE:
            checked = connection.execute(f'PRAGMA quick_check("{table}")').fetchall()
            found += [str(line) for (line,) in checked if line != "ok"]
    return found


def require_uncut(file: Path, connection: sqlite3.Connection) -> None:
    """Raise DamagedError if the file does not end with a page: SQLite would make up the rest.

    Unless that, and all behind it, is in the log, as where folding it in has failed halfway.
    """
    page_size = int(connection.execute("PRAGMA page_size").fetchone()[0])
    whole, rest = divmod(file.stat().st_size, page_size)
    if rest and not wal.holds_all_after(file.with_name(f"{file.name}-wal"), whole):
        raise DamagedError(file, "it is damaged (its end is cut off)")


def require_texts(connection: sqlite3.Connection) -> None:
    """Raise the driver's error if a text is none, in any table but that of the tasks' logs."""
    for (table,) in connection.execute(_TABLES).fetchall():
        if table != _LARGE:
            for _ in connection.execute(f'SELECT * FROM "{table}"'):  # noqa: S608 - its own name
                pass


def require_whole(file: Path, connection: sqlite3.Connection, *, indexes: bool = False) -> None:
    """Raise DamagedError if anything in the database is wrong; ``indexes``: or if one is."""
    check = "integrity_check" if indexes else "quick_check"
    found = [str(line) for (line,) in connection.execute(f"PRAGMA {check}")]
    if found != ["ok"]:
        raise DamagedError(file, f"it is damaged ({found[0]})")
