"""Where a seekdb server keeps its files, which of them are its own, and how they are removed."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pyobshell import errors
from pyobshell.engines.note import Note
from pyobshell.engines.process import take_lock


@dataclass(frozen=True, slots=True)
class Layout:
    """The directories of one server; all absolute and without symbolic links."""

    home: Path
    data: Path
    redo: Path

    @classmethod
    def of(cls, home: Path, data_dir: Path | None = None, redo_dir: Path | None = None) -> Self:
        """The layout with these directories; those not given are the ones the server has noted
        itself, or at first its defaults. Relative ones are below the home.
        """
        noted = _stored_parameters(home / "store/sstable/meta.db")
        data = home / (data_dir or noted.get("data_dir") or "store")
        redo = home / (redo_dir or noted.get("redo_dir") or data / "redo")
        return cls(home.resolve(), data.resolve(), redo.resolve())

    @property
    def pid_file(self) -> Path:
        """The file whose lock says that the server runs; never to be removed while it may."""
        return self.home / "run/seekdb.pid"

    @property
    def socket(self) -> Path:
        """The socket of its SQL; the server makes it when its first boot is complete."""
        return self.home / "run/sql.sock"

    @property
    def log(self) -> Path:
        """The server's current log file."""
        return self.home / "log/seekdb.log"

    @property
    def data_directories(self) -> list[Path]:
        """Where the server has files open."""
        return [self.home / "store", self.data, self.redo]

    def is_initialized(self) -> bool:
        """Whether a first boot has got as far as parameters and redo log."""
        return (self.home / "store/sstable/meta.db").is_file() and (self.redo / "sys").is_dir()

    def is_fresh(self) -> bool:
        """Whether there is nothing at all of a server here: no start can harm data."""
        return not any(os.path.lexists(tree) for tree in self._trees())

    def missing(self) -> list[Path]:
        """What a server that has been up must have, and is not here: parameters, log, data."""
        whole = (
            self.home / "store/sstable/meta.db",
            self.redo / "sys",
            self.data / "slog",
            self.data / "sstable/block_file",
        )
        return [path for path in whole if not path.exists()]

    def remove_server_files(self) -> None:
        """Remove what the server has made, by name, but for its pid file.

        Fails if a server runs; while it removes, none can start.
        """
        with self._locked():
            for tree in self._trees():
                if tree.exists():
                    shutil.rmtree(tree)
            for file in self._files():
                file.unlink(missing_ok=True)

    def remove_all(self) -> None:
        """Remove what the server and its deployment have made, as far as nobody else uses it."""
        if not self.home.is_dir():
            return
        self.remove_server_files()
        with self._locked():
            self.pid_file.unlink()
        home = self.home
        for directory in (self.redo, self.data, home / "store", home / "etc", home / "log"):
            # Not empty: it holds what is not ours. Busy: it is a mount point.
            with contextlib.suppress(OSError):
                directory.rmdir()

    def _trees(self) -> list[Path]:
        mine = [self.home / "store/sstable", self.redo / "sys"]
        return mine + [self.data / name for name in ("sstable", "slog")]

    def _files(self) -> list[Path]:
        names = ("seekdb", "seekdb.clients", "sql.sock", "telemetry.json")
        logs = list((self.home / "log").glob("seekdb.log*"))
        return [
            self.home / "etc/seekdb.data_version.bin",
            *logs,
            *(self.home / "run" / name for name in names),
        ]

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self.pid_file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = take_lock(self.pid_file)
        try:
            yield
        finally:
            os.close(descriptor)


class FirstBoot:
    """The durable notes that a first boot was begun, and that the server has been up.

    A kill during the first boot leaves a base that never starts again, and nothing else tells it
    from one with data in it. Removing data is the worst that could happen here, so the first note
    alone is not believed: the socket is made when the boot is complete, before anybody can log in.
    And a server that has been up has data: there is no first boot any more, even if none is found,
    for then a file system may not be mounted. Whoever knows that in another way says so.
    """

    def __init__(self, state_dir: Path) -> None:
        begun = "The first boot of the server was begun and has not been seen to end.\n"
        been_up = "The server has been up. It is not made anew if its data is not found.\n"
        self._begun = Note(state_dir / "first-boot", begun)
        self._been_up = Note(state_dir / "been-up", been_up)

    def is_over(self) -> bool:
        """Whether it is noted that the server has been up."""
        return self._been_up.is_there()

    def is_ruined(self, layout: Layout) -> bool:
        """Whether the base of a server that does not run can be given up without loss."""
        begun = self._begun.is_there() and not self._been_up.is_there()
        return begun and not layout.socket.exists()

    def require_data(self, layout: Layout, *, has_been_up: bool = False) -> None:
        """Raise ``OB.Server.Unavailable`` if the server has been up, and its data is not there."""
        missing = layout.missing() if has_been_up or self._been_up.is_there() else []
        if missing:
            raise errors.SERVER_UNAVAILABLE(
                reason=f"it has been up, but {missing[0]} is missing: without its data it would be "
                "made anew, empty and without a password; mount the file system, or restore it"
            )

    def begin(self, layout: Layout) -> None:
        """Note that a first boot begins; on disk when it returns."""
        layout.socket.unlink(missing_ok=True)
        self._begun.make()

    def notice(self, layout: Layout) -> None:
        """Note that the server is or has been up, if what is there tells so: its socket and data.

        Raises OSError if that cannot be seen or noted.
        """
        if layout.socket.exists() and not layout.missing():
            self.end()

    def end(self) -> None:
        """Note that the server is up; on disk when it returns."""
        if not self._been_up.is_there():
            self._been_up.make()
        self._begun.remove()

    def forget(self) -> None:
        """Note nothing: a server is to be made, or its files are removed."""
        self._begun.remove()
        self._been_up.remove()


def make_directories(layout: Layout) -> None:
    """Make the directories of a new server; raises if one for its data is not empty."""
    for directory in (layout.data, layout.redo):
        # The root of a file system of its own has a lost+found.
        if directory.is_dir() and any(p.name != "lost+found" for p in directory.iterdir()):
            raise errors.ILLEGAL_ARGUMENT(name="home", reason=f"{directory} is not empty")
    for directory in (layout.home, layout.data):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    # One below the data is left to the server, or else the data would not be empty any more.
    if not layout.redo.is_relative_to(layout.data):
        layout.redo.mkdir(mode=0o700, parents=True, exist_ok=True)


def _stored_parameters(database: Path) -> dict[str, str]:
    """What the server keeps of its parameters; nothing if it cannot be read.

    Opened as immutable: otherwise SQLite would leave files of its own beside it.
    """
    if not database.is_file():
        return {}
    address = f"{database.absolute().as_uri()}?mode=ro&immutable=1"
    try:
        with contextlib.closing(sqlite3.connect(address, uri=True)) as connection:
            return dict(connection.execute("select name, value from __all_sys_parameter"))
    except sqlite3.Error:
        return {}
