"""Whether a seekdb server could start here: said before it tries, since afterwards it says little.

A port that is taken ends a boot only after two seconds; another data directory than before is
first stored and then found missing, which breaks the base.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from pyobshell import errors
from pyobshell.engines.base import ServerConfig
from pyobshell.engines.checks import bytes_of, check_port, check_program, check_writable, nearest
from pyobshell.engines.seekdb_command import server_parameters
from pyobshell.engines.seekdb_files import Layout

_LEAST_LOG_DISK = 2 << 30
_ROOM_BESIDE_LOG = (4 << 30) // 10  # 2 GiB of log disk booted in 2.4 GiB, and not in 2.0


def check_start(binary: Path, config: ServerConfig, layout: Layout) -> None:
    """Raise, with a plain reason, if the server cannot start; it must not run already."""
    check_program(binary)
    check_port(config.mysql_port)
    if layout.is_initialized():
        _check_unmoved(layout)
    for directory in {layout.home, layout.data, layout.redo}:
        check_writable(directory)
    if layout.is_fresh():
        _check_space(layout.redo, server_parameters(config)["log_disk_size"])


def _check_unmoved(layout: Layout) -> None:
    stored = Layout.of(layout.home)
    for name, before, now in (
        ("data_dir", stored.data, layout.data),
        ("redo_dir", stored.redo, layout.redo),
    ):
        if before != now:
            raise errors.ILLEGAL_ARGUMENT(name=name, reason=f"the server has its data in {before}")


def _check_space(directory: Path, log_disk_size: str) -> None:
    needed = max(bytes_of(log_disk_size), _LEAST_LOG_DISK) + _ROOM_BESIDE_LOG
    free = shutil.disk_usage(nearest(directory)).free
    if free < needed:
        raise errors.SERVER_UNAVAILABLE(
            reason=f"{directory} has {free / (1 << 30):.1f} GiB free; the first start with "
            f"log_disk_size={log_disk_size} needs {needed / (1 << 30):.1f} GiB"
        )
