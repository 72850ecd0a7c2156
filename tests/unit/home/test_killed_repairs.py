"""A repair that is killed, at whichever of its steps, loses nothing: the next one finds it all."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

from pyobshell.home import kept
from pyobshell.home.examination import Orders, examine
from pyobshell.home.findings import Level
from pyobshell.home.opening import open_database
from pyobshell.home.repair import replace_database
from pyobshell.store.sqlite import DamagedError

pytestmark = pytest.mark.anyio
RECORDS = 60
_NAMINGS = ("os.rename", "os.remove", "os.link", "os.mkdir", "os.rmdir", "shutil.copyfile")


def break_it(home):
    """A database that is broken, with records that are in it, and others in its log alone."""
    with home.database() as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        _record(connection, RECORDS // 2)
    connection = sqlite3.connect(home.paths.database)
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    _record(connection, RECORDS // 2)
    connection.commit()
    log = home.paths.database.with_name("meta.db-wal")
    held = {file: file.read_bytes() for file in (home.paths.database, log)}
    (page,) = connection.execute(
        "SELECT rootpage FROM sqlite_master WHERE name = 'node'"
    ).fetchone()
    connection.close()  # which folds the log in: put it back
    for file, content in held.items():
        file.write_bytes(content)
    with home.paths.database.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xa5" * 4096)


def _record(connection, number):
    connection.executemany(
        "INSERT INTO audit_record (moment, trace_id, who, client, method, path, body)"
        " VALUES (?, '', 'root', '', 'POST', '/', ?)",
        [(n, "y" * 200) for n in range(number)],
    )


def records(file):
    """How many there are, as the table says that may be the only one that is whole."""
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
        return len(connection.execute("SELECT body FROM audit_record").fetchall())


def replace(home):
    essentials = kept.load(home.paths.kept_copy)
    return replace_database(home.paths, essentials, server_wanted=False)


def killed_before(step, work, is_step):
    """Do something in a process that is killed before one of its steps, counted from 1.

    Returns whether it came to that.
    """
    pid = os.fork()
    if pid == 0:
        left = step

        def count(event, arguments):
            nonlocal left
            if is_step(event, arguments):
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        try:
            sys.addaudithook(count)
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    end = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert end in (0, -signal.SIGKILL)
    return end != 0


def to_be_named(event, arguments):
    """A file or directory gets a name, or loses one; the new database is not counted till then."""
    return event in _NAMINGS and not str(arguments[0]).endswith(("meta.new-wal", "meta.new-shm"))


def to_be_changed(event, arguments):
    """That, or one is opened to be written, or a directory to be on disk."""
    flags = os.O_WRONLY | os.O_RDWR | os.O_DIRECTORY
    return event in _NAMINGS or (event == "open" and arguments[2] & flags)


async def is_kept(home):
    """Nothing is lost: the repair was done but for a word, or the next one does it."""
    looked = await examine(home.settings.base_dir, None, Orders())
    if next(one for one in looked if one.check == "database").level is not Level.OK:
        with pytest.raises(DamagedError):
            open_database(home.paths)
        findings = await examine(home.settings.base_dir, None, Orders(repair=True))
        told = next(one for one in findings if one.check == "database")
        assert told.repaired
        assert "gap" not in told.message
        (named,) = [one for one in asides(home) if f"{one}. " in told.message]
        assert records(named / "meta.db") == RECORDS
    open_database(home.paths).close()
    assert records(home.paths.database) == RECORDS
    assert len(asides(home)) == 1
    left = {one.name.partition("-")[0] for one in home.paths.state_dir.glob("meta.*")}
    assert left == {"meta.db"}


def asides(home):
    return list(home.paths.state_dir.glob("broken-*"))


async def kill_at_each(home, tmp_path, is_step):
    """Have a repair killed before each of its steps; returns how many there are."""
    break_it(home)
    step = 0
    while True:
        step += 1
        tried = home.copy(tmp_path / f"killed-{step}")
        was_killed = killed_before(step, lambda tried=tried: replace(tried), is_step)
        await is_kept(tried)
        shutil.rmtree(tried.settings.base_dir)
        if not was_killed:
            return step - 1


async def test_whenever_a_repair_is_killed_the_next_one_finds_all_there_was(home, tmp_path):
    assert await kill_at_each(home, tmp_path, to_be_named) > 8


def refuse(*_):
    raise OSError(errno.EPERM, os.strerror(errno.EPERM))


@pytest.mark.long
@pytest.mark.parametrize("has_links", [True, False])
async def test_it_may_be_killed_before_whatever_it_does_to_a_file(
    home, tmp_path, monkeypatch, has_links
):
    """So on a file system that has no hard links."""
    if not has_links:
        monkeypatch.setattr(Path, "hardlink_to", refuse)
    assert await kill_at_each(home, tmp_path, to_be_changed) > 15


async def test_without_hard_links_a_repair_that_was_killed_is_done_again(
    home, tmp_path, monkeypatch
):
    break_it(home)
    monkeypatch.setattr(Path, "hardlink_to", refuse)

    def before_the_last(event, arguments):
        return event == "os.rename" and str(arguments[0]).endswith("meta.new")

    assert killed_before(1, lambda: replace(home), before_the_last)
    assert not home.paths.database.with_name("meta.db-wal").exists()
    await is_kept(home)


async def test_a_repair_that_cannot_put_the_broken_one_aside_leaves_all_as_it_was(
    home, monkeypatch
):
    break_it(home)
    before = home.content()

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "hardlink_to", refuse)
        patched.setattr(shutil, "copy2", full)
        findings = await examine(home.settings.base_dir, None, Orders(repair=True))
    told = next(one for one in findings if one.check == "database")
    assert told.level is Level.PROBLEM
    assert "nothing was replaced" in told.remedy
    assert {**home.content(), "kept.json": b""} == {**before, "kept.json": b""}
    assert home.paths.database.with_name("meta.db-wal").exists()
    assert asides(home) == []
    await is_kept(home)


async def test_what_was_put_aside_earlier_is_not_taken_for_what_is_broken_later(home):
    """A repair is done again only on what it was begun on."""
    break_it(home)
    replace(home)
    with home.database() as connection:
        _record(connection, 5)
    with home.database() as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("UPDATE alembic_version SET version_num = 'x'")
    findings = await examine(home.settings.base_dir, None, Orders(repair=True))
    assert next(one for one in findings if one.check == "database").repaired
    assert records(home.paths.database) == RECORDS + 5
    assert len(asides(home)) == 2
