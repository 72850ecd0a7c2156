"""What the agents' logs tell that must never be told."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

_TELLS_OF_LOSSES = "sqlalchemy.pool"  # of each connection that is lost


class Logs:
    """The agents' logs, read on from where they were read to."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._offsets = {file: file.stat().st_size for file in files}
        self._epochs: dict[int, Path] = {}

    def violations(self) -> Iterator[str]:
        """What nobody foresaw, and two maintainers of one epoch."""
        for file, offset in self._offsets.items():
            with file.open("rb") as log:
                log.seek(offset)
                text = log.read()
            self._offsets[file] = offset + len(text)
            for line in text.splitlines():
                yield from self._violation(file, json.loads(line))

    def _violation(self, file: Path, line: dict[str, object]) -> Iterator[str]:
        agent = file.parent.parent.name
        if "exception" in line and not str(line["logger"]).startswith(_TELLS_OF_LOSSES):
            last = str(line["exception"]).strip().splitlines()[-1]
            yield f"agent {agent} did not foresee: {line['event']}: {last}"
        if line.get("action") == "lease.won":
            epoch = int(str(line["epoch"]))
            other = self._epochs.setdefault(epoch, file)
            if other != file:
                yield f"agents {agent} and {other.parent.parent.name} both had epoch {epoch}"
