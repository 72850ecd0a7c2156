"""What the doctor says and does about a database that is broken, and about its copy."""

from __future__ import annotations

import os
import shutil

import pytest

from pyobshell.home import kept
from pyobshell.home.examination import Orders
from pyobshell.home.findings import Level
from support.findings import found

pytestmark = pytest.mark.anyio
REPAIR = Orders(repair=True)


async def test_a_copy_that_is_missing_damaged_or_older_is_written_anew_by_the_next_start(home):
    good = home.paths.kept_copy.read_text()
    with home.database() as connection:
        connection.execute("UPDATE setting SET value = value + 1 WHERE name = 'essential_changes'")
    assert "older than the database" in (await found(home))["kept copy"].message
    home.paths.kept_copy.write_text(good[:50])
    assert (await found(home))["kept copy"].level is Level.WARNING
    home.paths.kept_copy.unlink()
    assert (await found(home))["kept copy"].level is Level.WARNING


async def test_a_member_that_has_lost_its_key_and_the_copy_is_none_that_never_was(home):
    home.paths.kept_copy.unlink()
    home.paths.private_key.unlink()
    told = (await found(home))["agent key"]
    assert (told.level, "by which the others know it" in told.message) == (Level.PROBLEM, True)


async def test_a_copy_that_cannot_be_read_is_told_of_with_all_else(home):
    home.paths.kept_copy.unlink()
    home.paths.kept_copy.mkdir(mode=0o700)
    told = await found(home)
    assert f"{home.paths.kept_copy}: is a directory" in told["database"].message
    assert told["kept copy"].level is Level.WARNING


async def test_a_broken_database_without_a_copy_is_hopeless_and_left_alone(home):
    os.truncate(home.paths.database, 8192)
    home.paths.kept_copy.unlink()
    before = home.content()
    for orders in (Orders(), REPAIR):
        finding = (await found(home, orders))["database"]
        assert finding.level is Level.PROBLEM
        assert "restore" in finding.remedy
    assert home.content() == before


async def test_what_is_whole_in_a_broken_database_is_used_where_there_is_no_copy(home):
    with home.database() as connection:
        connection.execute("CREATE INDEX later ON sub_task_log (content)")
        (page,) = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'node'"
        ).fetchone()
    home.paths.kept_copy.unlink()
    with home.paths.database.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xff" * 4096)
    assert (await found(home))["database"].level is Level.PROBLEM
    assert (await found(home, REPAIR))["database"].repaired
    with home.database() as connection:
        assert connection.execute("SELECT count(*) FROM member").fetchone() == (2,)


@pytest.mark.parametrize("step", ["store", "rename"])
async def test_a_repair_that_is_cut_off_is_done_again(home, monkeypatch, step):
    os.truncate(home.paths.database, 0)

    class CutError(BaseException):
        """The end of the process."""

    def cut(*_):
        raise CutError

    with monkeypatch.context() as patched:
        if step == "store":
            patched.setattr(kept, "store", cut)
        else:
            real = os.rename

            def rename(source, target):
                if str(source).endswith("meta.new"):
                    cut()
                real(source, target)

            patched.setattr(os, "rename", rename)
        with pytest.raises(CutError):
            await found(home, REPAIR)
    assert (await found(home))["database"].level is Level.PROBLEM
    assert (await found(home, REPAIR))["database"].repaired
    assert await found(home) == {}
    shutil.rmtree(home.settings.base_dir)
