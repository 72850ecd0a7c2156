"""Where an observer keeps its files: made at its deployment, read later, removed with it.

HOME/etc/observer.config.bin   what a start without options takes; the first start makes it
HOME/run/observer.pid          the process id, as text
HOME/store ──▶ DATA            with links where redo log and slog are elsewhere
DATA/sstable/block_file        the rows
REDO/clog, DATA/slog           the logs
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pyobshell import errors
from pyobshell.engines.base import ServerConfig

_MODE = 0o700  # data and redo log hold all rows, and what passwords are checked against


@dataclass(frozen=True, slots=True)
class ObserverFiles:
    """The files and directories of one observer; all absolute."""

    home: Path
    data: Path
    redo: Path

    @classmethod
    def of(cls, home: Path, config: ServerConfig | None = None) -> Self:
        """Those of a server to be, or (without its configuration) of one that was deployed."""
        store = home / "store"
        if config is not None:
            data = home / (config.data_dir or "store")
            return cls(home, data, home / config.redo_dir if config.redo_dir else data)
        return cls(home, store.resolve(), (store / "clog").resolve().parent)

    @property
    def config_file(self) -> Path:
        """The server's own record of its options."""
        return self.home / "etc/observer.config.bin"

    @property
    def pid_file(self) -> Path:
        """The process id, as text."""
        return self.home / "run/observer.pid"

    @property
    def log(self) -> Path:
        """The server's current log file."""
        return self.home / "log/observer.log"

    @property
    def block_file(self) -> Path:
        """The rows; a new server has made it before it is healthy."""
        return self.data / "sstable/block_file"

    @property
    def data_directories(self) -> list[Path]:
        """Where the server has files open."""
        return [self.data, self.redo / "clog", self.data / "slog"]

    def stored(self) -> dict[str, str]:
        """The options as the server has recorded them; none before its first start.

        The file has lines ``key=value`` after some NUL bytes.
        """
        try:
            text = self.config_file.read_bytes().lstrip(b"\0").decode(errors="replace")
        except FileNotFoundError:
            return {}
        pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
        return {key.strip(): value.strip() for key, _, value in pairs}

    def make(self) -> None:
        """Make the directories of a new server; raises if one of its data is not empty."""
        made = [self.data / "sstable", self.redo / "clog", self.data / "slog"]
        for directory in made:
            # The root of a file system of its own has a lost+found.
            if directory.is_dir() and any(p.name != "lost+found" for p in directory.iterdir()):
                raise errors.ILLEGAL_ARGUMENT(name="home", reason=f"{directory} is not empty")
        for directory in (self.home, *made, *(self.home / name for name in ("etc", "log", "run"))):
            directory.mkdir(mode=_MODE, parents=True, exist_ok=True)
        for link, place in self._links():
            if link.resolve() != place.resolve():
                link.symlink_to(place)

    def _links(self) -> Iterator[tuple[Path, Path]]:
        yield self.home / "store", self.data
        yield self.home / "store/clog", self.redo / "clog"

    def remove(self) -> None:
        """Remove what deploying and running made, and nothing else; the server must not run."""
        for directory in (self.data / "sstable", self.redo / "clog", self.data / "slog"):
            shutil.rmtree(directory, ignore_errors=not directory.exists())
        for link, _ in reversed(list(self._links())):
            if link.is_symlink():
                link.unlink()
        for pattern in ("etc*/observer.con*.bin*", "log/*.log*", "run/observer.pid"):
            for file in self.home.glob(pattern):
                file.unlink(missing_ok=True)
        for directory in (self.redo, self.data, *(self.home / n for n in ("store", "etc", "log"))):
            _remove_if_empty(directory)


def _remove_if_empty(directory: Path) -> None:
    try:
        directory.rmdir()
    except OSError:
        return  # it is not there, holds what is not ours, or is a mount point
