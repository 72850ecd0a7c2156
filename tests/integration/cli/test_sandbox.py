"""A sandbox from its beginning to its end, and what it never leaves behind."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path


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


def test_one_that_does_not_come_up_leaves_nothing_and_says_why(obshell, tmp_path, processes_in):
    directory = tmp_path / "box"
    words = ("--base-dir", directory, "--nodes", 2, "--observer", "/bin/false")
    failed = obshell("sandbox", "up", *words, "--json", exit_code=1)
    assert "/bin/false tells no version" in failed.stderr
    assert "removing what was made" in failed.stderr
    assert not directory.exists()
    assert processes_in(directory) == []
    assert str(directory) not in obshell("sandbox", "list").stdout


def test_one_that_is_cut_off_cleans_up(obshell, tmp_path, processes_in):
    directory = tmp_path / "box"
    command = [*obshell.command, "sandbox", "up", "--base-dir", directory, "--nodes", "1"]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, env=obshell.environment, text=True
    ) as coming_up:
        assert "agents started" in coming_up.stderr.readline()
        coming_up.send_signal(signal.SIGTERM)
        said = coming_up.stderr.read()
    assert coming_up.returncode == 130
    assert "removing what was made" in said
    assert not directory.exists()
    assert processes_in(directory) == []


def test_the_demo_succeeds_without_a_terminal_and_leaves_nothing(obshell, tmp_path):
    said = obshell("demo", TMPDIR=str(tmp_path)).stdout
    assert '{"scope":{"type":"GLOBAL"},"force":true}' in said
    assert "have ended" in said
    assert "all 1000 rows are there on each of 3 servers" in said
    assert said.splitlines()[-7].split()[:2] == ["Start", "OB"]
    assert list(Path(tmp_path).iterdir()) == []
