"""How an agent shows that it is there: the sockets it listens on, and the file that names it."""

from __future__ import annotations

import contextlib
import errno
import grp
import os
import pwd
import socket
import stat
from collections.abc import Collection, Iterator
from pathlib import Path

from pyobshell.socket_name import short_name

BACKLOG = 1024


def require_own(base_dir: Path, *inside: Path) -> None:
    """Raise ``PermissionError`` if another user could put what is his own in the place of the
    agent's: a socket to which its user would tell passwords, or keys and a database.

    ``inside`` are directories of it that must be of its owner, the caller or root as well.
    """
    owners = (0, os.geteuid(), base_dir.stat().st_uid)
    for place in (base_dir, *inside, *(one.resolve() for one in inside)):
        found = place.lstat()
        remedy = _open_to(found, owners) if found.st_uid in owners else "it is another user's"
        if remedy:
            why = f"another user can change it, and so take the place of the agent's own; {remedy}"
            raise PermissionError(errno.EPERM, why, str(place))


def _open_to(found: os.stat_result, owners: Collection[int]) -> str:
    """How a directory is closed to others who could replace what is in it; empty: it is."""
    mode = found.st_mode
    if stat.S_ISLNK(mode) or mode & stat.S_ISVTX:
        return ""
    if mode & stat.S_IWOTH:
        return "take that from others (chmod o-w)"
    shared = mode & stat.S_IWGRP and not _users_of(found.st_gid) <= set(owners)
    return "take that from its group (chmod g-w)" if shared else ""


def _users_of(group: int) -> set[int]:
    """The users in a group, as far as the system tells."""
    try:
        names = set(grp.getgrgid(group).gr_mem)
    except KeyError:
        names = set()
    return {one.pw_uid for one in pwd.getpwall() if one.pw_gid == group or one.pw_name in names}


@contextlib.contextmanager
def named_by(pid_file: Path) -> Iterator[None]:
    """Say in a file which process this is, as long as it runs."""
    try:
        try:
            pid_file.write_text(str(os.getpid()))
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(pid_file)) from None
        yield
    finally:
        pid_file.unlink(missing_ok=True)


@contextlib.contextmanager
def listening(ip: str, port: int, path: Path) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Sockets on the agent's address and on its local path, the latter for its own user only."""
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    # Only of what says that it is TCP asyncio's own loop sends small pieces without delay.
    with (
        socket.socket(family, proto=socket.IPPROTO_TCP) as tcp,
        socket.socket(socket.AF_UNIX) as local,
    ):
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        tcp.bind((ip, port))
        # Not left to the server: two sockets may be bound to a port as long as none listens.
        tcp.listen(BACKLOG)
        path.unlink(missing_ok=True)
        before = os.umask(0o177)
        try:
            with short_name(path) as name:
                local.bind(name)
        finally:
            os.umask(before)
        try:
            yield tcp, local
        finally:
            path.unlink(missing_ok=True)
