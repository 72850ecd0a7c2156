"""A restart that fails leaves the agent as it was."""

from __future__ import annotations

import json
import os
from pathlib import Path

import psutil
import pytest

from pyobshell.cli import agents, restart
from pyobshell.cli.outcome import CommandError, Exit
from pyobshell.engines.process import ServerProcess

pytestmark = pytest.mark.anyio


@pytest.fixture
def running_agent(tmp_path, monkeypatch):
    """An agent that would end if it were told to; its settings are kept in its home."""
    ended = []

    def find(_: Path) -> ServerProcess:
        pid = os.getpid()
        return ServerProcess(pid, os.pidfd_open(pid), psutil.Process(pid).create_time())

    async def end(process: ServerProcess) -> None:
        ended.append(process.pid)

    monkeypatch.setattr(agents, "find", find)
    monkeypatch.setattr(restart, "end", end)
    (tmp_path / ".obshell").mkdir()
    kept = {"ip": "127.0.0.1", "port": 2000, "base_dir": "/moved"}
    (tmp_path / ".obshell/settings.json").write_text(json.dumps(kept))
    return ended


@pytest.fixture
def starts(monkeypatch):
    """What was started; what is in ``fails`` does not start."""
    started, fails = [], []

    def start(settings, take_over=None):
        started.append(settings)
        if settings["port"] in fails:
            raise CommandError(Exit.DAEMON_LOST, f"{settings['port']} failed")
        return agents.Running(7, f"127.0.0.1:{settings['port']}", Path(settings["base_dir"]))

    monkeypatch.setattr(restart, "start", start)
    return started, fails


def given(home: Path) -> dict[str, object]:
    return {"ip": "127.0.0.1", "port": 2001, "base_dir": str(home), "dag_hold_ms": 1}


async def test_if_the_new_start_fails_it_is_started_as_it_was(tmp_path, running_agent, starts):
    started, fails = starts
    fails.append(2001)
    with pytest.raises(CommandError, match="2001 failed; the agent runs again as it was") as failed:
        await restart.restart(given(tmp_path))
    assert failed.value.exit_code == Exit.DAEMON_LOST
    as_it_was = {"ip": "127.0.0.1", "port": 2000, "base_dir": str(tmp_path)}
    assert started == [given(tmp_path), as_it_was]


async def test_if_that_fails_as_well_both_are_said(tmp_path, running_agent, starts):
    starts[1].extend([2000, 2001])
    with pytest.raises(CommandError, match=r"2001 failed; .*not start either: 2000 failed"):
        await restart.restart(given(tmp_path))


async def test_if_nobody_knows_how_it_was_that_is_said(tmp_path, running_agent, starts):
    (tmp_path / ".obshell/settings.json").write_text("")
    starts[1].append(2001)
    with pytest.raises(CommandError, match="2001 failed; the agent is down, as what it was"):
        await restart.restart(given(tmp_path))


async def test_what_cannot_start_does_not_end_the_agent(tmp_path, running_agent, starts):
    with pytest.raises(CommandError, match="'mysql' is unknown") as refused:
        await restart.restart(given(tmp_path) | {"engine": "mysql"})
    assert refused.value.exit_code == Exit.START_FAILED
    assert running_agent == []
    assert starts[0] == []
