"""What this agent's own process cannot write: its limits, quota and mounts need not be others'."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path

from pyobshell.errors import OBShellError
from pyobshell.operations.site import Site
from pyobshell.wire import Unwritable


async def unwritable(site: Site) -> list[Unwritable]:
    """The agent's database and directories that it fails to write to now, each with why.

    Nothing is changed: the database is given what is in it already, files are without a name.
    """
    paths, found = site.settings.paths, []
    try:
        await site.tasks.prove_writable()
    except OBShellError as error:
        found.append(Unwritable(file=str(paths.database), cause=str(error.arguments["cause"])))
    for directory in (paths.state_dir, paths.run_dir, paths.log_dir):
        cause = await asyncio.to_thread(_cannot_write, directory)
        if cause:
            found.append(Unwritable(file=str(directory), cause=cause))
    return found


def _cannot_write(directory: Path) -> str:
    """Why no file can be made in a directory and written to; empty if it can."""
    try:
        with tempfile.TemporaryFile(dir=directory) as probe:
            probe.write(b"x")
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as error:
        return (error.strerror or type(error).__name__).lower()
    return ""
