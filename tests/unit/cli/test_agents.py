"""Agents as processes: what they are started with, and who is taken for one."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pyobshell.cli import agents
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


@contextmanager
def running_on(home: Paths) -> Iterator[None]:
    """Be what an agent is to others: lock and socket are held by this process."""
    with home.lock.open("w") as lock, socket.socket(socket.AF_UNIX) as listening:
        fcntl.flock(lock, fcntl.LOCK_EX)
        listening.bind(str(home.socket))
        listening.listen()
        home.pid_file.write_text(str(os.getpid()))
        yield


@pytest.mark.parametrize("written", [None, "", str(os.getppid()), "999999999"])
def test_the_agent_is_found_without_its_pid_file(home, written):
    with running_on(home):
        home.pid_file.unlink()
        if written is not None:
            home.pid_file.write_text(written)
        with agents.find(home.base_dir) as found:
            assert found.pid == os.getpid()


def test_the_agent_is_found_without_its_socket(home):
    with running_on(home):
        home.socket.unlink()
        with agents.find(home.base_dir) as found:
            assert found.pid == os.getpid()


def test_the_agent_is_found_with_nothing_but_its_lock(home):
    with running_on(home):
        shutil.rmtree(home.run_dir)
        with agents.find(home.base_dir) as found:
            assert found.pid == os.getpid()


def test_the_agent_is_found_however_long_the_name_of_its_home_is(tmp_path, monkeypatch):
    home = Paths(tmp_path / ("x" * 120))
    for directory in (home.state_dir, home.run_dir):
        directory.mkdir(parents=True)
    monkeypatch.chdir(home.run_dir)
    with home.lock.open("w"), socket.socket(socket.AF_UNIX) as listening:
        listening.bind(home.socket.name)
        listening.listen()
        with agents.find(home.base_dir) as found:
            assert found.pid == os.getpid()


def test_a_stranger_on_the_socket_is_none(home):
    with running_on(home):
        pass
    home.socket.unlink()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(home.socket))
        listening.listen()
        assert agents.find(home.base_dir) is None


def test_a_directory_that_is_no_home_has_no_agent(tmp_path):
    assert agents.find(tmp_path) is None


def test_every_setting_can_be_given(obshell, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    _, said, _ = obshell("agent", "start", "--help")
    for name in Settings.model_fields:
        assert name in said or f"--{name.replace('_', '-')}" in said, name
