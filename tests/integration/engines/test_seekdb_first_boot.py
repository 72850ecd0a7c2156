"""A first boot that was cut off is begun anew; a base that was ever in use is never removed."""

from __future__ import annotations

import pytest

from pyobshell import errors
from pyobshell.deadline import Deadline
from pyobshell.engines import ObState

pytestmark = pytest.mark.anyio
REMOVED = "the first boot was cut off, which leaves a useless base: removing it"


async def test_a_first_boot_that_was_killed_is_begun_anew(make_server):
    server = make_server()
    with pytest.raises(errors.OBShellError) as late:
        await server.engine.start(server.config, server.lines.append, Deadline.after(0.4))
    assert late.value.code is errors.CLUSTER_ASYNC_TIMEOUT
    await server.kill()
    assert server.marker.exists()
    await server.start()
    assert REMOVED in server.lines
    assert not server.marker.exists()
    assert await server.engine.state() is ObState.CONNECTION_AVAILABLE


@pytest.mark.long
async def test_a_note_that_was_left_behind_costs_no_data(server):
    """As when the agent died at the very end of the boot, and the server was used for a year."""
    server.rows("create table test.precious(a int)", "insert into test.precious values (1)")
    pid = await server.pid()
    server.marker.touch()
    assert await server.start() == pid
    assert not server.marker.exists()
    await server.kill()
    server.marker.touch()
    await server.start()
    assert REMOVED not in server.lines
    assert not server.marker.exists()
    assert server.rows("select * from test.precious") == ((1,),)


async def test_a_server_whose_data_is_away_is_not_made_anew_and_loses_none(server):
    """As when its file system is not mounted after the host has come up again."""
    server.rows("create table test.precious(a int)", "insert into test.precious values (1)")
    await server.kill()
    store, elsewhere = server.home / "store", server.home / "away"
    store.rename(elsewhere)
    for attempt in (server.start, lambda: server.engine.check_start(server.config)):
        with pytest.raises(errors.OBShellError, match=r"it has been up, but .*meta.db is missing"):
            await attempt()
    assert not store.exists()
    elsewhere.rename(store)
    await server.start()
    assert server.rows("select * from test.precious") == ((1,),)
