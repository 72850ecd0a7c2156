"""A server that is just being launched is not taken for none, nor are its files removed."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from pyobshell import errors
from pyobshell.cluster.peers import ignore
from pyobshell.engines import ObState, ServerConfig
from pyobshell.engines.observer import Observer
from pyobshell.engines.seekdb import Seekdb
from support.waiting import PATIENCE_S, in_time, soon

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("kind", [Seekdb, Observer])
async def test_a_server_that_is_launched_is_there_and_not_destroyed(tmp_path, monkeypatch, kind):
    """A start that is cancelled then goes on until its process can be seen."""
    engine = kind(tmp_path, Path("/bin/true"), tmp_path / ".obshell")
    loop, launching = asyncio.get_running_loop(), asyncio.Event()
    go_on, launched = threading.Event(), threading.Event()

    def launch(_):
        loop.call_soon_threadsafe(launching.set)
        go_on.wait(PATIENCE_S)
        launched.set()

    def require_no_holders(_):
        if launched.is_set():
            raise errors.SERVER_PROCESS_CHECK_FAILED(reason="it runs")

    async def prepare(*_):
        return

    monkeypatch.setattr(engine, "_launch", launch)
    monkeypatch.setattr(engine, "_prepare", prepare)
    monkeypatch.setattr(engine, "_command", lambda _: [])
    monkeypatch.setattr(engine, "_require_no_holders", require_no_holders)
    config = ServerConfig(engine.home, 2881, rpc_port=2882)
    starting = asyncio.create_task(engine.start(config, ignore, in_time()))
    await soon(launching.wait())
    starting.cancel()
    await asyncio.wait([starting])
    seen = await engine.state()
    destroying = asyncio.create_task(engine.destroy(config, ignore))
    await asyncio.wait([destroying], timeout=0.05)  # were it not to wait it would be done
    go_on.set()
    with pytest.raises(errors.OBShellError, match="it runs"):
        await soon(destroying)
    await engine.close()
    assert seen is ObState.PROCESS_RUNNING
