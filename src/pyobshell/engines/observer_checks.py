"""Whether an observer could start here: said before it tries, since afterwards it says little."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from pyobshell import errors
from pyobshell.engines.base import ServerConfig
from pyobshell.engines.checks import bytes_of, check_port, check_program, check_writable, nearest
from pyobshell.engines.observer_command import server_options
from pyobshell.engines.observer_files import ObserverFiles


def check_start(
    binary: Path, config: ServerConfig, files: ObserverFiles, ports: Iterable[int], *, first: bool
) -> None:
    """Raise, with a plain reason, if the server cannot start; it must not run already."""
    check_program(binary)
    for port in ports:
        check_port(port)
    _check_user(files.config_file.parent)
    for directory in {files.home, files.data, files.clog}:
        check_writable(directory)
    if first:
        _check_space(files, server_options(config))
    elif not files.block_file.exists():
        # A server that comes back without its data would still vote as if it had it.
        raise errors.SERVER_UNAVAILABLE(
            reason=f"it has been started before, but {files.block_file} is missing; "
            "is the file system mounted that it is on?"
        )


def _check_user(directory: Path) -> None:
    """An observer starts only for the user who has its configuration."""
    if directory.exists() and directory.stat().st_uid != os.geteuid():
        raise errors.SERVER_UNAVAILABLE(
            reason=f"{directory} belongs to user {directory.stat().st_uid}, who alone can start "
            f"the server; this is user {os.geteuid()}"
        )


def _check_space(files: ObserverFiles, options: dict[str, str]) -> None:
    """What the first start is told to take at once must be there."""
    wanted: dict[int, int] = {}
    for directory, option in ((files.data, "datafile_size"), (files.clog, "log_disk_size")):
        place = nearest(directory)
        device = place.stat().st_dev
        wanted[device] = wanted.get(device, 0) + bytes_of(options.get(option, ""))
        free = shutil.disk_usage(place).free
        if free < wanted[device]:
            raise errors.SERVER_UNAVAILABLE(
                reason=f"{place} has {free / (1 << 30):.1f} GiB free; the first start with "
                f"{option}={options[option]} needs {wanted[device] / (1 << 30):.1f} GiB"
            )
