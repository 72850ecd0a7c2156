"""A database whose file does not end with a page is cut off, unless its log has what is missing."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from pyobshell.store.sqlite import DamagedError, reading, require_uncut, require_whole
from pyobshell.store.wal import holds_all_after

_PAGE = 4096
# The system lets no file grow further while the log is folded in, as when the database is closed.
_LIMITED = """
import resource, sqlite3, sys

file, limit = sys.argv[1], int(sys.argv[2])
connection = sqlite3.connect(file, isolation_level=None)
connection.execute("PRAGMA journal_mode = WAL")
connection.execute("INSERT INTO setting VALUES ('much', ?)", ["x" * 50_000])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
connection.close()
"""


@pytest.fixture
def half_folded(database_file):
    """A database whose log could not be folded in to its end."""
    limit = database_file.stat().st_size + 3 * _PAGE + 1000
    words = [sys.executable, "-c", _LIMITED, str(database_file), str(limit)]
    subprocess.run(words, check=True, timeout=60)
    assert database_file.stat().st_size == limit
    assert log_of(database_file).stat().st_size > 10 * _PAGE
    return database_file


def log_of(file):
    return file.with_name(f"{file.name}-wal")


def looked_at(file):
    with reading(file) as connection:
        require_uncut(file, connection)
        require_whole(file, connection, indexes=True)
        return connection.execute("SELECT length(value) FROM setting").fetchall()


def test_what_could_not_be_folded_in_to_its_end_is_whole(half_folded):
    assert looked_at(half_folded) == [(50_000,)]
    with closing(sqlite3.connect(half_folded)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert half_folded.stat().st_size % _PAGE == 0
    assert looked_at(half_folded) == [(50_000,)]


def spoil(file, offset):
    with file.open("r+b") as opened:
        opened.seek(offset)
        byte = opened.read(1)[0]
        opened.seek(offset)
        opened.write(bytes([byte ^ 1]))


@pytest.mark.parametrize("offset", [0, 16, 32 + 8, 32 + 24 + 2000], ids=str)
def test_a_log_that_sqlite_would_not_read_holds_nothing(half_folded, offset):
    """In its own header, in that of its first frame, in its first page."""
    spoil(log_of(half_folded), offset)
    with pytest.raises(DamagedError, match="its end is cut off"):
        looked_at(half_folded)


def test_a_log_without_its_commit_holds_nothing(half_folded):
    log = log_of(half_folded)
    log.write_bytes(log.read_bytes()[:-1])
    with pytest.raises(DamagedError, match="its end is cut off"):
        looked_at(half_folded)


def test_without_its_log_it_is_cut_off(half_folded):
    log_of(half_folded).unlink()
    with pytest.raises(DamagedError, match="its end is cut off"):
        looked_at(half_folded)


def test_a_log_of_other_pages_makes_up_for_no_end(database_file, tmp_path):
    """What it holds lies before the end."""
    with closing(sqlite3.connect(database_file, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("INSERT INTO setting VALUES ('little', 'x')")
        copy = shutil.copy(database_file, tmp_path / "copy.db")
        shutil.copy(log_of(database_file), log_of(copy))
    pages = copy.stat().st_size // _PAGE
    assert not holds_all_after(log_of(copy), pages - 1)
    assert holds_all_after(log_of(copy), pages)
    with copy.open("r+b") as file:
        file.truncate(copy.stat().st_size - 100)
    with pytest.raises(DamagedError, match="its end is cut off"):
        looked_at(copy)


def test_pages_are_counted_as_sqlite_counts_them(database_file):
    """Also over several commits, and where the log has begun anew over an earlier one."""
    log = log_of(database_file)
    with closing(sqlite3.connect(database_file, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        for n in range(20):
            connection.execute("INSERT INTO setting VALUES (?, ?)", [str(n), "x" * 9000])
        connection.execute("PRAGMA wal_checkpoint(RESTART)")
        before = connection.execute("PRAGMA page_count").fetchone()[0]
        size = log.stat().st_size
        connection.execute("INSERT INTO setting VALUES ('a', ?)", ["x" * 20_000])
        connection.execute("INSERT INTO setting VALUES ('b', ?)", ["x" * 20_000])
        assert log.stat().st_size == size
        after = connection.execute("PRAGMA page_count").fetchone()[0]
        assert after > before + 8
        assert holds_all_after(log, before)
        assert not holds_all_after(log, before - 1) or before == after
        connection.execute("BEGIN")
        connection.execute("PRAGMA cache_size = 1")
        for n in range(20, 60):
            connection.execute("INSERT INTO setting VALUES (?, ?)", [str(n), "x" * 9000])
        assert holds_all_after(log, before)
        connection.execute("ROLLBACK")
