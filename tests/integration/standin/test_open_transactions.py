"""What is open when a cluster ends is rolled back, as observers do, and locks nothing."""

from __future__ import annotations

from contextlib import AsyncExitStack, closing

import pytest

from standin.seekdb import Seekdb


@pytest.mark.long
@pytest.mark.anyio
async def test_an_open_transaction_locks_nothing_after_the_end(tmp_path):
    seekdb = Seekdb(tmp_path / "s")
    async with AsyncExitStack() as stack:
        stack.push_async_callback(seekdb.kill)
        first = stack.enter_context(closing(await seekdb.start(anew=True)))
        for table in ("one", "two"):
            await first.query(f"create table test.{table} (n int primary key, v longtext)")
            await first.query(f"insert into test.{table} values (1, 'before')")
        await first.query("begin")
        for table in ("one", "two"):
            await first.query(f"update test.{table} set v = '{'x' * 100_000}'")
        other = stack.enter_context(closing(await seekdb.session()))
        await other.query("ALTER SYSTEM MINOR FREEZE")  # its log is written, uncommitted
        await seekdb.kill()
        again = stack.enter_context(closing(await seekdb.start(anew=False)))
        await again.query("set ob_query_timeout = 1000000")
        await again.query("update test.one set v = 'after' where v = 'before'")
        assert await again.query("select v from test.one") == [("after",)]
