"""Agents as processes: what they are started with, and who is taken for one."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path

import pytest

from pyobshell.cli import agent, agents
from pyobshell.cli.outcome import CommandError, Exit
from pyobshell.settings import Paths, Settings


@pytest.fixture
def home(tmp_path) -> Paths:
    paths = Paths(tmp_path / "agent")
    paths.state_dir.mkdir(parents=True)
    paths.run_dir.mkdir()
    return paths


def test_the_process_that_holds_the_lock_is_the_agent(home):
    home.pid_file.write_text(str(os.getpid()))
    with home.lock.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = agents.find(home.base_dir)
        assert found is not None
        with found:
            assert found.pid == os.getpid()


def test_a_stranger_with_the_number_of_an_agent_that_died_is_none(home):
    home.lock.touch()
    home.pid_file.write_text(str(os.getppid()))
    assert agents.find(home.base_dir) is None


@pytest.mark.parametrize("content", ["", "x", "0", "-1", "999999999"])
def test_a_damaged_pid_file_names_nobody(home, content):
    home.lock.touch()
    home.pid_file.write_text(content)
    assert agents.find(home.base_dir) is None


def test_a_directory_that_is_no_home_has_no_agent(tmp_path):
    assert agents.find(tmp_path) is None


def test_what_is_given_wins_over_what_was_kept(home):
    kept = {"ip": "10.0.0.1", "port": 2886, "base_dir": "/moved", "log_level": "INFO"}
    home.settings.write_text(json.dumps(kept))
    settings = agent._settings(
        home.base_dir, {"ip": None, "port": 2887, "observer": Path("x")}, ["stop_timeout_s=5"]
    )
    assert settings == {
        "ip": "10.0.0.1",
        "port": 2887,
        "base_dir": str(home.base_dir),
        "log_level": "INFO",
        "observer": str(Path.cwd() / "x"),
        "stop_timeout_s": "5",
    }


def test_a_first_start_needs_an_address(home):
    with pytest.raises(CommandError, match="give --ip") as refused:
        agent._settings(home.base_dir, {}, None)
    assert refused.value.exit_code == Exit.NO_IP


def test_every_setting_can_be_given(obshell, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    _, said, _ = obshell("agent", "start", "--help")
    for name in Settings.model_fields:
        assert name in said or f"--{name.replace('_', '-')}" in said, name
