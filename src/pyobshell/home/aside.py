"""Puts a broken database aside, with its log, while it lies in its own place still.

So a repair can be killed at any instant: the database is whole in its place until its log is
removed, and from before that on in a directory ``broken-DATE``, which is there with all of it or
not at all.
"""

from __future__ import annotations

import contextlib
import filecmp
import os
import shutil
import time
from pathlib import Path

from pyobshell.settings import Paths
from pyobshell.whole_file import sync_directory

_LOGS = ("-wal", "-journal")  # without them a database is not what it was
_BESIDE = ("-shm", *_LOGS)


def whole_one(paths: Paths) -> Path:
    """The broken database where its log is beside it: set aside, if a repair was killed since."""
    directory = _where_it_is(paths)
    return paths.database if directory is None else directory / paths.database.name


def put_aside(paths: Paths) -> Path:
    """Have the broken database in a directory as well, on disk, which is returned.

    Raises OSError, and then there is no such directory.
    """
    there = _where_it_is(paths)
    if there is not None:
        return there
    draft = paths.state_dir / "meta.aside"
    shutil.rmtree(draft, ignore_errors=True)
    try:
        draft.mkdir(mode=0o700)
        for file in _all_of_it(paths):
            _have_also(file, draft / file.name)
        sync_directory(draft)
        directory = draft.rename(unused_directory(paths))
    except OSError:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    sync_directory(paths.state_dir)
    return directory


def replace(paths: Paths, new: Path) -> None:
    """Put a whole database without a log in the place of one that was put aside.

    Never is the new one where it would be read with the log of the broken one.
    """
    for end in _BESIDE:
        _beside(paths.database, end).unlink(missing_ok=True)
    sync_directory(paths.state_dir)
    new.rename(paths.database)
    sync_directory(paths.state_dir)


def unused_directory(paths: Paths) -> Path:
    """A name for a directory of what is replaced, which there is not yet."""
    directory = paths.state_dir / time.strftime("broken-%Y%m%d-%H%M%S")
    number = 0
    while directory.exists():
        number += 1
        directory = directory.with_name(f"{directory.name.partition('.')[0]}.{number}")
    return directory


def _where_it_is(paths: Paths) -> Path | None:
    """The directory that has all of the broken database that lies in its place, and its log."""
    for directory in sorted(paths.state_dir.glob("broken-*"), reverse=True):
        if paths.database.exists() and all(
            _is_same(file, directory / file.name) for file in _all_of_it(paths)
        ):
            return directory
    return None


def _all_of_it(paths: Paths) -> list[Path]:
    logs = [_beside(paths.database, end) for end in _LOGS]
    # Who only looks at a database without a log leaves an empty one.
    logs = [log for log in logs if log.exists() and log.stat().st_size]
    return [*([paths.database] if paths.database.exists() else []), *logs]


def _beside(database: Path, end: str) -> Path:
    return database.with_name(f"{database.name}{end}")


def _is_same(file: Path, other: Path) -> bool:
    """Whether a file is another one, or its copy."""
    with contextlib.suppress(FileNotFoundError):
        if file.samefile(other):
            return True
        is_as_old = file.stat().st_mtime_ns == other.stat().st_mtime_ns
        return is_as_old and filecmp.cmp(file, other, shallow=False)
    return False


def _have_also(file: Path, other: Path) -> None:
    """Have a file under another name too, or a copy where a file has but one name."""
    try:
        other.hardlink_to(file)
    except OSError:
        shutil.copy2(file, other)
        with other.open("rb") as copied:
            os.fsync(copied.fileno())
