"""The cluster's journal: who was alive and in step, one line of JSON for each change of it.

It is for tests that want to know afterwards what a moment was like. A hub that begins says so, for
what happened between the one before and it is in no line.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

from standin.cluster import Cluster
from standin.places import JOURNAL


class Journal:
    """The file, to which each change is added; servers are named by their addresses."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / JOURNAL
        self._last: dict[str, Any] = {}
        self._add({"begins": True})

    def note(self, cluster: Cluster, connected: Collection[str]) -> None:
        """Write down what is so now, unless it was so before.

        ``silent`` are servers that are connected, but have not been heard of for so long that they
        are not alive.
        """
        dead = {server.address for server in cluster.servers if not server.alive}
        names = {tenant.id: tenant.name for tenant in cluster.tenants}
        now = {
            "alive": [one.address for one in cluster.servers if one.alive],
            "silent": sorted(dead.intersection(connected)),
            "stopped": [one.address for one in cluster.servers if cluster.is_stopped(one)],
            "streams": [
                {
                    "tenant": names[one.tenant],
                    "id": one.id,
                    "members": [*one.members],
                    "behind": [*one.behind],
                }
                for one in cluster.streams
            ],
        }
        if now != self._last:
            self._last = now
            self._add(now)

    def _add(self, line: dict[str, Any]) -> None:
        with self._file.open("a") as file:
            file.write(json.dumps({"at": time.time(), **line}) + "\n")
