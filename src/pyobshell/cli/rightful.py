"""Sees that who listens on an agent's socket is its own user: passwords are said there."""

from __future__ import annotations

import os
import pwd
import socket
import struct
from pathlib import Path

from pyobshell.cli.outcome import CommandError, Exit, words_of
from pyobshell.home.presence import require_own
from pyobshell.socket_name import short_name

_PEER = struct.Struct("3i")  # struct ucred: pid, uid, gid
_CONNECT_S = 5.0


def require_rightful(base_dir: Path, path: Path) -> None:
    """Raise ``CommandError`` if another user can be the one who listens there.

    Rightful are root and the owner of the home: where its agent runs as another user than the
    caller, that user has the home.
    """
    try:
        require_own(base_dir, path.parent)
        owner, listener = base_dir.stat().st_uid, _listener(path)
    except PermissionError as error:
        raise CommandError(Exit.PERMISSION, f"nothing was sent: {words_of(error)}") from None
    if listener is not None and listener not in (0, owner):
        raise CommandError(
            Exit.PERMISSION,
            f"nothing was sent: {_name(listener)} listens on {path}, and {base_dir} belongs to "
            f"{_name(owner)}",
        )


def require_own_home(base_dir: Path) -> None:
    """Raise ``CommandError`` for a home that was not named, and is another user's than root's."""
    owner = base_dir.stat().st_uid
    if owner not in (0, os.geteuid()):
        raise CommandError(
            Exit.PERMISSION,
            f"{base_dir} belongs to {_name(owner)}; if you mean the agent there give --base-dir",
        )


def _listener(path: Path) -> int | None:
    """The user who listens; None if nobody does."""
    try:
        with short_name(path) as name, socket.socket(socket.AF_UNIX) as asking:
            asking.settimeout(_CONNECT_S)
            asking.connect(name)
            answer = asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    except PermissionError:
        raise
    except OSError:
        return None
    uid: int = _PEER.unpack(answer)[1]
    return uid


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
