"""How long things take in a cluster and what never comes about, as a test wishes.

The file ``standin.json`` in the cluster's directory holds them; it is read again when it changes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from standin.places import KNOBS


@dataclass(frozen=True)
class Knobs:
    """All times are in seconds."""

    lease_s: float = 2.0
    """How long a server may be silent before it is INACTIVE."""
    notice_s: float = 0.0
    """How long a server that has ended is not yet INACTIVE."""
    service_s: float = 0.1
    """From a server's return to its START_SERVICE_TIME."""
    resync_s: float = 0.5
    """From a server's return until its replicas are IN_SYNC."""
    freeze_s: float = 0.3
    """From a minor freeze until the checkpoint has moved."""
    delete_s: float = 0.5
    """How long a server is DELETING."""
    freeze_never: bool = False
    """Whether the checkpoint stays where it is."""
    delete_never: bool = False
    """Whether a server is DELETING for ever."""
    out_of_sync: list[str] = field(default_factory=list)
    """The servers whose replicas are not IN_SYNC, as ``ip:rpc_port``."""
    without_leader: list[str] = field(default_factory=list)
    """The tenants whose log streams have no leader, whoever is up; ``sys`` stops them all."""

    def changed(self, values: dict[str, Any]) -> Knobs:
        """These with others; unknown names are an error."""
        return replace(self, **values)


NAMES = {one.name for one in fields(Knobs)}


class KnobFile:
    """The file, read when it has changed."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / KNOBS
        self._seen: tuple[int, int] | None = None
        self.knobs = Knobs()

    def refresh(self) -> bool:
        """Read the file if it has changed; returns whether it has."""
        try:
            state = self._file.stat()
        except FileNotFoundError:
            seen = None
        else:
            seen = state.st_mtime_ns, state.st_ino
        if seen == self._seen:
            return False
        self._seen = seen
        values = json.loads(self._file.read_text()) if seen else {}
        self.knobs = Knobs().changed(values)
        return True
