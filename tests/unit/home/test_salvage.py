"""Who did what outlives the database that it was written to, as far as it can be read."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing

import pytest

from pyobshell.home import kept
from pyobshell.home.examination import Orders, examine

pytestmark = pytest.mark.anyio
RECORDS = 300
_PAGE = 4096


def record_much(home):
    """Have so much on record that it takes many pages; returns what is recorded."""
    with home.database() as connection:
        connection.executemany(
            "INSERT INTO audit_record (moment, trace_id, who, client, method, path, body)"
            " VALUES (?, ?, 'root@sys', '127.0.0.1', 'POST', '/api/v1/ob/stop', ?)",
            [
                (1_000 + n, f"trace{n}", json.dumps({"n": n, "x": "y" * 200}))
                for n in range(RECORDS)
            ],
        )
    with home.database() as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return records(connection)


def records(connection):
    return connection.execute("SELECT * FROM audit_record ORDER BY id").fetchall()


def pages_of(home, table, kind):
    """The numbers of a table's pages, in the order of what is on them."""
    with closing(sqlite3.connect(home.paths.database)) as connection:
        root = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)
        ).fetchone()[0]
    content = home.paths.database.read_bytes()
    page = content[(root - 1) * _PAGE :][:_PAGE]
    if page[0] == 0x0D or kind == "root":
        return [root]
    cells = int.from_bytes(page[3:5], "big")
    starts = [int.from_bytes(page[12 + 2 * n :][:2], "big") for n in range(cells)]
    rightmost = int.from_bytes(page[8:12], "big")
    return [*(int.from_bytes(page[start:][:4], "big") for start in starts), rightmost]


def spoil(home, *pages):
    """Overwrite pages of the database."""
    with home.paths.database.open("r+b") as file:
        for page in pages:
            file.seek((page - 1) * _PAGE)
            file.write(b"\xa5" * _PAGE)


async def repaired(home):
    """What a repair says of the database, and what is on record after it."""
    findings = await examine(home.paths.base_dir, None, Orders(repair=True))
    (said,) = [one.message for one in findings if one.check == "database" and one.repaired]
    with home.database() as connection:
        return said, records(connection)


async def test_all_is_kept_if_the_damage_is_elsewhere(home):
    before = record_much(home)
    spoil(home, *pages_of(home, "node", "root"))
    said, after = await repaired(home)
    assert after == before
    assert "gap" not in said


async def test_what_lies_before_and_behind_a_damage_is_kept(home):
    before = record_much(home)
    pages = pages_of(home, "audit_record", "leaves")
    assert len(pages) > 10
    spoil(home, pages[4], pages[5])
    said, after = await repaired(home)
    assert "its record of who did what has a gap" in said
    assert RECORDS * 0.8 < len(after) < len(before)
    assert after[0] == before[0]
    assert after[-1] == before[-1]
    assert set(after) < set(before)


async def test_a_record_that_cannot_be_one_is_left_out(home):
    before = record_much(home)
    with home.database() as connection:
        connection.execute("UPDATE audit_record SET moment = 'never' WHERE id = 100")
    spoil(home, *pages_of(home, "node", "root"))
    said, after = await repaired(home)
    assert "gap" in said
    assert after == [row for row in before if row[0] != 100]


async def test_new_records_get_numbers_of_their_own(home):
    record_much(home)
    spoil(home, *pages_of(home, "node", "root"))
    await repaired(home)
    with home.database() as connection:
        added = connection.execute(
            "INSERT INTO audit_record (moment, trace_id, who, client, method, path, body)"
            " VALUES (1, '', '', '', '', '', '')"
        )
        assert added.lastrowid == RECORDS + 1


async def test_a_database_from_before_there_was_a_record_is_replaced_too(home):
    with home.database() as connection:
        connection.execute("DROP TABLE audit_record")
    spoil(home, *pages_of(home, "node", "root"))
    _, after = await repaired(home)
    assert after == []


async def test_a_file_that_is_no_database_any_more_does_not_keep_the_repair(home):
    home.paths.database.write_bytes(b"\xa5" * 8192)
    said, after = await repaired(home)
    assert "gap" in said
    assert after == []
    assert kept.load(home.paths.kept_copy) is not None


@pytest.mark.long
async def test_a_damaged_number_of_the_last_record_keeps_no_repair_for_ever(home):
    record_much(home)
    with home.database() as connection:
        connection.execute("UPDATE sqlite_sequence SET seq = 1 << 60 WHERE name = 'audit_record'")
    spoil(home, *pages_of(home, "node", "root"), *pages_of(home, "audit_record", "root"))
    said, after = await repaired(home)
    assert "gap" in said
    assert after == []


async def test_what_lies_between_two_damages_is_kept_too(home):
    before = record_much(home)
    pages = pages_of(home, "audit_record", "leaves")
    spoil(home, pages[2], pages[-2])
    _, after = await repaired(home)
    assert len(after) > RECORDS * (len(pages) - 3) / len(pages)
    assert set(after) < set(before)


async def test_what_is_left_of_a_file_without_its_end_is_kept(home):
    before = record_much(home)
    size = home.paths.database.stat().st_size
    os.truncate(home.paths.database, size - _PAGE)
    said, after = await repaired(home)
    assert "has a gap" in said
    assert len(after) > RECORDS * 0.8
    assert set(after) <= set(before)


async def test_a_file_without_the_end_of_its_last_page_is_damaged(home):
    record_much(home)
    os.truncate(home.paths.database, home.paths.database.stat().st_size - 100)
    said, _ = await repaired(home)
    assert "its end is cut off" in said


async def test_of_an_older_database_the_record_has_a_gap(home):
    record_much(home)
    newer = kept.load(home.paths.kept_copy)
    kept.store(home.paths.kept_copy, newer.model_copy(update={"changes": newer.changes + 1}))
    said, after = await repaired(home)
    assert "older than the copy" in said
    assert "has a gap" in said
    assert len(after) == RECORDS


async def test_nothing_is_taken_from_another_agents_database(home):
    record_much(home)
    with home.database() as connection:
        connection.execute("UPDATE setting SET value = 'other' WHERE name = 'home_id'")
        connection.execute("UPDATE setting SET value = '999' WHERE name = 'essential_changes'")
    said, after = await repaired(home)
    assert "it is another agent's" in said
    assert after == []
    with home.database() as connection:
        row = connection.execute("SELECT value FROM setting WHERE name = 'home_id'").fetchone()
    assert row[0] == kept.load(home.paths.kept_copy).setting("home_id") != "other"


async def test_a_repair_leaves_nothing_lying_about(home):
    spoil(home, *pages_of(home, "node", "root"))
    await repaired(home)
    assert not list(home.paths.state_dir.glob("meta.new*"))
