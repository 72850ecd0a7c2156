"""A start that cannot succeed is refused before it is tried, with a reason."""

from __future__ import annotations

import shutil
import socket
import sqlite3
from collections import namedtuple
from pathlib import Path

import pytest

from pyobshell import errors
from pyobshell.cli.sandbox.ports import hold
from pyobshell.engines import ServerConfig
from pyobshell.engines.seekdb_checks import check_start
from pyobshell.engines.seekdb_files import Layout

BINARY = Path("/bin/true")
GIB = 1 << 30


@pytest.fixture
def port():
    """One that nobody gets meanwhile, as ports of clients are."""
    with hold(1) as ports:
        yield ports[0]


def check(home, port, binary=BINARY, **config):
    layout = Layout.of(home, config.get("data_dir"), config.get("redo_dir"))
    check_start(binary, ServerConfig(home, port, **config), layout)


def refusal(*arguments, **config):
    with pytest.raises(errors.OBShellError) as refused:
        check(*arguments, **config)
    return refused.value


def room(monkeypatch, gib):
    usage = namedtuple("usage", "free")(int(gib * GIB))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)


def test_a_good_configuration_passes_though_its_home_is_not_made_yet(tmp_path, port):
    check(tmp_path / "not/yet", port)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["nothing", "plain"])
def test_what_is_not_a_program_is_refused(name, tmp_path, port):
    (tmp_path / "plain").touch()
    error = refusal(tmp_path, port, tmp_path / name)
    assert error.code is errors.SERVER_UNAVAILABLE
    assert f"{name} is not a program" in str(error)


@pytest.mark.parametrize("number", [0, 80, 1024, 65536])
def test_a_port_out_of_range_is_refused(number, tmp_path):
    assert refusal(tmp_path, number).code is errors.INVALID_PORT


def test_a_port_in_use_is_refused(tmp_path):
    with socket.create_server(("127.0.0.77", 0)) as listener:
        number = listener.getsockname()[1]
        assert f"port {number} is in use" in str(refusal(tmp_path, number))


def test_a_home_below_a_file_is_refused(tmp_path, port):
    (tmp_path / "file").touch()
    assert "file is not a directory" in str(refusal(tmp_path / "file", port))


@pytest.mark.parametrize(
    ("free", "size", "fits"),
    [
        (2.4, "2G", True),
        (2.3, "2G", False),
        (2.4, "1M", True),
        (2.3, "nonsense", False),
        (4.4, "4096M", True),
        (4.3, "4g", False),
        (2.4, "2147483648", True),
        (1100, "1T", True),
    ],
)
def test_the_first_start_needs_room_for_the_log(free, size, fits, tmp_path, port, monkeypatch):
    room(monkeypatch, free)
    parameters = {"log_disk_size": size}
    if fits:
        check(tmp_path, port, parameters=parameters)
    else:
        assert "GiB free" in str(refusal(tmp_path, port, parameters=parameters))


@pytest.fixture
def initialized(tmp_path):
    """A home that has been started with its data elsewhere."""
    home = tmp_path / "home"
    (home / "store/sstable").mkdir(parents=True)
    (tmp_path / "redo/sys").mkdir(parents=True)
    database = sqlite3.connect(home / "store/sstable/meta.db")
    database.execute("create table __all_sys_parameter (name text, value text)")
    noted = [("data_dir", str(tmp_path / "data")), ("redo_dir", str(tmp_path / "redo"))]
    database.executemany("insert into __all_sys_parameter values (?, ?)", noted)
    database.commit()
    database.close()
    return home


@pytest.mark.parametrize("named", [{}, {"data_dir": "data"}, {"redo_dir": "redo"}])
def test_a_restart_needs_neither_room_nor_the_directories(
    named, initialized, tmp_path, port, monkeypatch
):
    room(monkeypatch, 0)
    check(initialized, port, **{name: tmp_path / directory for name, directory in named.items()})


def test_a_restart_with_another_data_directory_is_refused(initialized, tmp_path, port):
    error = refusal(initialized, port, data_dir=tmp_path / "other")
    assert error.code is errors.ILLEGAL_ARGUMENT
    assert str(tmp_path / "data") in str(error)
