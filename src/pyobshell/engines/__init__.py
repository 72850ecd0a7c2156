"""Database servers behind one interface; the only place that knows the kinds by name."""

from __future__ import annotations

from pathlib import Path

from pyobshell import errors
from pyobshell.engines.base import Engine, Log, ObState, ServerConfig
from pyobshell.engines.observer import Observer
from pyobshell.engines.observer_command import SMALL
from pyobshell.engines.seekdb import Seekdb
from pyobshell.engines.seekdb_command import find_binary

__all__ = [
    "Engine",
    "Log",
    "ObState",
    "ServerConfig",
    "comes_installed",
    "kind_of",
    "make_engine",
    "small_options",
]

_SEEKDB, _OCEANBASE = "seekdb", "oceanbase"
_OBSERVER = ("etc/observer.config.bin", "bin/observer")


def make_engine(name: str | None, home: Path, state_dir: Path, binary: Path | None) -> Engine:
    """The server of this kind in ``home``; ``binary`` is its program if not the installed one."""
    if kind_of(name, home, binary) == _SEEKDB:
        return Seekdb(home, find_binary(binary), state_dir)
    return Observer(home, binary, state_dir)


def kind_of(name: str | None, home: Path, binary: Path | None) -> str:
    """A kind by its name; without one that of the program, or that is there, or else seekdb."""
    if name is None:
        named = binary is not None and binary.name == "observer"
        there = any((home / file).exists() for file in _OBSERVER)
        return _OCEANBASE if named or there else _SEEKDB
    if name not in (_SEEKDB, _OCEANBASE):
        raise errors.ILLEGAL_ARGUMENT(
            name="engine", reason=f"'{name}' is unknown; use seekdb or oceanbase"
        )
    return name


def comes_installed(name: str) -> bool:
    """Whether a program of this kind can be installed with the agent; others have to be named."""
    return name == _SEEKDB


def small_options(name: str) -> dict[str, str]:
    """Options under which several servers of this kind fit on one machine, beside other things.

    They are for what is left to be decided; a kind that is small by itself needs none.
    """
    return dict(SMALL) if name == _OCEANBASE else {}
