"""Files that are there whole or not at all, also after a power cut or on a full disk."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path


def replace_file(path: Path, content: str | bytes) -> None:
    """Put a file of mode 0600 in the place of what is there, if anything.

    Raises an OSError that names the file; what was there before is then there still.
    """
    draft = path.with_name(f"{path.name}.draft")
    try:
        draft.unlink(missing_ok=True)  # what is left there may have another mode
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        draft.rename(path)
        sync_directory(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise OSError(error.errno, error.strerror, str(path)) from None


def append_to_file(path: Path, content: bytes) -> None:
    """Put more at the end of a file, which is made with mode 0600 if it is not there.

    Raises an OSError; some of the content may be there then.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o600)
    try:
        if os.write(descriptor, content) < len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    finally:
        os.close(descriptor)


def replace_secret_file(path: Path, content: str) -> None:
    """As ``replace_file``, and what was there before is overwritten where it lay on the disk.

    What the file system or the disk has copied of it by itself is out of reach.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        replace_file(path, content)
        with contextlib.suppress(OSError):  # it is replaced; a full disk need not overwrite
            os.pwrite(descriptor, bytes(os.fstat(descriptor).st_size), 0)
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_directory(directory: Path) -> None:
    """Have on disk which files a directory has."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
