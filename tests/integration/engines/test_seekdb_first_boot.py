"""A first boot that was cut off is begun anew; a base that was ever in use is never removed."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from pyobshell import errors
from pyobshell.deadline import Deadline
from pyobshell.engines import ObState
from pyobshell.engines.seekdb import Seekdb
from pyobshell.engines.seekdb_command import find_binary

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


@pytest.mark.long
async def test_a_server_that_another_agent_has_started_is_not_made_anew_either(server):
    """As after an upgrade from an agent that noted nothing, beside a server that runs."""
    server.rows("create table test.of_another(a int)", "insert into test.of_another values (1)")
    (server.state_dir / "been-up").unlink()
    engine = Seekdb(server.home, find_binary(None), server.state_dir)
    await engine.state()
    await server.kill()
    store, elsewhere = server.home / "store", server.home / "away"
    store.rename(elsewhere)
    with pytest.raises(errors.OBShellError, match=r"it has been up, but .*meta.db is missing"):
        await engine.start(server.config, server.lines.append, Deadline.after(60))
    await engine.close()
    elsewhere.rename(store)
    await server.start()
    assert server.rows("select * from test.of_another") == ((1,),)


@pytest.mark.long
async def test_a_server_is_noted_from_when_its_first_boot_is_over_also_with_data_elsewhere(
    make_server,
):
    server = make_server()
    server.config = replace(server.config, data_dir=server.home.parent / "data")
    been_up, socket = server.state_dir / "been-up", server.home / "run/sql.sock"
    starting = asyncio.create_task(server.start())
    while not (await asyncio.wait({starting}, timeout=0.01))[0]:
        await server.engine.state()
        assert not been_up.exists() or socket.exists()
    await starting
    been_up.unlink()
    await server.engine.state()
    assert been_up.exists()
