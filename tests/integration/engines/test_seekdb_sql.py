"""Passwords of any text, statements of others, and connections that are given back."""

from __future__ import annotations

import asyncio
from datetime import datetime

import pymysql
import pytest

from pyobshell import errors
from pyobshell.deadline import Deadline
from pyobshell.engines import ObState
from pyobshell.engines.seekdb import Seekdb
from pyobshell.engines.sql import AccessDenied, Sql, at_socket
from support.hostile_names import UNSEEN, VISIBLE

pytestmark = pytest.mark.anyio


@pytest.fixture
async def sql(server):
    sql = Sql(at_socket(server.home / "run/sql.sock"))
    yield sql
    sql.forget()


@pytest.mark.parametrize(
    "password",
    ["it's", '"', "\\", "\\' or 1=1 -- ", "%s%d%%", "密码 é", "a;b`c", " ", "x" * 200, "\t\n\x00"],
)
async def test_any_password_can_be_set_and_set_again(password, server):
    engine = server.engine
    try:
        await engine.set_root_password(password, server.lines.append)
        assert await engine.state() is ObState.CONNECTION_AVAILABLE
        assert await engine.login(password)
        assert not await engine.login(password + "x")
        assert not await engine.login("")
        engine.use_password("")  # as if the run had been cut off before it could say so
        await engine.set_root_password(password, server.lines.append)
        assert server.lines[-1] == "the password of root is the new one already"
        assert await engine.state() is ObState.CONNECTION_AVAILABLE
    finally:
        await engine.set_root_password("", server.lines.append)
    assert len(password) < 3 or not any(password in line for line in server.lines)


async def test_a_password_is_escaped_whatever_the_sql_mode_of_the_server(server):
    server.rows("set global sql_mode = 'NO_BACKSLASH_ESCAPES,ANSI_QUOTES'")
    try:
        await server.engine.set_root_password("\\' \"", server.lines.append)
        assert await server.engine.login("\\' \"")
    finally:
        await server.engine.set_root_password("", server.lines.append)
        server.rows("set global sql_mode = 'STRICT_ALL_TABLES'")


async def test_neither_the_old_nor_the_new_password_is_an_error_without_them(server):
    engine = server.engine
    await engine.set_root_password("current", server.lines.append)
    engine.use_password("wrong-old")
    with pytest.raises(errors.OBShellError, match="is not accepted") as refused:
        await engine.set_root_password("wrong-new", server.lines.append)
    assert refused.value.code is errors.MYSQL_ERROR
    assert "wrong" not in str(refused.value)
    assert await engine.state() is ObState.PROCESS_RUNNING
    await server.start()  # runs already: it answers, if only to somebody else's password
    engine.use_password("current")
    await engine.set_root_password("", server.lines.append)


async def test_text_that_is_no_unicode_is_refused_as_a_password(server):
    with pytest.raises(errors.OBShellError, match="not valid Unicode"):
        await server.engine.set_root_password("secret\udc80", server.lines.append)


async def test_a_login_where_no_server_is_raises(make_server):
    with pytest.raises(errors.OBShellError, match="No such file") as failed:
        await make_server().engine.login("")
    assert failed.value.code is errors.SERVER_UNAVAILABLE


async def test_an_error_repeats_a_statement_only_if_it_is_not_confidential(sql):
    deadline = Deadline.after(10)
    with pytest.raises(errors.OBShellError, match=r"near .*secret.*\(1064\)"):
        await sql.query("alter usher %s", "secret", deadline=deadline)
    with pytest.raises(errors.OBShellError, match=r"error 1064$") as failed:
        await sql.query("alter usher %s", "secret", deadline=deadline, confidential=True)
    assert failed.value.__cause__ is None
    assert await sql.query("select 1", deadline=deadline) == [(1,)]
    assert len(sql.sessions) == 1  # a refusal does not cost the connection


async def test_sessions_are_in_utc(sql):
    ((zone, now),) = await sql.query("select @@time_zone, now()", deadline=Deadline.after(10))
    assert zone == "+00:00"
    assert isinstance(now, datetime)


async def test_at_most_two_idle_connections_are_kept_and_those_are_used_again(sql):
    async def ask() -> None:
        await sql.query("select 1", deadline=Deadline.after(10))

    await asyncio.gather(*(ask() for _ in range(5)))
    kept = sql.sessions
    assert len(kept) == 2
    await ask()
    assert sql.sessions == kept


async def test_a_statement_that_is_late_costs_its_connection_only(sql):
    with pytest.raises(errors.OBShellError, match="no answer") as late:
        await sql.query("select sleep(5)", deadline=Deadline.after(0.2))
    assert late.value.code is errors.SERVER_UNAVAILABLE
    assert sql.sessions == set()
    assert await sql.query("select 1", deadline=Deadline.after(10)) == [(1,)]


async def test_a_connection_that_was_ended_meanwhile_is_replaced(sql, server):
    await sql.query("select 1", deadline=Deadline.after(10))
    (ended,) = sql.sessions
    server.rows(f"kill {ended}")
    assert await sql.query("select 1", deadline=Deadline.after(10)) == [(1,)]
    assert ended not in sql.sessions


async def test_a_refused_password_is_told_from_other_failures(sql):
    with pytest.raises(AccessDenied):
        await sql.login("wrong", Deadline.after(10))
    await sql.login("", Deadline.after(10))
    assert sql.sessions == set()


async def test_a_drain_waits_for_the_statements_of_others(server):
    statement = asyncio.create_task(asyncio.to_thread(server.rows, "select sleep(2)"))
    await server.runs(1)
    assert not statement.done()
    await server.engine.drain(server.lines.append, Deadline.after(30))
    await statement
    assert await server.engine.running_statements(Deadline.after(30)) == 0


async def test_a_drain_that_is_late_leaves_the_statement_running(server):
    client = server.client()
    with client, client.cursor() as cursor:
        statement = asyncio.create_task(asyncio.to_thread(cursor.execute, "select sleep(60)"))
        await server.runs(1)
        with pytest.raises(errors.OBShellError) as late:
            await server.engine.drain(server.lines.append, Deadline.after(3))
        assert late.value.code is errors.CLUSTER_ASYNC_TIMEOUT
        assert await server.engine.running_statements(Deadline.after(30)) == 1
        server.rows(f"kill query {client.thread_id()}")
        with pytest.raises(pymysql.err.MySQLError):
            await statement


async def test_a_drain_of_a_stopped_server_has_nothing_to_wait_for(make_server):
    await make_server().engine.drain(print, Deadline.after(1))


async def test_our_own_statements_are_not_those_of_others(server):
    engine: Seekdb = server.engine
    own = asyncio.create_task(engine._sql.query("select sleep(1)", deadline=Deadline.after(10)))
    await asyncio.sleep(0)
    assert await engine.running_statements(Deadline.after(30)) == 0
    assert not own.done()
    await own


@pytest.mark.parametrize("mode", ["STRICT_ALL_TABLES", "NO_BACKSLASH_ESCAPES,ANSI_QUOTES"])
async def test_a_value_means_itself_and_nothing_else(sql, server, mode):
    server.rows(f"set global sql_mode = '{mode}'")
    try:
        sql.forget()
        for value in (VISIBLE | UNSEEN).values():
            assert await sql.query("select %s", value, deadline=Deadline.after(5)) == [(value,)]
    finally:
        server.rows("set global sql_mode = 'STRICT_ALL_TABLES'")
