"""Database servers behind one interface; the only place that knows the kinds by name."""

from __future__ import annotations

from pathlib import Path

from pyobshell import errors
from pyobshell.engines.base import Engine, Log, ObState, ServerConfig
from pyobshell.engines.observer import Observer
from pyobshell.engines.observer_command import SMALL
from pyobshell.engines.seekdb import Seekdb
from pyobshell.engines.seekdb_command import find_binary

__all__ = ["Engine", "Log", "ObState", "ServerConfig", "make_engine", "small_options"]

_OBSERVER = ("etc/observer.config.bin", "bin/observer")


def make_engine(name: str | None, home: Path, state_dir: Path, binary: Path | None) -> Engine:
    """The server of this kind in ``home``; ``binary`` is its program if not the installed one.

    Without a name it is the kind of the program, or that is there already, or else seekdb.
    """
    if name is None:
        named = binary is not None and binary.name == "observer"
        there = any((home / file).exists() for file in _OBSERVER)
        name = "oceanbase" if named or there else "seekdb"
    if name == "seekdb":
        return Seekdb(home, find_binary(binary), state_dir)
    if name == "oceanbase":
        return Observer(home, binary, state_dir)
    raise errors.ILLEGAL_ARGUMENT(
        name="engine", reason=f"'{name}' is unknown; use seekdb or oceanbase"
    )


def small_options(name: str) -> dict[str, str]:
    """Options under which several servers of this kind fit on one machine, beside other things.

    They are for what is left to be decided; a kind that is small by itself needs none.
    """
    return dict(SMALL) if name == "oceanbase" else {}
