"""For tests: what goes wrong with a server, and how long things take in its cluster."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from standin import faults, knobs
from standin.places import KNOBS

OBSERVER = Path(__file__).parent / "observer"
"""The program."""


class Faults:
    """The faults of one server; they hold from the next login or statement on."""

    def __init__(self, home: Path) -> None:
        self._file = home / "run/standin.faults"

    def set(self, **values: Any) -> None:
        """Have exactly these faults (see ``standin.faults``)."""
        _check(values, faults.NAMES)
        _write(self._file, values)

    def clear(self) -> None:
        """Have none."""
        self.set()


class Knobs:
    """Times and faults of one cluster, by the directory that its members share."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / KNOBS

    @classmethod
    def beside(cls, home: Path, cluster_id: int) -> Knobs:
        """Those of the cluster of a server, in the usual place."""
        return cls(home.parent / f"standin-cluster-{cluster_id}")

    def set(self, **values: Any) -> None:
        """Have exactly these values, and the usual ones for the rest (see ``standin.knobs``).

        May be called before there is a cluster. They hold from now on.
        """
        _check(values, knobs.NAMES)
        _write(self._file, values)

    def clear(self) -> None:
        """Have the usual ones."""
        self.set()


def _check(values: dict[str, Any], names: set[str]) -> None:
    if unknown := values.keys() - names:
        raise ValueError(f"unknown: {', '.join(sorted(unknown))}")


def _write(file: Path, values: dict[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_suffix(".new")
    new.write_text(json.dumps(values))
    new.replace(file)
