"""Files and ports are free when nobody at all uses them."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

from pyobshell.engines.occupied import Holder, holders_of, listening_ports, port_is_free


def test_a_process_with_a_file_below_the_directory_is_a_holder(holder, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    process = holder(tmp_path, data / "block_file")
    program = str(Path(sys.executable).resolve())
    assert holders_of([data]) == [Holder(process.pid, program)]
    assert str(Holder(1, "/sbin/init")) == "process 1 (/sbin/init)"


def test_a_removed_file_still_has_its_holder(holder, tmp_path):
    process = holder(tmp_path, tmp_path / "file")
    (tmp_path / "file").unlink()
    assert [found.pid for found in holders_of([tmp_path])] == [process.pid]


def test_a_link_to_the_directory_does_not_hide_the_holder(holder, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    process = holder(tmp_path, tmp_path / "real/file")
    assert [found.pid for found in holders_of([tmp_path / "link"])] == [process.pid]


def test_neither_ourselves_nor_a_neighbour_is_a_holder(holder, tmp_path):
    (tmp_path / "data").mkdir()
    holder(tmp_path, tmp_path / "data2")
    with (tmp_path / "data/mine").open("w"):
        assert holders_of([tmp_path / "data"]) == []


@pytest.mark.parametrize(
    ("family", "address"),
    [
        (socket.AF_INET, "127.0.0.1"),
        (socket.AF_INET, "127.0.0.77"),
        (socket.AF_INET, "0.0.0.0"),
        (socket.AF_INET6, "::1"),
        (socket.AF_INET6, "::"),
    ],
)
def test_a_port_is_taken_by_a_listener_on_any_address(family, address):
    with socket.socket(family) as listener:
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((address, 0))
        listener.listen()
        port = listener.getsockname()[1]
        assert not port_is_free(port)
        assert port in listening_ports(os.getpid())
    assert port_is_free(port)
    assert port not in listening_ports(os.getpid())


def test_a_connection_in_time_wait_does_not_take_the_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            accepted, _ = listener.accept()
            accepted.close()  # the side that closes first waits
            assert client.recv(1) == b""
    assert port_is_free(port)


def test_a_process_that_has_ended_listens_on_nothing(holder, tmp_path):
    process = holder(tmp_path)
    process.kill()
    process.wait()
    assert listening_ports(process.pid) == set()
