"""Puts a new database in the place of a broken one, and forgets passwords that open no more.

Only while no agent runs. What is replaced is put aside, never deleted. A crash in the middle
leaves the broken database, with which no agent starts, and all that it had: it is done again.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import bindparam, text

from pyobshell.cluster.state import COUNT_CHANGE, SECRETS
from pyobshell.home import aside, kept, salvage
from pyobshell.home.kept import Essentials
from pyobshell.home.opening import require_known, require_sound
from pyobshell.settings import Paths
from pyobshell.store import sqlite
from pyobshell.store.database import sqlite_engine
from pyobshell.store.migrate import migrate

_FORGET = text("DELETE FROM setting WHERE name IN :names").bindparams(
    bindparam("names", SECRETS, expanding=True)
)


@dataclass(frozen=True)
class Replaced:
    """Where the broken database is, and whether all its audit records are in the new one."""

    directory: Path
    has_whole_audit: bool


def replace_database(paths: Paths, essentials: Essentials, *, server_wanted: bool) -> Replaced:
    """Make a new database of the essentials, and of the audit records that can be read.

    Raises OSError or ``Agent.Store.Unavailable``, and then all is as it was.
    """
    require_known(paths.kept_copy, essentials.schema_revision)
    new = paths.database.with_name("meta.new")
    _remove(new)
    broken = aside.whole_one(paths)
    try:
        new.touch(mode=0o600)
        engine = sqlite_engine(new)
        try:
            # Filled at the schema that the rows are of: migrations treat them as any others.
            migrate(engine, essentials.schema_revision)
            with engine.begin() as connection:
                kept.write_to(connection, essentials, server_wanted=server_wanted)
            migrate(engine)
            with engine.begin() as connection:
                has_whole_audit = salvage.copy_audit(broken, connection, essentials)
                written = kept.read_from(connection)
        finally:
            engine.dispose()
        with closing(sqlite3.connect(new)) as folding:  # closing alone would not say if it fails
            folding.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with sqlite.reading(new) as looking:
            sqlite.require_whole(new, looking, indexes=True)
        for beside in paths.state_dir.glob(f"{new.name}-*"):  # the log is folded in, and empty
            beside.unlink()
        kept.store(paths.kept_copy, written)
        directory = aside.put_aside(paths)
        aside.replace(paths, new)
    except Exception as error:
        _remove(new)
        raise sqlite.coded(new, error) from None
    require_sound(paths)
    return Replaced(directory, has_whole_audit)


def forget_passwords(paths: Paths) -> Path:
    """Drop passwords that nobody can open; returns the directory where they and the key are."""
    directory = aside.unused_directory(paths)
    directory.mkdir(mode=0o700)
    for file in paths.state_dir.glob("meta.db*"):
        shutil.copy2(file, directory)
    with contextlib.suppress(FileNotFoundError):
        paths.vault_key.rename(directory / paths.vault_key.name)
    engine = sqlite_engine(paths.database)
    try:
        with engine.begin() as connection:
            connection.execute(_FORGET)
            connection.execute(COUNT_CHANGE)
            written = kept.read_from(connection)
    except Exception as error:
        raise sqlite.coded(paths.database, error) from None
    finally:
        engine.dispose()
    kept.store(paths.kept_copy, written)
    return directory


def _remove(new: Path) -> None:
    for file in new.parent.glob(f"{new.name}*"):
        file.unlink()
