"""What SQLite finds whole, but nobody wrote: such a database is damaged all the same."""

from __future__ import annotations

import pytest

from pyobshell.cli import serve
from pyobshell.home import kept
from pyobshell.home.examination import Orders, examine
from pyobshell.home.findings import Level
from pyobshell.home.opening import open_database
from pyobshell.store.database import sqlite_engine
from pyobshell.store.migrate import migrate, revisions
from pyobshell.store.sqlite import DamagedError

NEWEST = revisions()[-1].encode()

pytestmark = pytest.mark.anyio
_NO_TEXT = "CAST(x'e0' || CAST({0} AS BLOB) AS TEXT)"


def _altered(table, column, value, where="1"):
    def damage(home):
        with home.database() as connection:
            connection.execute(
                f"UPDATE {table} SET {column} = {value.format(column)} WHERE {where}"
            )

    damage.__name__ = f"{table}_{column}_{value.format('')}".replace(" ", "")
    return damage


def _in_the_file(old, new, what):
    """Alter some bytes of the file, as a disk might."""

    def damage(home):
        with home.database() as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        content = home.paths.database.read_bytes()
        assert old in content
        home.paths.database.write_bytes(content.replace(old, new, 1))

    damage.__name__ = what
    return damage


def _an_unfinished_task(data):
    def damage(home):
        with home.database() as connection:
            connection.execute(
                "INSERT INTO dag (name, stage, max_stage, state, operator, maintenance_type,"
                " maintenance_key, params, data, signals, start_time, end_time)"
                f" VALUES ('Stop', 1, 3, 'RUNNING', 'RUN', 2, '', '{{}}', {data}, '[]', 1, 0)"
            )

    damage.__name__ = f"a_task_with_{data.partition('(')[0]}"
    return damage


_THAT_STOP_THE_AGENT = [
    _altered("setting", "value", _NO_TEXT, "name = 'root_password'"),
    _altered("setting", "value", "CAST(value AS BLOB)", "name = 'root_password'"),
    _altered("setting", "name", _NO_TEXT, "name = 'root_password'"),
    _altered("setting", "value", "'1x'", "name = 'essential_changes'"),
    _altered("setting", "value", "'=' || substr({0}, 2)", "name = 'root_password'"),
    _altered("setting", "value", "'CLWSTER AGENT'", "name = 'identity'"),
    _altered("setting", "value", "'one'", "name = 'cluster_id'"),
    _altered("member", "identity", "'CLWSTER AGENT'"),
    _altered("member", "zone", _NO_TEXT),
    _altered("member", "mysql_port", "'many'"),
    _altered("sqlite_sequence", "name", _NO_TEXT, "name = 'audit_record'"),
    _altered("sqlite_sequence", "name", "NULL", "name = 'audit_record'"),
    _altered("sqlite_sequence", "seq", "'x'", "name = 'audit_record'"),
    _altered("sqlite_sequence", "seq", "NULL", "name = 'audit_record'"),
    _altered("alembic_version", "version_num", _NO_TEXT),
    _altered("alembic_version", "version_num", "'00-3'"),
    _altered("alembic_version", "version_num", "'0000'"),
    _in_the_file(
        b"\x06\x01\x02\x15" + NEWEST, b"\x06\x01\x02\x00" + NEWEST, "a_revision_that_is_null"
    ),
    _in_the_file(b"start_time BIG", b"stbrt_time BIG", "a_column_of_another_name"),
    _in_the_file(b"CREATE TABLE member", b"CREATE TABLE m\xcdmber", "a_schema_that_is_no_text"),
    _in_the_file(b"\x00\x00\x00\x04", b"\x00\x00\x00\x09", "a_format_that_there_is_not"),
]
_THAT_THE_DOCTOR_FINDS = [
    _an_unfinished_task("CAST(x'e0' AS TEXT)"),
    _an_unfinished_task("'[7]'"),
    _an_unfinished_task("'{'"),
    _altered("audit_record", "who", _NO_TEXT),
]


def _name(damage):
    return damage.__name__


@pytest.fixture
def lived_long(home):
    """A home with something in every table that is looked at."""
    with home.database() as connection:
        connection.execute(
            "INSERT INTO audit_record (moment, trace_id, who, client, method, path, body)"
            " VALUES (1, '', 'root', '', 'POST', '/', '')"
        )
    return home


def _sealed(home):
    return kept.load(home.paths.kept_copy).setting("root_password")


async def _is_found_and_repaired(home):
    sealed = _sealed(home)
    for orders in (Orders(), Orders(repair=True)):
        findings = await examine(home.settings.base_dir, None, orders)
        told, *after = [one for one in findings if one.check == "database"]
        assert told.repaired or told.level is Level.PROBLEM
        assert told.repaired == orders.repair
        assert "it is damaged" in told.message
        assert sealed[1:20] not in told.message
    assert [one.level for one in after] == [Level.OK]
    open_database(home.paths).close()
    assert _sealed(home) == sealed


@pytest.mark.parametrize("damage", _THAT_STOP_THE_AGENT, ids=_name)
async def test_what_nobody_wrote_keeps_the_agent_from_starting_and_is_repaired(lived_long, damage):
    sealed = _sealed(lived_long)
    damage(lived_long)
    before = lived_long.content()
    with pytest.raises(DamagedError, match="it is damaged") as refused:
        open_database(lived_long.paths)
    assert sealed[1:20] not in str(refused.value)
    assert lived_long.content() == before
    word = serve._failure({"base_dir": lived_long.settings.base_dir}, refused.value)
    assert word.exit == 33
    await _is_found_and_repaired(lived_long)


@pytest.mark.parametrize("damage", _THAT_THE_DOCTOR_FINDS, ids=_name)
async def test_what_nobody_wrote_elsewhere_is_found_and_repaired(lived_long, damage):
    damage(lived_long)
    await _is_found_and_repaired(lived_long)


async def test_a_text_that_is_none_is_told_by_the_agent_without_quoting_it(lived_long):
    """It may be met only later, as what an ended task has done is not looked at before."""
    database = open_database(lived_long.paths)
    _altered("setting", "value", _NO_TEXT, "name = 'root_password'")(lived_long)
    with pytest.raises(DamagedError, match="a text in it is none") as told:
        await database.read(kept.read_from)
    assert _sealed(lived_long)[1:20] not in str(told.value)
    database.close()


async def test_without_a_copy_such_contents_are_not_taken_for_whole(lived_long):
    lived_long.paths.kept_copy.unlink()
    _altered("member", "mysql_port", "'many'")(lived_long)
    findings = await examine(lived_long.settings.base_dir, None, Orders(repair=True))
    (told,) = [one for one in findings if one.check == "database"]
    assert "no copy of its essentials is whole" in told.remedy


async def test_a_home_of_an_earlier_schema_is_well(tmp_path, home):
    """Its tables are those of its time."""
    home.paths.database.unlink()
    home.paths.kept_copy.unlink()
    engine = sqlite_engine(home.paths.database)
    migrate(engine, "0001")
    engine.dispose()
    findings = await examine(home.settings.base_dir, None, Orders())
    (told,) = [one for one in findings if one.check == "database"]
    assert told.level is Level.OK
    open_database(home.paths).close()
