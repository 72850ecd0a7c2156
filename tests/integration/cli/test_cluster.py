"""A cluster is shown, stopped and started by commands; a shared sandbox, left running by each."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import sys
from concurrent.futures import ThreadPoolExecutor

import pexpect
import psutil
import pytest

from pyobshell.deadline import Deadline

_RUNS = "select 1 from oceanbase.V$OB_PROCESSLIST where id = %s and state = 'ACTIVE'"
_HEADINGS = ["ZONE", "AGENT", "SERVER", "SQL PORT", "STATE", "IDENTITY", "VERSION"]
_LINE = re.compile(r".+ \[\d/\d\] SUCCEED \d+(\.\d)? m?s")


def test_the_sandbox_is_what_was_asked_for(box):
    told = json.loads((box.directory / "sandbox.json").read_text())
    assert told["name"] == "shared"
    assert [node.zone for node in box.nodes] == ["zone1", "zone2"]
    ports = [port for node in box.nodes for port in (node.port, node.sql_port)]
    assert len(set(ports)) == 4
    for node in box.nodes:
        assert node.ip == "127.0.0.1"
        assert psutil.Process(node.observer_pid).name() == "seekdb"
        with box.connect(node) as connection, connection.cursor() as cursor:
            assert cursor.execute("select 1") == 1


def test_it_is_shown_as_a_table(box):
    lines = box("cluster", "show").stdout.splitlines()
    assert lines[0].startswith("Cluster shared (id ")
    assert re.split(" {2,}", lines[1]) == _HEADINGS
    first = lines[2].split()
    assert first[:2] == ["zone1", box.nodes[0].address]
    assert first[3:5] == [str(box.nodes[0].sql_port), "ACTIVE"]
    assert "ROOT SERVICE" in box("cluster", "show", "-d").stdout


def test_the_whole_cluster_is_stopped_and_started(box, ended):
    before = [node.server_pid for node in box.nodes]
    dag = box.json("cluster", "stop", "-a", "-f", "-y")
    assert (dag["name"], dag["state"], dag["max_stage"]) == ("Stop OB", "SUCCEED", 5)
    assert all(ended(pid, 0) for pid in before)
    assert box.states() == ["INACTIVE"] * 2

    *lines, last = box("cluster", "start", "-a").stdout.splitlines()
    assert len(lines) == 6
    assert all(_LINE.fullmatch(line) for line in lines), lines
    assert re.fullmatch(r"Done in .*: ALL servers of the cluster started", last)
    assert box.states() == ["ACTIVE"] * 2
    assert all(node.server_pid not in before for node in box.nodes)

    shown = box("task", "show", "-i", dag["id"], "-d").stdout
    assert shown.startswith(f"id: '{dag['id']}'\n")
    assert "SIGKILL" in shown
    assert box("task", "show").stdout.startswith("No unfinished tasks\n")


def test_without_yes_and_without_a_terminal_nothing_is_stopped(box):
    refused = box("cluster", "stop", "-a", "-f", exit_code=2)
    assert "say --yes" in refused.stderr
    assert box.states() == ["ACTIVE"] * 2


def test_what_the_agent_refuses_is_told_in_one_line(box):
    words = ("cluster", "stop", "-z", "zone9")
    assert box(*words, exit_code=3).stderr == (
        "obshell: [OB.Zone.NotExist] Zone 'zone9' does not exist\n"
    )
    assert box.json(*words, exit_code=3)["error"]["code"] == "OB.Zone.NotExist"
    assert "[Task.GenericID.Invalid]" in box("task", "cancel", "-y", "-i", "29", exit_code=3).stderr


def test_an_agent_is_asked_over_http_with_the_password(box, tmp_path):
    words = ("cluster", "show", "--host", box.nodes[1].address)
    shown = box.obshell.json(*words, OB_ROOT_PASSWORD=box.root_password)
    assert shown["obcluster_info"]["name"] == "shared"
    file = tmp_path / "password"
    file.write_text("wrong\n")
    refused = box.obshell(*words, "--password-file", file, exit_code=3)
    assert "IncorrectOceanbasePassword" in refused.stderr


def test_an_agent_stops_without_its_server_and_comes_back_as_it_was(box, ended):
    node = box.nodes[1]
    at = ("--base-dir", node.base_dir)
    agent, server = node.agent_pid, node.server_pid
    assert "its server is left as it is" in box.obshell("agent", "stop", *at).stdout
    assert ended(agent, 0)
    box.obshell("agent", "status", *at, exit_code=4)
    box.obshell("cluster", "show", *at, exit_code=4)
    assert node.server_pid == server

    assert f"Agent {node.address} is up" in box.obshell("agent", "restart", *at).stdout
    status = box.obshell.json("agent", "status", *at)
    assert (status["agent"]["port"], status["obState"]) == (node.port, 3)
    assert node.server_pid == server


def test_a_failure_is_told_with_the_command_that_goes_on_once_its_cause_is_mended(box):
    victim = box.nodes[1]
    pid = victim.server_pid
    os.kill(pid, signal.SIGSTOP)
    try:
        failed = box("cluster", "stop", "-s", victim.address, exit_code=1).stdout
    finally:
        os.kill(pid, signal.SIGCONT)
    assert "accepts no SQL" in failed
    assert box("task", "show").stdout.startswith("No unfinished tasks\n")
    command = re.search(r"obshell (task retry .*)", failed)[1]
    assert "SUCCEED" in box.obshell(*shlex.split(command), "--yes").stdout
    assert victim.server_pid is None
    box("cluster", "start", "-s", victim.address)


@pytest.fixture
def terminal(box):
    """Run a command for the first agent in a terminal."""
    running = []

    def run(*words: str) -> pexpect.spawn:
        command = ["-m", "pyobshell.cli", *words, "--base-dir", box.nodes[0].base_dir]
        environment = box.obshell.environment | {"TERM": "xterm"}
        child = pexpect.spawn(
            sys.executable,
            command,
            env=environment,
            dimensions=(30, 120),
            timeout=60,
            encoding="utf-8",
        )
        running.append(child)
        return child

    yield run
    for child in running:
        child.close(force=True)


@pytest.fixture
def busy_server(box):
    """A server on which a statement runs that only its killing ends."""
    node = box.nodes[1]
    with box.connect(node) as connection, box.connect(node) as watching:
        number = connection.thread_id()
        connection.query("set ob_query_timeout = 600000000")  # else 10 s, which a test may take
        with ThreadPoolExecutor(1) as running, watching.cursor() as cursor:
            statement = running.submit(connection.query, "select sleep(600)")
            deadline = Deadline.after(30)
            while not cursor.execute(_RUNS, (number,)):
                assert not deadline.passed()
            yield node
            assert not statement.done()
            cursor.execute("kill query %s", (number,))


def test_ctrl_c_cancels_and_releases(box, busy_server, terminal):
    server = busy_server.server_pid
    child = terminal("cluster", "stop", "-I", "-s", busy_server.address)
    child.expect("●[^\n]*Wait for all agents")
    child.sendintr()
    child.expect("Interrupted: cancelling 'Stop OB'")
    child.expect("'Stop OB' is cancelled")
    child.expect(pexpect.EOF)
    child.wait()
    assert child.exitstatus == 130
    assert busy_server.server_pid == server
    assert box("task", "show").stdout.startswith("No unfinished tasks\n")


def test_on_a_terminal_a_question_is_asked_and_progress_is_a_table(box, terminal):
    child = terminal("cluster", "stop", "-a", "-f")
    child.expect_exact("Kill ALL servers of the cluster? [y/N] ")
    child.sendline("n")
    child.expect("operation cancelled, nothing was done")
    child.expect(pexpect.EOF)
    assert child.wait() == 2

    child = terminal("cluster", "start", "-a")
    child.expect(r"✓[^\n]*Inform all agents to start observer[^\n]* 2/2 ")
    child.expect("Done in .*: ALL servers of the cluster started")
    child.expect(pexpect.EOF)
    assert child.wait() == 0
