"""The command line says what is needed, never more, and the child knows nothing of us."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from pyobshell import errors
from pyobshell.engines import ServerConfig
from pyobshell.engines.process import lock_owner
from pyobshell.engines.seekdb_command import (
    ALREADY_RUNNING,
    command_line,
    find_binary,
    launch,
    read_version,
    server_parameters,
)

HOME = Path("/base")
SEEKDB = Path("/opt/seekdb")


def words(first, **config):
    made = command_line(SEEKDB, ServerConfig(HOME, 2881, **config), HOME, first=first)
    assert made[0] == "/opt/seekdb"
    return " ".join(made[1:])


def script(tmp_path, text):
    file = tmp_path / "seekdb"
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
    return file


def test_the_first_start_names_all_that_differs_from_a_machine_of_its_own():
    assert words(True) == (
        "--base-dir /base --port 2881 --log-level WARN"
        " --parameter memory_budget=1G --parameter log_disk_size=2G"
    )


def test_a_restart_leaves_the_parameters_as_they_were_set_meanwhile():
    assert (
        words(False, parameters={"memory_limit": "8G"}, rpc_port=2882)
        == "--base-dir /base --port 2881 --log-level WARN --parameter rpc_port=2882"
    )


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"data_dir": Path("/data")}, "--data-dir /data"),
        ({"data_dir": Path("data")}, "--data-dir /base/data"),
        ({"redo_dir": Path("/redo")}, "--redo-dir /redo"),
        ({"ip": "::1"}, "--use-ipv6"),
        ({"log_level": "INFO"}, "--log-level INFO"),
        ({"parameters": {"syslog_level": "ERROR"}}, "--log-level ERROR"),
    ],
)
def test_each_option_is_given_at_every_start(config, expected):
    assert expected in words(True, **config)
    assert expected in words(False, **config)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"memory_limit": "8G"}, {"memory_budget": "8G"}),
        ({"memory_limit": "8G", "memory_budget": "3G"}, {"memory_budget": "3G"}),
        ({"memory_budget": "3G", "memory_limit": "8G"}, {"memory_budget": "3G"}),
        ({"log_disk_size": "9G"}, {"log_disk_size": "9G"}),
        ({"datafile_size": "4G", "cpu_count": "4"}, {"datafile_size": "4G", "cpu_count": "4"}),
        ({"zone": "zone1", "cluster_id": "1", "devname": "lo"}, {}),
        ({"mysql_port": "1", "data_dir": "x", "rootPwd": "secret"}, {}),
    ],
)
def test_the_keys_of_an_observer_are_understood(given, expected):
    defaults = {"memory_budget": "1G", "log_disk_size": "2G"}
    assert server_parameters(ServerConfig(HOME, 2881, parameters=given)) == defaults | expected


@pytest.mark.parametrize("key", ["", "a b", "a=b", "--role"])
def test_a_key_that_is_no_name_is_refused(key):
    with pytest.raises(errors.OBShellError) as refused:
        server_parameters(ServerConfig(HOME, 2881, parameters={key: "1"}))
    assert refused.value.code is errors.ILLEGAL_ARGUMENT


def test_the_installed_program_is_found_without_importing_its_package():
    assert find_binary(None).is_file()
    assert "pylibseekdb" not in sys.modules
    assert find_binary(Path("/other/seekdb")) == Path("/other/seekdb")


def test_a_missing_package_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(errors.OBShellError, match=r"pip install '\.\[seekdb\]'"):
        find_binary(None)


def test_the_version_is_read_from_the_program():
    assert read_version(find_binary(None)).startswith("1.4.")


def test_a_program_without_a_version_is_an_error():
    with pytest.raises(errors.OBShellError, match="tells no version"):
        read_version(Path("/bin/true"))


@pytest.mark.parametrize(
    ("code", "meaning"),
    [(94, "an option is invalid"), (127, "libaio"), (5, "cause is not known")],
)
def test_an_exit_code_is_explained_with_the_last_line_printed(code, meaning, tmp_path):
    program = script(tmp_path, f"echo first; echo 'the last line' >&2; exit {code}")
    with pytest.raises(errors.OBShellError, match=rf"{meaning}.*{code}\): the last line"):
        launch([str(program)], tmp_path / "pid")


@pytest.mark.parametrize("code", [0, ALREADY_RUNNING])
def test_success_and_a_server_that_runs_already_are_no_errors(code, tmp_path):
    assert launch([str(script(tmp_path, f"exit {code}"))], tmp_path / "pid") == code


def test_a_program_that_cannot_be_run_is_an_error(tmp_path):
    with pytest.raises(errors.OBShellError, match="cannot be run"):
        launch([str(tmp_path / "nothing")], tmp_path / "pid")


_LATE = """
import fcntl, os, sys, time
if os.fork() == 0:
    os.setsid()
    time.sleep(0.2)
    if sys.argv[2:]:
        os._exit(0)
    file = open(sys.argv[1], "w")
    fcntl.lockf(file, fcntl.LOCK_EX)
    time.sleep(60)
"""


def test_a_daemon_is_awaited_until_its_lock_can_be_seen(tmp_path):
    """Though it keeps all open that it was given, and locks after its launcher's exit."""
    assert launch([sys.executable, "-c", _LATE, str(tmp_path / "pid")], tmp_path / "pid") == 0
    os.kill(lock_owner(tmp_path / "pid"), signal.SIGKILL)


def test_a_daemon_that_ends_before_it_locks_is_not_awaited(tmp_path):
    words = [sys.executable, "-c", _LATE, str(tmp_path / "pid"), "dies"]
    assert launch(words, tmp_path / "pid") == 0
    assert lock_owner(tmp_path / "pid") is None


def test_the_environment_has_no_secrets_and_forbids_telemetry(tmp_path, monkeypatch):
    monkeypatch.setenv("OB_ROOT_PASSWORD", "secret")
    launch([str(script(tmp_path, f"env > {tmp_path}/env"))], tmp_path / "pid")
    environment = dict(
        line.split("=", 1) for line in (tmp_path / "env").read_text().splitlines() if "=" in line
    )
    assert environment["TELEMETRY_ENABLED"] == "false"
    shells_own = {"PWD", "SHLVL", "_", "OLDPWD"}
    assert set(environment) - shells_own <= {"PATH", "HOME", "LANG", "TELEMETRY_ENABLED"}
