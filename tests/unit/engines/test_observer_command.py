"""All options at the first start, none later; never a password, never more than one can say."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pyobshell import errors
from pyobshell.engines import ServerConfig
from pyobshell.engines.observer_command import command_line, launch, read_version
from pyobshell.engines.observer_files import ObserverFiles

HOME = Path("/base")
BINARY = Path("/base/bin/observer")


def config(**given):
    named = {"rpc_port": 2882, "ip": "10.0.0.1", "zone": "zone1", "cluster": "c", "cluster_id": 7}
    return ServerConfig(HOME, 2881, **{**named, **given})


def words(*, first=True, **given):
    made = config(**given)
    return command_line(BINARY, made, ObserverFiles.of(HOME, made), first=first)


def script(directory, text):
    file = directory / "observer"
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
    return file


def test_the_first_start_says_who_the_server_is():
    assert words() == [
        *("/base/bin/observer", "-n", "c", "-c", "7", "-z", "zone1", "-p", "2881", "-P", "2882"),
        *("-d", "/base/store", "-I", "10.0.0.1"),
    ]


def test_a_restart_says_nothing():
    assert words(first=False, log_level="INFO", parameters={"memory_limit": "8G"}) == [str(BINARY)]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"log_level": "INFO"}, ["-l", "INFO"]),
        ({"data_dir": Path("/data")}, ["-d", "/data"]),
        ({"data_dir": Path("data")}, ["-d", "/base/data"]),
        ({"ip": "fe80::1"}, ["-I", "fe80::1", "--ipv6"]),
        ({"cluster": "-n o'clock"}, ["-n", "-n o'clock"]),
        (
            {"parameters": {"memory_limit": "8G", "__min": "a=b c;$(d)"}},
            ["-o", "memory_limit=8G,__min=a=b c;$(d)"],
        ),
    ],
)
def test_what_is_configured_is_one_word_each(given, expected):
    made = words(**given)
    assert any(made[at : at + len(expected)] == expected for at in range(len(made)))


@pytest.mark.parametrize(
    "key", ["rootPwd", "homePath", "redo_dir", "clog_dir", "slog_dir", "rootservice_list", "zone"]
)
def test_what_is_no_parameter_is_not_in_the_command(key):
    assert words(parameters={key: "secret"}) == words()


@pytest.mark.parametrize(
    ("key", "value"),
    [("a b", "1"), ("-x", "1"), ("", "1"), ("k", "1,l=2"), ("k", "1\nl=2"), ("k", "1\0")],
)
def test_what_would_say_something_else_is_refused(key, value):
    with pytest.raises(errors.OBShellError) as refused:
        words(parameters={key: value})
    assert refused.value.code is errors.ILLEGAL_ARGUMENT


def test_it_runs_in_its_home_with_its_own_libraries_and_knows_no_secrets(tmp_path, monkeypatch):
    monkeypatch.setenv("OB_ROOT_PASSWORD", "secret")
    home = tmp_path / "home"
    home.mkdir()
    binary = script(tmp_path, "pwd > seen; env >> seen; umask >> seen")
    launch([str(binary)], home, lambda: True)
    seen = (home / "seen").read_text().splitlines()
    assert (seen[0], seen[-1]) == (str(home), "0077")
    assert f"LD_LIBRARY_PATH={home}/lib:{tmp_path.parent}/lib" in seen
    assert not any("secret" in line for line in seen)


def test_a_launcher_that_fails_is_the_error_with_its_last_words(tmp_path):
    binary = script(tmp_path, "echo usage; echo 'first start needs zone' >&2; exit 3")
    with pytest.raises(errors.OBShellError, match=r"exit code 3\): first start needs zone"):
        launch([str(binary)], tmp_path, lambda: False)


@pytest.mark.parametrize(
    ("printed", "version"),
    [
        ("observer (OceanBase_CE 4.3.5.3)\\n\\nREVISION: 10300-d0cb", "4.3.5.3-10300"),
        ("observer (OceanBase 4.2.1.10)", "4.2.1.10"),
        ("observer", None),
    ],
)
def test_the_version_is_read_from_what_the_program_prints(printed, version, tmp_path):
    binary = script(tmp_path, f"printf '{printed}\\n' >&2")
    if version is not None:
        assert read_version(binary, tmp_path) == version
    else:
        with pytest.raises(errors.OBShellError, match="tells no version"):
            read_version(binary, tmp_path)


def test_its_environment_is_not_ours(tmp_path):
    binary = script(tmp_path, "env > seen")
    launch([str(binary)], tmp_path, lambda: True)
    names = {line.partition("=")[0] for line in (tmp_path / "seen").read_text().splitlines()}
    known = {"PATH", "HOME", "LANG", "LD_LIBRARY_PATH", "PWD", "SHLVL", "_", "OLDPWD"}
    assert names - known == set()
    assert set(os.environ) - known
