"""A sandbox of observers leaves nothing, whatever its servers write beside their homes."""

from __future__ import annotations

import json
import subprocess

import pytest

from standin.control import OBSERVER

DISTRIBUTED = ("--observer", OBSERVER)  # its name tells its kind


@pytest.mark.long
def test_down_removes_what_the_servers_made_and_keeps_what_came_later(
    obshell, bring_up, tmp_path, processes_in
):
    directory = tmp_path / "box"
    box = bring_up(directory, *DISTRIBUTED, "--nodes", 1, "--opt_str", "cpu_count=8")
    (summary,) = [
        one
        for one in obshell.json("sandbox", "list")["sandboxes"]
        if one["directory"] == str(directory)
    ]
    assert (summary["agents"], summary["servers"]) == ("1/1", "1/1")
    assert box.nodes[0].observer_pid == int((directory / "node1/run/observer.pid").read_text())
    with box.connect(box.nodes[0]) as connection, connection.cursor() as cursor:
        cursor.execute("select count(*) from oceanbase.DBA_OB_SERVERS where status = 'ACTIVE'")
        assert cursor.fetchall() == ((1,),)
    record = (directory / "node1/etc/observer.config.bin").read_bytes()
    assert b"\nmemory_limit=6G\n" in record  # small enough to be one of several
    assert b"\ncpu_count=8\n" in record

    (directory / "mine").write_text("of later")
    told = obshell.json("sandbox", "down", "--base-dir", directory)
    assert told["kept"] == [str(directory)]
    assert [path.name for path in directory.iterdir()] == ["mine"]
    assert processes_in(directory) == []


@pytest.mark.long
def test_one_that_fails_half_way_leaves_nothing(obshell, tmp_path, processes_in):
    """Its servers run and have made what they share, and then it is killed."""
    directory = tmp_path / "box"
    command = [*obshell.command, "sandbox", "up", "--base-dir", directory, "--nodes", "1"]
    with subprocess.Popen(
        [*command, "--engine", "oceanbase", *DISTRIBUTED],
        stderr=subprocess.PIPE,
        env=obshell.environment,
        text=True,
    ) as coming_up:
        while not list(directory.glob("node1/run/observer.pid")):
            assert coming_up.poll() is None
        coming_up.kill()
        coming_up.stderr.read()
    assert json.loads((directory / "sandbox.json").read_text())["beside"] is None
    obshell("sandbox", "down", "--base-dir", directory)
    assert not directory.exists()
    assert processes_in(tmp_path) == []
