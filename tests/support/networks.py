"""Hosts that are network namespaces on one bridge, whose cables can be pulled; root is needed."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

_CLONE_NEWNET = 0x40000000
_PREFIX = "pyob"


def can_be_made() -> bool:
    """Whether this user on this machine can make network namespaces."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("ip", "tc"))):
        return False
    name = f"{_PREFIX}{os.getpid()}probe"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True)
    subprocess.run(["ip", "netns", "delete", name], capture_output=True)
    return made.returncode == 0


def enter(namespace: str) -> None:
    """Have this process live in a namespace from now on."""
    descriptor = os.open(Path("/run/netns", namespace), os.O_RDONLY)
    try:
        if ctypes.CDLL(None, use_errno=True).setns(descriptor, _CLONE_NEWNET):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), namespace)
    finally:
        os.close(descriptor)


class Network:
    """So many hosts; the first has the ip 10.99.0.1."""

    def __init__(self, count: int) -> None:
        self._name = f"{_PREFIX}{os.getpid()}"
        self._hub = f"{self._name}hub"
        self.ips = [f"10.99.0.{number + 1}" for number in range(count)]

    def namespace(self, number: int) -> str:
        return f"{self._name}n{number}"

    def make(self) -> None:
        """Make the namespaces, the bridge, and a cable to each."""
        _ip("netns", "add", self._hub)
        _ip("-n", self._hub, "link", "add", "bridge", "type", "bridge")
        _ip("-n", self._hub, "link", "set", "bridge", "up")
        for number, ip in enumerate(self.ips):
            host = self.namespace(number)
            _ip("netns", "add", host)
            cable = ("link", "add", f"to{number}", "type", "veth", "peer", "name", "eth", "netns")
            _ip("-n", self._hub, *cable, host)
            _ip("-n", self._hub, "link", "set", f"to{number}", "master", "bridge", "up")
            _ip("-n", host, "addr", "add", f"{ip}/24", "dev", "eth")
            _ip("-n", host, "link", "set", "eth", "up")
            _ip("-n", host, "link", "set", "lo", "up")

    def remove(self) -> None:
        """Remove all of it."""
        for name in (self._hub, *(self.namespace(number) for number in range(len(self.ips)))):
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)

    @contextlib.contextmanager
    def cut(self, number: int) -> Iterator[None]:
        """Have nothing come through to or from a host: nobody is told that it is so."""
        _ip("-n", self._hub, "link", "set", f"to{number}", "nomaster")
        try:
            yield
        finally:
            _ip("-n", self._hub, "link", "set", f"to{number}", "master", "bridge")

    @contextlib.contextmanager
    def delay(self, number: int, milliseconds: int) -> Iterator[None]:
        """Have everything to a host come so much later; skips the test where that cannot be had."""
        try:
            self._shape(number, "add", "netem", "delay", f"{milliseconds}ms")
        except subprocess.CalledProcessError as error:
            pytest.skip(f"the kernel delays nothing: {error.stderr}")
        try:
            yield
        finally:
            self._shape(number, "delete")

    def _shape(self, number: int, what: str, *how: str) -> None:
        _tc(self._hub, "qdisc", what, "dev", f"to{number}", "root", *how)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


def _tc(namespace: str, *words: str) -> None:
    subprocess.run(["tc", "-n", namespace, *words], check=True, capture_output=True, text=True)
