"""What is known of a sandbox: a record in its directory, and a note of it for its user."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ValidationError

from pyobshell.address import Address
from pyobshell.cli.outcome import CommandError, Exit
from pyobshell.whole_file import replace_file

_NAME = "sandbox.json"


class Node(BaseModel):
    """An agent and the server beside it."""

    ip: str
    port: int
    zone: str
    sql_port: int
    rpc_port: int
    base_dir: Path

    @property
    def address(self) -> Address:
        """Where the agent listens."""
        return Address(self.ip, self.port)


class Sandbox(BaseModel):
    """A cluster on this machine; ``made`` are the directories around it that were made for it.

    ``beside`` is what its servers have made in its directory beside their homes. Until it is up
    that is not known, and all that is there is its own.
    """

    name: str
    directory: Path
    made: list[Path]
    engine: str
    observer: Path | None
    root_password: str
    nodes: list[Node]
    beside: list[Path] | None = []

    @classmethod
    def open(cls, directory: Path) -> Self:
        """The sandbox in a directory; raises ``CommandError`` if it holds none."""
        directory = directory.expanduser().resolve()
        try:
            sandbox = cls.model_validate_json((directory / _NAME).read_text())
        except (FileNotFoundError, NotADirectoryError):
            raise CommandError(Exit.USAGE, f"{directory} holds no sandbox") from None
        except ValidationError:
            raise CommandError(Exit.USAGE, f"{directory / _NAME} is not ours") from None
        if sandbox.directory != directory:
            raise CommandError(
                Exit.USAGE, f"the sandbox in {directory} was made as {sandbox.directory}"
            )
        return sandbox

    @classmethod
    def known(cls) -> list[Self]:
        """The sandboxes of this user; notes of those that have gone are dropped."""
        sandboxes = []
        for note in _notes():
            try:
                sandboxes.append(cls.open(Path(note.read_text())))
            except CommandError:
                with suppress(OSError):
                    note.unlink()
            except OSError:
                continue  # it cannot be read now, which does not mean that it has gone
        return sandboxes

    @property
    def ports(self) -> set[int]:
        """All ports it has, also while nothing listens on them."""
        return {p for node in self.nodes for p in (node.port, node.sql_port, node.rpc_port)}

    @property
    def certificates(self) -> Path:
        """Where its CA and certificates lie, if its agents speak TLS."""
        return self.directory / "certs"

    def claim(self) -> None:
        """Make the directory this sandbox's; raises ``CommandError`` if it is another's.

        If it cannot be done nothing is left. Without a note the sandbox is not in the list, and
        that is all: its user may have no home that can be written.
        """
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            with os.fdopen(os.open(self.directory / _NAME, _NEW, 0o600), "w") as file:
                file.write(self.model_dump_json(indent=2) + "\n")
        except FileExistsError:
            raise occupied(self.directory) from None
        except BaseException:
            self.forget()
            raise
        with suppress(OSError, RuntimeError):
            self._note.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._note.write_text(str(self.directory))

    def note_what_is_beside(self) -> None:
        """Remember that what is in the directory now is the sandbox's; what comes later is not."""
        self.beside = self._found_beside()
        replace_file(self.directory / _NAME, self.model_dump_json(indent=2) + "\n")

    @property
    def own(self) -> list[Path]:
        """All that was made for it in its directory, and is still there, but for the record."""
        homes = [node.base_dir for node in self.nodes]
        beside = self._found_beside() if self.beside is None else self.beside
        return [path for path in (*homes, *beside) if os.path.lexists(path)]

    def _found_beside(self) -> list[Path]:
        if not self.directory.is_dir():
            return []
        known = {node.base_dir for node in self.nodes} | {self.directory / _NAME}
        return sorted(path for path in self.directory.iterdir() if path not in known)

    def forget(self) -> list[Path]:
        """Remove the record, and the directories made for it; returns those that are not empty."""
        with suppress(FileNotFoundError, NotADirectoryError):
            (self.directory / _NAME).unlink()
        with suppress(OSError, RuntimeError):
            self._note.unlink()
        kept = []
        for directory in self.made:
            try:
                directory.rmdir()
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError:
                kept.append(directory)
        return kept

    @property
    def _note(self) -> Path:
        name = hashlib.sha256(os.fsencode(self.directory)).hexdigest()[:16]
        return _notes_directory() / f"{name}.path"


_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL


def occupied(directory: Path) -> CommandError:
    """The refusal of a directory that has something in it."""
    if (directory / _NAME).exists():
        hint = f"remove it first: obshell sandbox down --base-dir {directory}"
        return CommandError(Exit.USAGE, f"{directory} holds a sandbox already; {hint}")
    return CommandError(Exit.USAGE, f"{directory} is not empty")


def missing_directories(directory: Path) -> list[Path]:
    """What has to be made for a directory to exist, the innermost first."""
    return [path for path in (directory, *directory.parents) if not path.exists()]


def _notes() -> list[Path]:
    try:
        return sorted(_notes_directory().glob("*.path"))
    except (OSError, RuntimeError):  # a user without a home, or without access to it
        return []


def _notes_directory() -> Path:
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local/state") / "obshell/sandboxes"
