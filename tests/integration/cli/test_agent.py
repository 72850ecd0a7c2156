"""The agent's own process: started, refused, moved, stopped. No database is needed for it."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from pyobshell.cli.sandbox import ports
from pyobshell.engines.process import lock_owner


@pytest.fixture
def port():
    with ports.hold(1) as (port,):
        yield port


@pytest.fixture
def home(obshell, tmp_path):
    yield tmp_path / "home"
    obshell("agent", "stop", "--base-dir", tmp_path / "home")
    server = lock_owner(tmp_path / "home/run/seekdb.pid")
    if server is not None:
        os.kill(server, signal.SIGKILL)


def test_an_agent_starts_once_on_its_home_and_stops_once(obshell, home, port, ended):
    at = ("--base-dir", home)
    told = obshell.json("agent", "start", *at, "--ip", "127.0.0.1", "--port", port)
    assert told["address"] == f"127.0.0.1:{port}"
    assert (home / "log_obshell/obshell.log").read_text().count('"agent.up"') == 1
    files, most = resource.prlimit(told["pid"], resource.RLIMIT_NOFILE)
    assert files >= min(65536, most)

    again = obshell("agent", "start", *at, exit_code=20)
    assert "already" in again.stderr
    assert "obshell agent stop --base-dir" in again.stderr

    taken = ("--base-dir", home.with_name("other"), "--ip", "127.0.0.1", "--port", port)
    refused = obshell("agent", "start", *taken, exit_code=21)
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in refused.stderr

    assert obshell.json("agent", "stop", *at)["pid"] == told["pid"]
    assert ended(told["pid"], 0)
    assert obshell.json("agent", "stop", *at)["stopped"] is False
    obshell("agent", "status", *at, exit_code=4)


@pytest.mark.long
def test_an_agent_that_is_a_member_of_nothing_can_move(obshell, home):
    at = ("--base-dir", home)
    with ports.hold(2) as (first, second):
        obshell("agent", "start", *at, "--ip", "127.0.0.1", "--port", first)
        moved = obshell.json("agent", "restart", *at, "--port", second)
        assert moved["address"] == f"127.0.0.1:{second}"


def test_a_restart_that_cannot_succeed_is_refused_while_the_agent_runs(obshell, home, port, ended):
    at = ("--base-dir", home)
    pid = obshell.json("agent", "start", *at, "--ip", "127.0.0.1", "--port", port)["pid"]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for words, exit_code in (
            (("--port", taken.getsockname()[1]), 21),
            (("--ip", "192.0.2.1"), 21),
            (("--ip", "0.0.0.0"), 18),
            (("--observer", "/nonexistent"), 2),
            (("--engine", "mysql"), 20),
        ):
            obshell("agent", "restart", *at, *words, exit_code=exit_code)
            assert not ended(pid, 0)
    assert obshell.json("agent", "status", *at)["pid"] == pid


@pytest.mark.parametrize(
    "lost", [pytest.param("obshell.pid", marks=pytest.mark.long), "obshell.sock"]
)
def test_an_agent_that_has_lost_a_file_can_still_be_stopped(obshell, home, port, ended, lost):
    at = ("--base-dir", home)
    pid = obshell.json("agent", "start", *at, "--ip", "127.0.0.1", "--port", port)["pid"]
    (home / "run" / lost).unlink()
    assert f"(pid {pid})" in obshell("agent", "start", *at, exit_code=20).stderr
    assert obshell.json("agent", "stop", *at)["pid"] == pid
    assert ended(pid, 0)


def test_one_that_is_paused_can_be_stopped_too(obshell, home, port, ended):
    at = ("--base-dir", home)
    pid = obshell.json("agent", "start", *at, "--ip", "127.0.0.1", "--port", port)["pid"]
    os.kill(pid, signal.SIGSTOP)
    assert obshell.json("agent", "stop", *at)["pid"] == pid
    assert ended(pid, 0)


@pytest.mark.long
def test_a_foreseen_refusal_leaves_no_traceback_in_the_foreground_either(obshell, home, port):
    at = ("--base-dir", home)
    obshell("agent", "start", *at, "--ip", "127.0.0.1", "--port", port)
    refused = obshell("agent", "start", *at, "--foreground", exit_code=20)
    assert "stop it first" in refused.stderr
    assert "Traceback" not in refused.stderr
    told = obshell.json("agent", "start", *at, "--foreground", exit_code=20)
    assert "stop it first" in told["error"]["message"]


@pytest.mark.long
def test_a_member_cannot_move_until_it_is_removed(obshell, home, port):
    at, own = ("--base-dir", home), f"127.0.0.1:{port}"
    obshell("agent", "start", *at, "--ip", "127.0.0.1", "--port", port)
    joined = obshell.json("cluster", "join", *at, "-s", own, "-z", "zone1", "-p", "2881")
    assert (joined["name"], joined["state"]) == ("Update observer config", "SUCCEED")
    pid = obshell.json("agent", "status", *at)["pid"]
    with ports.hold(1) as (other,):
        moved = obshell("agent", "restart", *at, "--port", other, exit_code=19)
        assert f"is a member of a cluster as {own}" in moved.stderr
        assert obshell.json("agent", "status", *at)["pid"] == pid
        # Without its socket it cannot be asked before, and the new start alone finds out.
        (home / "run/obshell.sock").unlink()
        moved = obshell("agent", "restart", *at, "--port", other, exit_code=19)
    assert "is no member of this agent's cluster" in moved.stderr
    assert "the agent runs again as it was" in moved.stderr
    status = obshell.json("agent", "status", *at)
    assert status["pid"] != pid
    assert status["agent"]["port"] == port
    lines = obshell("cluster", "remove", *at, "-s", own, "-y").stdout.splitlines()
    assert lines[-1] == f"Done: removed {own}"
    assert obshell.json("agent", "status", *at)["agent"]["identity"] == "SINGLE"


def test_agents_make_a_cluster_by_commands_here_and_over_http(obshell, home, tmp_path):
    at = ("--base-dir", home)
    password = tmp_path / "password"
    password.write_text("pa'ss wörd\n")
    with ports.hold(3) as (port, sql_port, rpc_port):
        own = f"127.0.0.1:{port}"
        obshell("agent", "start", *at, "--ip", "127.0.0.1", "--port", port)
        obshell("cluster", "join", *at, "-s", own, "-z", "zone1", "-p", sql_port, "-P", rpc_port)
        words = ("-n", "mine", "-i", 7, "--rootpassword-file", password, "-o", "memory_budget=1G")
        made = obshell("cluster", "init", *words, "--host", own).stdout.splitlines()
        assert made[-1] == "Done: cluster mine is up"
        shown = obshell.json("cluster", "show", "--host", own, "--password-file", password)
        (server,) = shown["obcluster_info"]["topology"]["zone1"]
        assert (server["sql_port"], server["status"]) == (sql_port, "ACTIVE")
        again = obshell("cluster", "init", *at, *words, exit_code=3)
        assert "AlreadyInitialized" in again.stderr
        stopped = obshell("cluster", "stop", *at, "-f", "-y").stdout.splitlines()
        assert stopped[-1].endswith("this agent's own server stopped")


@pytest.mark.parametrize(
    ("words", "exit_code", "message"),
    [
        ((), 17, "give --ip"),
        (("--ip", "256.0.0.1"), 18, "[Common.InvalidIp]"),
        (("--ip", "127.0.0.1", "--port", 80), 18, "not a port"),
        (("--ip", "127.0.0.1", "--log-level", "LOUD"), 2, "use DEBUG, INFO"),
        (("--ip", "127.0.0.1", "--set", "no_such=1"), 2, "no_such"),
        pytest.param(
            *(("--ip", "127.0.0.1", "--engine", "mysql"), 20, "'mysql' is unknown"),
            marks=pytest.mark.long,
        ),
        (("--ip", "192.0.2.1"), 21, "cannot listen on 192.0.2.1"),
    ],
)
def test_what_cannot_start_says_why(obshell, tmp_path, words, exit_code, message):
    failed = obshell("agent", "start", "--base-dir", tmp_path / "x", *words, exit_code=exit_code)
    assert message in failed.stderr
    assert failed.stderr.count("\n") == 1
    assert not (tmp_path / "x/.obshell/settings.json").exists()


def test_in_the_foreground_it_tells_systemd_hides_passwords_and_ends_in_order(
    obshell, tmp_path, port
):
    name = str(tmp_path / "notify")
    words = ["agent", "start", "--foreground", "--base-dir", str(tmp_path / "home")]
    words += ["--ip", "127.0.0.1", "--port", str(port), "--password", "s3cret", "--json"]
    surroundings = {"NOTIFY_SOCKET": name, "OB_ROOT_PASSWORD": "s3cret2"}
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(name)
        systemd.settimeout(60)
        with subprocess.Popen(
            [*obshell.command, *words],
            env=obshell.environment | surroundings,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as agent:
            assert systemd.recv(100) == b"READY=1"
            listed = Path(f"/proc/{agent.pid}/cmdline").read_text()
            assert "s3cret" not in listed
            assert "******" in listed
            assert b"s3cret2" not in Path(f"/proc/{agent.pid}/environ").read_bytes()
            agent.send_signal(signal.SIGTERM)
            log = agent.stderr.read()
            told = json.loads(agent.stdout.read())
    assert agent.returncode == 0
    assert (told["pid"], told["address"]) == (agent.pid, f"127.0.0.1:{port}")
    assert '"agent.up"' in log
    assert '"agent.down"' in log
