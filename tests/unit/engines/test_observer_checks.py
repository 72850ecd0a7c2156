"""A start that cannot succeed, or would do harm, is refused before it is tried."""

from __future__ import annotations

import os
import shutil
import socket
from collections import namedtuple
from pathlib import Path

import pytest

from pyobshell import errors
from pyobshell.engines import ServerConfig
from pyobshell.engines.observer_checks import check_start
from pyobshell.engines.observer_files import ObserverFiles

TRUE = Path("/bin/true")
GIB = 1 << 30


def check(home, binary=TRUE, ports=(), *, first=True, **config):
    made = ServerConfig(home, 2881, **config)
    check_start(binary, made, ObserverFiles.of(home, made), ports, first=first)


def refusal(*arguments, **config):
    with pytest.raises(errors.OBShellError) as refused:
        check(*arguments, **config)
    return refused.value


def room(monkeypatch, gib):
    usage = namedtuple("usage", "free")(int(gib * GIB))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)


def test_a_good_configuration_passes_and_nothing_is_made(tmp_path):
    check(tmp_path / "not/yet")
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_a_program_is_refused(tmp_path):
    assert "is not a program" in str(refusal(tmp_path, tmp_path / "bin/observer"))


def test_each_port_must_be_free_and_in_range(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert f"port {port} is in use" in str(refusal(tmp_path, ports=[port]))
    assert refusal(tmp_path, ports=[1024]).code is errors.INVALID_PORT


@pytest.mark.parametrize("name", ["data_dir", "redo_dir"])
def test_a_directory_below_a_file_is_refused(name, tmp_path):
    (tmp_path / "file").touch()
    error = refusal(tmp_path / "home", **{name: tmp_path / "file"})
    assert "file is not a directory we may write to" in str(error)


def test_only_the_user_who_has_its_configuration_may_start_it(tmp_path, monkeypatch):
    (tmp_path / "etc").mkdir()
    check(tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    assert f"etc belongs to user {os.getuid()}" in str(refusal(tmp_path))


def test_a_bad_parameter_is_refused_before_anything_is_made(tmp_path):
    error = refusal(tmp_path, parameters={"enable_rpc": "a,b"})
    assert error.code is errors.ILLEGAL_ARGUMENT


@pytest.mark.parametrize(
    ("free", "parameters", "fits"),
    [
        (0, {}, True),
        (2, {"datafile_size": "2G"}, True),
        (1.9, {"datafile_size": "2G"}, False),
        (1.9, {"log_disk_size": "2048M"}, False),
        (3.9, {"datafile_size": "2G", "log_disk_size": "2G"}, False),  # on one file system
        (4, {"datafile_size": "2G", "log_disk_size": "2G"}, True),
        (0, {"datafile_size": "nonsense"}, True),  # the server's to refuse
    ],
)
def test_the_first_start_needs_the_room_that_it_is_told_to_take(
    free, parameters, fits, tmp_path, monkeypatch
):
    room(monkeypatch, free)
    if fits:
        check(tmp_path, parameters=parameters)
    else:
        assert "GiB free" in str(refusal(tmp_path, parameters=parameters))


def test_a_restart_needs_its_data_and_no_more_room(tmp_path, monkeypatch):
    room(monkeypatch, 0)
    sizes = {"datafile_size": "2G"}
    error = refusal(tmp_path, first=False, parameters=sizes)
    assert f"{tmp_path}/store/sstable/block_file is missing" in str(error)
    (tmp_path / "store/sstable").mkdir(parents=True)
    (tmp_path / "store/sstable/block_file").touch()
    check(tmp_path, first=False, parameters=sizes)
