"""What is still occupied on this machine, and by whom: data files and ports."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import psutil

from pyobshell import errors


class Holder(NamedTuple):
    """A process that has a file open where it should not."""

    pid: int
    program: str

    def __str__(self) -> str:
        return f"process {self.pid} ({self.program})"


def holders_of(directories: Iterable[Path]) -> list[Holder]:
    """All processes, except our own, that have a file open below the directories.

    Processes of other users are seen by root only.
    """
    prefixes = tuple({f"{directory.resolve()}/" for directory in directories})
    holders = []
    with os.scandir("/proc") as entries:
        pids = [int(entry.name) for entry in entries if entry.name.isdigit()]
    for pid in pids:
        if pid != os.getpid() and any(name.startswith(prefixes) for name in _open_files(pid)):
            holders.append(Holder(pid, _program(pid)))
    return holders


def _open_files(pid: int) -> list[str]:
    names: list[str] = []
    try:
        with os.scandir(f"/proc/{pid}/fd") as entries:
            for entry in entries:
                try:
                    names.append(os.readlink(entry.path))  # noqa: PTH115 - the hot loop
                except FileNotFoundError:
                    continue  # closed meanwhile
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return names
    return names


def _program(pid: int) -> str:
    try:
        return str(Path(f"/proc/{pid}/exe").readlink())
    except OSError:
        return "unknown program"


def listening_ports(pid: int) -> set[int]:
    """The TCP ports on which the process listens now."""
    try:
        connections = psutil.Process(pid).net_connections("tcp")
    except psutil.NoSuchProcess:
        return set()
    except psutil.AccessDenied:
        raise errors.SERVER_PROCESS_CHECK_FAILED(
            reason=f"the ports of process {pid} cannot be looked at"
        ) from None
    return {c.laddr.port for c in connections if c.status == psutil.CONN_LISTEN}


def port_is_free(port: int) -> bool:
    """Whether a server could listen on the port, on all addresses of both families."""
    return _can_bind(socket.AF_INET, "0.0.0.0", port) and _can_bind(socket.AF_INET6, "::", port)  # noqa: S104


def _can_bind(family: socket.AddressFamily, address: str, port: int) -> bool:
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # Connections in TIME_WAIT do not count, as they will not for the server.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind((address, port))
    except OSError as error:
        # A host without IPv6 has nobody listening on it either.
        return error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
    return True
