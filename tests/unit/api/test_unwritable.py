"""What an agent says of files that its own process fails to write to."""

from __future__ import annotations

import shutil

import pytest

from pyobshell import errors
from pyobshell.cluster.model import Identity
from pyobshell.tasks.engine import TaskEngine

pytestmark = pytest.mark.anyio


async def test_an_agent_that_can_write_names_nothing_and_changes_nothing(start_host):
    host = await start_host(Identity.SINGLE)
    host.site.settings.paths.run_dir.mkdir(exist_ok=True)
    host.site.settings.paths.log_dir.mkdir(exist_ok=True)
    home = host.site.settings.base_dir
    before = sorted(home.rglob("*"))
    assert (await host.local.get("/agent/unwritable")).contents == []
    assert sorted(home.rglob("*")) == before


async def test_all_that_it_cannot_write_to_is_named_with_why(start_host, monkeypatch):
    async def refuse(_):
        raise errors.STORE_UNAVAILABLE(file="meta.db", base_dir="/b", cause="it is read-only")

    host = await start_host(Identity.SINGLE)
    paths = host.site.settings.paths
    paths.run_dir.mkdir(exist_ok=True)
    shutil.rmtree(paths.log_dir, ignore_errors=True)
    monkeypatch.setattr(TaskEngine, "prove_writable", refuse)
    assert (await host.local.get("/agent/unwritable")).contents == [
        {"file": str(paths.database), "cause": "it is read-only"},
        {"file": str(paths.log_dir), "cause": "no such file or directory"},
    ]
