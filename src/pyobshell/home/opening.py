"""Opens the agent's own files at its start; what is not as it was left is refused, not mended.

Each look comes before anything is changed, so that a refused start leaves all as it was.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

from sqlalchemy import Connection, bindparam, text

from pyobshell.cluster.model import Identity
from pyobshell.cluster.state import CHANGES, NUMBERS, SECRETS
from pyobshell.home import kept
from pyobshell.security.keyring import Keyring
from pyobshell.security.keys import PrivateKey
from pyobshell.security.vault import Vault
from pyobshell.settings import Paths
from pyobshell.store import schema, sqlite
from pyobshell.store.database import Database, sqlite_engine
from pyobshell.store.migrate import migrate, revisions
from pyobshell.store.sqlite import DamagedError
from pyobshell.whole_file import replace_file

T = TypeVar("T")
_SETTINGS = "SELECT name, value FROM setting"
_IDENTITIES = "SELECT identity FROM member"
_NAME_HOME = text(
    "INSERT INTO setting (name, value) VALUES (:name, :value) ON CONFLICT (name) DO NOTHING"
)
_SECRETS = text("SELECT value FROM setting WHERE name IN :names").bindparams(
    bindparam("names", SECRETS, expanding=True)
)
_OLDER = "it is older than the copy that is kept beside it, so changes are missing"


class BaseDirInUseError(Exception):
    """Another agent runs on this base directory."""


class KeyFileError(Exception):
    """A key cannot be used; ``forbidden`` if only because this user may not read it."""

    def __init__(self, message: str, *, forbidden: bool = False) -> None:
        self.forbidden = forbidden
        super().__init__(message)


@contextlib.contextmanager
def holding(path: Path) -> Iterator[None]:
    """Hold the base directory for this process alone, by its lock file."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BaseDirInUseError(f"an agent runs on {path.parent.parent} already") from None
        yield


# --- the database --------------------------------------------------------------------------------


def open_database(paths: Paths) -> Database:
    """The agent's database at the newest schema, made if the agent never had one.

    Raises DamagedError, or ``Agent.Store.Unavailable`` for what is no damage.
    """
    file = paths.database
    try:
        if has_lived(paths):
            require_sound(paths)
        elif not file.exists():
            file.touch(mode=0o600)
        engine = sqlite_engine(file)
        try:
            migrate(engine)
            with engine.begin() as connection:
                connection.execute(_NAME_HOME, {"name": kept.HOME_ID, "value": uuid4().hex})
        finally:
            engine.dispose()
    except Exception as error:
        raise sqlite.coded(file, error) from None
    return Database.sqlite(file)


def has_lived(paths: Paths) -> bool:
    """Whether an agent has been up on this home, and so had a database with tables."""
    return paths.private_key.exists() or paths.kept_copy.exists()


def require_sound(paths: Paths) -> None:
    """Raise unless the database is whole, not older than its copy, and of a schema known here.

    The lines that tasks have logged are not looked at: there may be many.
    """
    file = paths.database
    if not file.exists():
        raise DamagedError(file, "it is missing, though an agent has run here")
    copy = None  # before the database: beside an agent that runs it is not the newer one
    with contextlib.suppress(DamagedError):  # a damaged copy is written anew
        copy = kept.load(paths.kept_copy)
    with sqlite.reading(file) as connection:
        revision = sqlite.revision(connection)
        if revision is None:
            raise DamagedError(file, "it has lost its tables")
        require_known(file, revision)
        sqlite.require_uncut(file, connection)
        damages = sqlite.damages(connection)
        if damages:
            raise DamagedError(file, f"it is damaged ({damages[0]})")
        settings = read_settings(file, connection, revision)
        numbers = {_text(name): int(n) for name, n in connection.execute(kept.NUMBERS)}
    if copy is None:
        return
    if kept.is_of_another(settings.get(kept.HOME_ID), copy):
        raise DamagedError(file, "it is another agent's, as the copy that is kept beside it says")
    changes = int(settings.get(CHANGES, 0))
    if copy.is_ahead_of(changes, numbers, revision):
        raise DamagedError(file, _OLDER)
    if copy.changes == changes and any(settings.get(n) != copy.setting(n) for n in SECRETS):
        raise DamagedError(file, "it is damaged (its passwords are not those of its copy)")


def read_settings(file: Path, connection: sqlite3.Connection, revision: str) -> dict[str, str]:
    """The settings of a database whose essentials an agent can be started with.

    Raises DamagedError, or ValueError, for others.
    """
    schema.require_columns(file, connection, revision)
    schema.require_rows(file, connection, kept.TABLES)
    settings = dict(connection.execute(_SETTINGS).fetchall())
    identities = [one for (one,) in connection.execute(_IDENTITIES)]
    for identity in (settings.get("identity", Identity.SINGLE), *identities):
        Identity(identity)
    for name in NUMBERS:
        int(settings.get(name, 0))
    return settings


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("no text")
    return value


def require_known(file: Path, revision: str) -> None:
    """Raise if a database is of a schema that a later release has made, or none has."""
    known = revisions()
    if revision not in known and revision < known[-1]:
        raise DamagedError(file, f"it is damaged (no release has a schema {revision})")
    if revision not in known:
        cause = f"a newer release has made it (schema {revision}, here {known[-1]}); start that one"
        raise sqlite.unavailable(file, cause)


# --- the keys ------------------------------------------------------------------------------------


def open_vault(paths: Paths, sealed: list[str]) -> Vault:
    """The vault whose key opens what is ``sealed``; made anew only if there is nothing to open."""
    file = paths.vault_key
    if sealed and not file.exists():
        raise KeyFileError(
            f"{file} is missing, and the passwords in {paths.database.name} open with nothing else"
        )
    vault = _read(file, Vault.open)
    try:
        for secret in sealed:
            vault.open_text(secret)
    except ValueError:
        raise KeyFileError(
            f"the passwords in {paths.database.name} do not open with {file}: it is another one's"
        ) from None
    return vault


def sealed_secrets(connection: Connection) -> list[str]:
    """The passwords in a database, as they lie there."""
    return list(connection.execute(_SECRETS).scalars())


def own_key(paths: Paths, *, known: bool) -> Keyring:
    """The agent's private key, made at its first start and kept, for clients remember it.

    By one that others have on their lists the agent is ``known``: it is not made anew.
    """
    file = paths.private_key
    if file.exists():
        return _read(file, lambda path: Keyring.from_text(path.read_text()))
    if known:
        raise KeyFileError(f"{file} is missing, and the other agents know this one by no other key")
    keyring = Keyring(PrivateKey.generate())
    replace_file(file, keyring.to_text())
    return keyring


def _read(file: Path, read: Callable[[Path], T]) -> T:
    try:
        return read(file)
    except PermissionError as error:
        if error.errno is None:  # it may be read by too many
            raise KeyFileError(str(error), forbidden=True) from None
        raise KeyFileError(
            f"{file} cannot be read by this user, it belongs to {owner(file)}", forbidden=True
        ) from None
    except ValueError as error:
        said = str(error)
        raise KeyFileError(said if str(file) in said else f"{file}: {said}") from None


def owner(file: Path) -> str:
    """The name of a file's owner, or a number if it has no name here."""
    number = os.stat(file).st_uid  # noqa: PTH116 - of a link's target
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"
