"""What a test wants to go wrong with one server: ``HOME/run/standin.faults``, a JSON object.

The file is looked at with each login and each statement, so that it holds as soon as it is there.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from standin.errors import SqlError

_LOOK_SECONDS = 0.05


class DropError(Exception):
    """The connection is to be closed without an answer."""


@dataclass(frozen=True)
class Faults:
    """All patterns are regular expressions, found anywhere in a statement and in any case."""

    delay_s: float = 0.0
    """Each statement waits so long."""
    refuse_login: int = 0
    """Logins get this error (1045: denied; 1040: too many connections)."""
    hang_login: bool = False
    """Logins get no answer."""
    drop: str = ""
    """The connection is closed at statements that match."""
    hang: str = ""
    """Statements that match wait until the fault is gone."""
    fail: str = ""
    """Statements that match get the error ``errno``."""
    errno: int = 4012
    """For ``fail``."""
    die_before: str = ""
    """The server dies at a statement that matches, before it has an effect."""
    die_after: str = ""
    """The server dies when such a statement has had its effect, before the client knows."""
    ignore_sigterm: bool = False
    """SIGTERM has no effect."""


NAMES = {one.name for one in fields(Faults)}


class FaultFile:
    """The file, read when it has changed."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._seen: tuple[int, int] | None = None
        self._faults = Faults()

    def now(self) -> Faults:
        """The faults that hold."""
        try:
            state = self._file.stat()
        except OSError:
            seen = None
        else:
            seen = state.st_mtime_ns, state.st_ino
        if seen != self._seen:
            values: dict[str, Any] = json.loads(self._file.read_text()) if seen else {}
            self._faults = Faults(**values)
            self._seen = seen
        return self._faults

    async def at_login(self) -> None:
        """What happens to somebody who connects; raises SqlError."""
        while self.now().hang_login:  # noqa: ASYNC110 - a file tells nobody of its change
            await asyncio.sleep(_LOOK_SECONDS)
        if errno := self.now().refuse_login:
            raise SqlError(errno, "Access denied" if errno == 1045 else "login refused")

    async def at_statement(self, text: str) -> None:
        """What happens before a statement; raises SqlError or DropError."""
        faults = self.now()
        if matches(faults.die_before, text):
            die()
        if matches(faults.drop, text):
            raise DropError
        if faults.delay_s:
            await asyncio.sleep(faults.delay_s)
        while matches(self.now().hang, text):  # noqa: ASYNC110 - as above
            await asyncio.sleep(_LOOK_SECONDS)
        if matches(faults.fail, text):
            raise SqlError(faults.errno, "failed as told")

    def dies_after(self, text: str) -> bool:
        """Whether the answer to this statement is never to be sent."""
        return matches(self.now().die_after, text)


def matches(pattern: str, text: str) -> bool:
    """Whether there is a pattern, and it is found in the text."""
    return bool(pattern) and re.search(pattern, text, re.IGNORECASE | re.DOTALL) is not None


def die() -> None:
    """End as by kill -9."""
    os.kill(os.getpid(), signal.SIGKILL)
