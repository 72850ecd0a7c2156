"""Where an observer keeps its files: made at its deployment, read later, removed with it.

HOME/etc/observer.config.bin   what a start without options takes; the first start makes it
HOME/run/observer.pid          the process id, as text
HOME/store ──▶ DATA            a link where the data is elsewhere
DATA/sstable/block_file        the rows
DATA/clog, DATA/slog           the logs; links where they are elsewhere
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pyobshell import errors
from pyobshell.engines.base import ServerConfig

_MODE = 0o700  # data and redo log hold all rows, and what passwords are checked against
# A header in front of the first line may have any bytes in it.
_PAIR = re.compile(r"(?:^|[^A-Za-z0-9_])([A-Za-z_][A-Za-z0-9_]*)=(.*)")
_OF_FILE_SYSTEM = "lost+found"  # the root of a file system of its own has it
_OWN_FILES = (
    *("etc*/observer.conf*.bin*", "run/observer.pid", "run/sql.sock"),
    *(f"log/{name}.log*" for name in ("observer", "rootservice", "election", "trace")),
    "log/alert/alert.log*",
)
_OWN_DIRECTORIES = ("store", "etc", "etc2", "etc3", "run", "log/alert", "log", "audit")


@dataclass(frozen=True, slots=True)
class ObserverFiles:
    """The files and directories of one observer; all absolute."""

    home: Path
    data: Path
    clog: Path

    @classmethod
    def of(cls, home: Path, config: ServerConfig | None = None) -> Self:
        """Those of a server to be, or (without its configuration) of one that was deployed."""
        if config is not None:
            data = home / (config.data_dir or "store")
            return cls(home, data, (home / config.redo_dir if config.redo_dir else data) / "clog")
        data = (home / (_read(_config_file(home)).get("data_dir") or "store")).resolve()
        return cls(home, data, (data / "clog").resolve())

    @property
    def config_file(self) -> Path:
        """The server's own record of its options."""
        return _config_file(self.home)

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
        return [self.data, self.data / "sstable", self.clog, self.data / "slog"]

    def stored(self) -> dict[str, str]:
        """The options as the server has recorded them; none before its first start.

        The file has lines ``key=value`` after a header. It may have parts for single tenants
        after those of the server, so that of a key that comes twice the first is meant.
        """
        return _read(self.config_file)

    # --- deployment ------------------------------------------------------------------------------

    def make(self) -> None:
        """Make the directories of a new server; raises if one of its data is not empty."""
        made = [self.data / "sstable", self.clog, self.data / "slog"]
        for directory in made:
            if _content(directory):
                raise errors.ILLEGAL_ARGUMENT(name="home", reason=f"{directory} is not empty")
        beside = (self.home / name for name in ("etc", "log", "run"))
        # Each by itself: parents would be made with another mode.
        for directory in (self.home, self.data, self.clog.parent, *made, *beside):
            directory.mkdir(mode=_MODE, parents=True, exist_ok=True)
        for link, place in self._links():
            if link.resolve() != place.resolve():
                _link(link, place)

    def _links(self) -> Iterator[tuple[Path, Path]]:
        yield self.home / "store", self.data
        yield self.home / "store/clog", self.clog

    def remove(self) -> None:
        """Remove what deploying and running made, and nothing else; the server must not run.

        What tells where its files are goes after them: a removal that was cut off can be repeated.
        """
        made = [self.data / "sstable", self.clog, self.data / "slog"]
        for directory in made:
            for entry in _content(directory):
                if entry.is_dir() and not entry.is_symlink():
                    shutil.rmtree(entry)
                else:
                    entry.unlink()
        for pattern in _OWN_FILES:
            for file in self.home.glob(pattern):
                file.unlink()
        for link, _ in reversed(list(self._links())):
            if link.is_symlink():
                link.unlink()
        mine = [self.home / name for name in _OWN_DIRECTORIES]
        for directory in (*made, self.clog.parent, self.data, *mine):
            _remove_if_empty(directory)


def _config_file(home: Path) -> Path:
    return home / "etc/observer.config.bin"


def _read(config_file: Path) -> dict[str, str]:
    try:
        text = config_file.read_bytes().decode(errors="replace")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise errors.SERVER_UNAVAILABLE(
            reason=f"{config_file} cannot be read: {error.strerror}"
        ) from error
    stored: dict[str, str] = {}
    for line in text.split("\n"):
        if pair := _PAIR.search(line):
            stored.setdefault(pair[1], pair[2].strip())
    return stored


def _content(directory: Path) -> list[Path]:
    if not directory.is_dir():
        return []
    return [entry for entry in directory.iterdir() if entry.name != _OF_FILE_SYSTEM]


def _link(link: Path, place: Path) -> None:
    _remove_if_empty(link)
    try:
        link.symlink_to(place)
    except FileExistsError:
        raise errors.ILLEGAL_ARGUMENT(
            name="home", reason=f"{link} is to be a link to {place}, but it is something else"
        ) from None


def _remove_if_empty(directory: Path) -> None:
    try:
        directory.rmdir()
    except OSError:
        return  # it is not there, holds what is not ours, or is a mount point
