"""A sandbox from its beginning to its end, and what it never leaves behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess

import pexpect
import pytest
from obshell import ClientSet
from obshell.auth import PasswordAuth
from obshell.request import ProtocolOptions


def test_down_leaves_no_process_and_no_directory_even_after_a_crash(
    obshell, bring_up, tmp_path, ended, processes_in
):
    directory = tmp_path / "new" / "box"
    box = bring_up(directory, "--nodes", 1)
    listed = obshell.json("sandbox", "list")["sandboxes"]
    assert ["1/1", "1/1", str(directory)] in [list(one.values())[-3:] for one in listed]

    os.kill(box.nodes[0].agent_pid, signal.SIGKILL)
    assert ended(box.nodes[0].agent_pid)
    reader = ["tail", "-f", directory / "node1/log_obshell/obshell.log"]
    with subprocess.Popen(reader, stdout=subprocess.PIPE) as stranger:
        stranger.stdout.read(1)
        obshell("sandbox", "down", "--base-dir", directory)
        assert stranger.poll() is None
        assert ended(box.nodes[0].observer_pid, 0)
        stranger.kill()
        stranger.stdout.read()
    assert not (tmp_path / "new").exists()
    assert processes_in(directory) == []
    assert str(directory) not in obshell("sandbox", "list").stdout


@pytest.mark.long
def test_one_that_speaks_tls_can_be_asked_with_its_certificates_alone(obshell, bring_up, tmp_path):
    box = bring_up(tmp_path / "box", "--nodes", 2, "--tls")
    certs = tmp_path / "box/certs"
    first, second = box.nodes
    words = ("--host", f"{first.ip}:{first.port}", "--password", box.root_password)
    shown = [
        *("--cacert", certs / "ca.crt", "--cert", certs / "client.crt"),
        *("--key", certs / "client.key"),
    ]
    target = ("-s", f"{second.ip}:{second.port}")
    obshell("cluster", "stop", *target, "-f", "-y", *words, *shown)
    obshell("cluster", "start", *target, *words, *shown)
    refused = obshell("cluster", "show", *words, exit_code=3)
    assert "Request.Tls.Required" in refused.stderr
    obshell("agent", "gen-cert", "127.0.0.1", "--dir", certs, "--renew")
    for node in box.nodes:
        obshell("agent", "reload-tls", "--base-dir", node.base_dir)
    shown = (str(certs / "client.crt"), str(certs / "client.key"))
    protocol = ProtocolOptions.https(str(certs / "ca.crt"), shown)
    auth = PasswordAuth(box.root_password)
    sdk = ClientSet(first.ip, first.port, auth, protocol_options=protocol).v1
    assert sdk.stop_sync("GLOBAL", [], force=True).state == "SUCCEED"


@pytest.mark.long
def test_one_that_does_not_come_up_leaves_nothing_and_says_why(obshell, tmp_path, processes_in):
    directory = tmp_path / "box"
    words = ("--base-dir", directory, "--nodes", 2, "--observer", "/bin/false")
    failed = obshell("sandbox", "up", *words, "--json", exit_code=1)
    assert "/bin/false tells no version" in failed.stderr
    assert "what was made is removed" in failed.stderr
    assert not directory.exists()
    assert processes_in(directory) == []
    assert str(directory) not in obshell("sandbox", "list").stdout


@pytest.fixture
def nothing_is_left(obshell, tmp_path, processes_in):
    """The directory of a sandbox of which nothing may be left in the end."""
    directory = tmp_path / "box"
    yield directory
    assert processes_in(tmp_path) == []
    assert not directory.exists()
    assert str(directory) not in obshell("sandbox", "list").stdout


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGINT,
        pytest.param(signal.SIGTERM, marks=pytest.mark.long),
        pytest.param(signal.SIGHUP, marks=pytest.mark.long),
    ],
)
def test_one_that_is_cut_off_cleans_up(obshell, nothing_is_left, number):
    command = [*obshell.command, "sandbox", "up", "--base-dir", nothing_is_left, "--nodes", "1"]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, env=obshell.environment, text=True
    ) as coming_up:
        assert "✓ 1 agent started" in coming_up.stderr.readline()
        coming_up.send_signal(number)
        said = coming_up.stderr.read()
    assert coming_up.returncode == 130
    assert "what was made is removed" in said


@pytest.mark.long
def test_one_whose_output_nobody_reads_any_more_cleans_up(obshell, nothing_is_left):
    command = [*obshell.command, "sandbox", "up", "--base-dir", nothing_is_left, "--nodes", "1"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=obshell.environment
    ) as coming_up:
        assert coming_up.stdout.readline()
        coming_up.stdout.close()
    assert coming_up.returncode == 1


@pytest.fixture
def in_terminal(obshell):
    """Run a command in a terminal; returns it when it has drawn something."""
    running = []

    def run(awaited: str, *words: object, **environment: str) -> pexpect.spawn:
        program, *rest = [*obshell.command, *map(str, words)]
        surroundings = obshell.environment | {"TERM": "xterm"} | environment
        child = pexpect.spawn(program, rest, env=surroundings, encoding="utf-8", timeout=60)
        running.append(child)
        child.expect(awaited)
        return child

    yield run
    for child in running:
        child.close(force=True)


@pytest.mark.long
def test_one_whose_terminal_is_closed_cleans_up(in_terminal, ended, nothing_is_left):
    words = ("sandbox", "up", "--base-dir", nothing_is_left, "--nodes", "1")
    child = in_terminal("agent started", *words)
    child.ptyproc.fileobj.close()
    assert ended(child.pid, 60)


def test_one_that_is_interrupted_again_and_again_cleans_up(in_terminal, nothing_is_left):
    words = ("sandbox", "up", "--base-dir", nothing_is_left, "--nodes", "1")
    child = in_terminal("starting 1 agent", *words)
    for _ in range(5):
        child.sendintr()
    child.expect("what was made is removed")
    child.expect(pexpect.EOF)
    assert child.wait() == 130


@pytest.mark.long
def test_without_a_home_to_write_in_one_comes_up_and_is_only_not_listed(obshell, nothing_is_left):
    homeless = {"HOME": "/dev/null", "XDG_STATE_HOME": ""}
    told = obshell.json("sandbox", "up", "--base-dir", nothing_is_left, "--nodes", "1", **homeless)
    assert len(told["agents"]) == 1
    assert obshell.json("sandbox", "list", **homeless) == {"sandboxes": []}
    obshell("sandbox", "down", "--base-dir", nothing_is_left, **homeless)


@pytest.mark.parametrize(
    "step", [pytest.param("agents started", marks=pytest.mark.long), "rows written"]
)
@pytest.mark.long
def test_a_demo_whose_output_nobody_reads_any_more_leaves_nothing(
    obshell, tmp_path, processes_in, step
):
    surroundings = obshell.environment | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [*obshell.command, "demo"], stdout=subprocess.PIPE, env=surroundings, text=True
    ) as demo:
        assert any(step in line for line in iter(demo.stdout.readline, ""))
        demo.stdout.close()
    assert demo.returncode == 1
    assert processes_in(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
def test_a_demo_whose_terminal_is_closed_leaves_nothing(in_terminal, ended, tmp_path, processes_in):
    child = in_terminal("rows written", "demo", TMPDIR=str(tmp_path))
    child.ptyproc.fileobj.close()
    assert ended(child.pid, 60)
    assert processes_in(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_the_demo_succeeds_without_a_terminal_leaves_nothing_and_is_one_document(obshell, tmp_path):
    done = obshell("demo", "--json", TMPDIR=str(tmp_path))
    said, told = done.stderr, json.loads(done.stdout)
    assert '{"scope":{"type":"GLOBAL"},"force":true}' in said
    assert "have ended" in said
    assert "all 1000 rows are there on each of 3 servers" in said
    assert list(tmp_path.iterdir()) == []
    assert [task["name"] for task in told["tasks"]] == ["Stop OB", "Start OB"]
    assert all(task["state"] == "SUCCEED" and task["stages"] for task in told["tasks"])
    assert (len(told["agents"]), told["rows"]) == (3, 1000)
    assert "counting rows" in [step["name"] for step in told["steps"]]
