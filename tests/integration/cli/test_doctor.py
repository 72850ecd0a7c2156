"""Damaged files and a full disk, as who operates an agent meets them."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import sqlite3
from contextlib import closing

import pytest

from pyobshell.cli.sandbox import ports

DAMAGES = {
    "meta.db": (lambda file: os.truncate(file, 8192), 33),
    "vault.key": (lambda file: file.chmod(0o644), 27),
    "agent.key": (lambda file: file.unlink(), 33),
}


@pytest.fixture
def home(obshell, tmp_path):
    yield tmp_path / "home"
    obshell("agent", "stop", "--base-dir", tmp_path / "home")
    shutil.rmtree(tmp_path / "home")


@pytest.fixture
def port():
    with ports.hold(1) as (port,):
        yield port


@pytest.fixture
def master(obshell, home, port):
    """The pid of an agent that is the only member of a cluster to be."""
    own = f"127.0.0.1:{port}"
    start = ("agent", "start", "--base-dir", home, "--ip", "127.0.0.1", "--port", port)
    pid = obshell.json(*start)["pid"]
    obshell("cluster", "join", "--base-dir", home, "-s", own, "-z", "zone1")
    return pid


def problems(told):
    return {one["check"] for one in told["findings"] if one["level"] == "problem"}


def unfinished(home):
    with closing(sqlite3.connect(home / ".obshell/meta.db")) as database:
        return database.execute("SELECT name FROM dag WHERE state <> 'SUCCEED'").fetchall()


@pytest.mark.long
def test_a_broken_database_is_refused_examined_repaired_and_served_again(
    obshell, home, master, ended
):
    at = ("--base-dir", home)
    assert obshell.json("agent", "doctor", *at)["problems"] == 0
    os.kill(master, signal.SIGKILL)
    assert ended(master)
    for name, (damage, exit_code) in DAMAGES.items():
        file = home / ".obshell" / name
        kept = shutil.copytree(home / ".obshell", home / "kept")
        damage(file)
        refused = obshell("agent", "start", *at, exit_code=exit_code)
        assert refused.stderr.count("\n") == 1
        assert f"obshell agent doctor --base-dir {home}" in refused.stderr
        assert "Traceback" not in (home / "log_obshell/obshell.log").read_text()
        assert obshell.json("agent", "doctor", *at, exit_code=1)["problems"] > 0
        shutil.rmtree(home / ".obshell")
        kept.rename(home / ".obshell")

    os.truncate(home / ".obshell/meta.db", 0)
    (home / ".obshell/meta.db-wal").unlink()
    assert problems(obshell.json("agent", "doctor", *at, exit_code=1)) == {"database"}
    said = obshell("agent", "doctor", "--repair", *at).stdout
    assert "a new one is made of what was kept" in said
    assert said.splitlines()[-1] == "no problems are left"
    obshell("agent", "start", *at)
    assert obshell.json("agent", "status", *at)["agent"]["identity"] == "MASTER"
    obshell("agent", "doctor", "--forget-passwords", *at, exit_code=2)


def test_on_a_full_disk_requests_are_refused_and_go_on_when_there_is_space(obshell, home, master):
    """The system lets the agent's files grow no more, and later it does."""
    at = ("--base-dir", home)
    own = obshell.json("agent", "status", *at)["agent"]
    remove = ("cluster", "remove", *at, "-s", f"{own['ip']}:{own['port']}", "-y")
    size = (home / ".obshell/meta.db-wal").stat().st_size
    unlimited = resource.RLIM_INFINITY
    resource.prlimit(master, resource.RLIMIT_FSIZE, (size + 2000, unlimited))
    refused = obshell(*remove, exit_code=3)
    assert "[Agent.Store.Unavailable]" in refused.stderr
    assert "obshell agent doctor" in refused.stderr
    assert obshell.json("agent", "status", *at)["agent"]["identity"] == "MASTER"
    assert unfinished(home) == []
    told = obshell.json("agent", "doctor", *at, exit_code=1)
    (found,) = [one for one in told["findings"] if one["level"] == "problem"]
    assert f"(pid {master}) cannot write to {home / '.obshell/meta.db'}: " in found["message"]
    assert f"no file of more than {size + 2000} bytes" in found["message"]
    resource.prlimit(master, resource.RLIMIT_FSIZE, (unlimited, unlimited))
    obshell(*remove)
    status = obshell.json("agent", "status", *at)
    assert (status["agent"]["identity"], status["pid"]) == ("SINGLE", master)
