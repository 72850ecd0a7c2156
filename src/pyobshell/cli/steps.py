"""The steps of a longer piece of work, each told when it is done, and the present one meanwhile."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from pyobshell.cli import output, text

if TYPE_CHECKING:
    from rich.status import Status


class Steps:
    """Tells steps on a stream: with a spinner on a terminal, else a line for each that is done."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self._console = output.console(stream)
        self._moves = output.is_terminal(stream)
        self._status: Status | None = None
        self.current = "preparing"
        self.took_ms: dict[str, int] = {}

    @contextmanager
    def step(self, doing: str, done: str) -> Iterator[None]:
        """A step, from its beginning to its end; one that fails is left to be explained."""
        self.current = doing
        begun = time.monotonic()
        if self._moves:
            self._status = self._console.status(f"{doing} …")
            self._status.start()
        try:
            yield
        finally:
            if self._status is not None:
                self._status.stop()
                self._status = None
        self.took_ms[doing] = int((time.monotonic() - begun) * 1000)
        self.say(f"✓ {done}", text.duration(self.took_ms[doing]))

    def update(self, detail: str) -> None:
        """How far the present step has come; seen only where something can move."""
        if self._status is not None:
            self._status.update(f"{self.current} … [dim]{detail}[/]")

    def say(self, line: str, aside: str = "") -> None:
        """A line, with something of less weight beside it."""
        if self._moves:
            from rich.text import Text

            sign, _, rest = line.partition(" ")
            colour = {"✓": "green", "✗": "red"}.get(sign, "")
            self._console.print(Text.assemble((sign, colour), " ", rest, "  ", (aside, "dim")))
        else:
            output.say(f"{line}  {aside}".rstrip(), stream=self.stream)
            self.stream.flush()
