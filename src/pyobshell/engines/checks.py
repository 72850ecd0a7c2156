"""Whether a server of any kind could start here: its program, its ports, its directories."""

from __future__ import annotations

import os
import re
from pathlib import Path

from pyobshell import errors
from pyobshell.engines.occupied import port_is_free

_PORTS = range(1025, 65536)
_UNITS = {"": 1, "B": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SIZE = re.compile(r"(\d+)([BKMGT]?)B?", re.IGNORECASE)


def check_program(binary: Path) -> None:
    """Raise if there is no program to be run."""
    if not (binary.is_file() and os.access(binary, os.X_OK)):
        raise errors.SERVER_UNAVAILABLE(reason=f"{binary} is not a program that can be run")


def check_port(port: int) -> None:
    """Raise if a server could not listen on the port."""
    if port not in _PORTS:
        raise errors.INVALID_PORT(text=str(port))
    if not port_is_free(port):
        raise errors.SERVER_UNAVAILABLE(reason=f"port {port} is in use by another process")


def check_writable(directory: Path) -> None:
    """Raise if we may not write to the directory, or to where it would be made."""
    existing = nearest(directory)
    if not (existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)):
        raise errors.SERVER_UNAVAILABLE(reason=f"{existing} is not a directory we may write to")


def nearest(directory: Path) -> Path:
    """The directory itself, or what exists of the way to it."""
    return next(path for path in (directory, *directory.parents) if path.exists())


def bytes_of(size: str) -> int:
    """A size as a server reads it; 0, that is no demand, if it will refuse it anyway."""
    match = _SIZE.fullmatch(size.strip())
    return int(match[1]) * _UNITS[match[2].upper()] if match else 0
