"""Sees that who listens on an agent's socket is its own user: passwords are said there."""

from __future__ import annotations

import os
import pwd
import socket
import stat
import struct
from pathlib import Path

from pyobshell.cli.outcome import CommandError, Exit, words_of
from pyobshell.home.presence import require_own
from pyobshell.socket_name import short_name

_PEER = struct.Struct("3i")  # struct ucred: pid, uid, gid
_CONNECT_S = 5.0


def require_rightful(base_dir: Path, path: Path) -> bool:
    """Whether somebody listens there; raises ``CommandError`` if that can be another user.

    Rightful are root and the owner of the home: where its agent runs as another user than the
    caller, that user has the home.
    """
    try:
        require_own(base_dir, path.parent)
        owner, listener = base_dir.stat().st_uid, _listener(path)
    except PermissionError as error:
        raise CommandError(Exit.PERMISSION, f"nothing was sent: {words_of(error)}") from None
    except OSError as error:
        raise CommandError(
            Exit.UNREACHABLE, f"nothing was sent: who listens on {path} is not known: {error}"
        ) from None
    if listener is not None and listener not in (0, owner):
        raise CommandError(
            Exit.PERMISSION,
            f"nothing was sent: {_name(listener)} listens on {path}, and {base_dir} belongs to "
            f"{_name(owner)}",
        )
    return listener is not None


def require_own_home(base_dir: Path) -> None:
    """Raise ``CommandError`` for a home that was not named, and may be another user's than root's.

    A directory in which everybody may make one, as ``/tmp``, is none.
    """
    hint = "if you mean the agent there give --base-dir"
    if base_dir.stat().st_mode & stat.S_IWOTH:
        raise CommandError(Exit.PERMISSION, f"everybody may write to {base_dir}; {hint}")
    for place in (base_dir, base_dir / ".obshell", base_dir / "run"):
        owner = place.stat().st_uid if place.exists() else 0
        if owner not in (0, os.geteuid()):
            raise CommandError(Exit.PERMISSION, f"{place} belongs to {_name(owner)}; {hint}")


def _listener(path: Path) -> int | None:
    """The user who listens; None if nobody does. Raises OSError if that does not show in time."""
    try:
        with short_name(path) as name, socket.socket(socket.AF_UNIX) as asking:
            asking.settimeout(_CONNECT_S)
            asking.connect(name)
            answer = asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    except (ConnectionRefusedError, FileNotFoundError):
        return None
    uid: int = _PEER.unpack(answer)[1]
    return uid


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
