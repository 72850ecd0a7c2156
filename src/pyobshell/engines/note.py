"""A note on disk that something was begun, which outlives whatever happens until it has ended."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from pyobshell.whole_file import sync_directory


class Note:
    """One file; that it is there is what it says."""

    def __init__(self, file: Path, text: str) -> None:
        self._file = file
        self._text = text

    def is_there(self) -> bool:
        """Whether it was made and not removed since."""
        return self._file.exists()

    def make(self) -> None:
        """Make it; on disk when it returns."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(self._text)
            file.flush()
            os.fsync(file.fileno())
        sync_directory(self._file.parent)
        sync_directory(self._file.parent.parent)

    def remove(self) -> None:
        """Remove it, harmlessly if it is not there; gone from the disk when it returns."""
        with contextlib.suppress(FileNotFoundError):
            self._file.unlink()
            sync_directory(self._file.parent)
