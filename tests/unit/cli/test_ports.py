"""Ports for sandboxes."""

from __future__ import annotations

import socket

import pytest

from pyobshell.cli.outcome import CommandError
from pyobshell.cli.sandbox import ports
from pyobshell.engines.occupied import port_is_free


def test_sandboxes_that_come_up_together_get_different_ports():
    with ports.hold(9) as some, ports.hold(9) as others:
        assert len({*some, *others}) == 18
        assert all(port >= 1025 for port in (*some, *others))


def test_nobody_who_asks_here_gets_a_port_that_is_held(monkeypatch):
    monkeypatch.setattr(ports, "_RANGE", range(21_000, 21_020))
    with ports.hold(4) as some:
        monkeypatch.setattr(ports, "_RANGE", some)
        with pytest.raises(CommandError, match="no 1 free ports"), ports.hold(1):
            pass


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_a_server_can_listen_on_a_port_that_is_held_for_it(address):
    with ports.hold(1) as (port,):
        assert port_is_free(port)
        with socket.create_server((address, port)):
            assert not port_is_free(port)


def test_a_port_that_somebody_listens_on_is_passed_over(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        monkeypatch.setattr(ports, "_RANGE", [number])
        with pytest.raises(CommandError), ports.hold(1):
            pass


def test_ports_of_sandboxes_that_are_down_are_avoided(monkeypatch):
    monkeypatch.setattr(ports, "_RANGE", [21_101, 21_102])
    with ports.hold(1, avoid={21_101}) as found:
        assert found == [21_102]
