"""Database servers behind one interface; the only place that knows the kinds by name."""

from __future__ import annotations

from pathlib import Path

from pyobshell import errors
from pyobshell.engines.base import Engine, Log, ObState, ServerConfig
from pyobshell.engines.observer import Observer
from pyobshell.engines.seekdb import Seekdb
from pyobshell.engines.seekdb_command import find_binary

__all__ = ["Engine", "Log", "ObState", "ServerConfig", "kind_in", "make_engine"]


def kind_in(home: Path) -> str:
    """The kind of server that is in a home already; seekdb where there is none."""
    observer = ("etc/observer.config.bin", "bin/observer")
    return "oceanbase" if any((home / file).exists() for file in observer) else "seekdb"


def make_engine(name: str, home: Path, state_dir: Path, binary: Path | None) -> Engine:
    """The server of this kind in ``home``; ``binary`` is its program if not the installed one."""
    if name == "seekdb":
        return Seekdb(home, find_binary(binary), state_dir)
    if name == "oceanbase":
        return Observer(home, binary)
    raise errors.ILLEGAL_ARGUMENT(
        name="engine", reason=f"'{name}' is unknown; use seekdb or oceanbase"
    )
