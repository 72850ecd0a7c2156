"""What a command says: results on stdout, one JSON document if asked for, the rest on stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TextIO

from pyobshell.cli import interrupts
from pyobshell.cli.outcome import CommandError, Exit, in_options
from pyobshell.visible import spelled_out

if TYPE_CHECKING:
    from rich.console import Console

    from pyobshell.wire import DagDetailDTO, UnreachableAgent

# A state's colour and sign, the same wherever a state is shown.
COLOURS = {
    "SUCCEED": "green",
    "ACTIVE": "green",
    "FAILED": "red",
    "INACTIVE": "red",
    "UNKNOWN": "yellow",
    "RUNNING": "cyan",
    "READY": "cyan",
    "PENDING": "dim",
}
SIGNS = {"SUCCEED": "✓", "FAILED": "✗", "RUNNING": "●", "READY": "●", "PENDING": "·"}


def is_terminal(stream: TextIO) -> bool:
    """Whether somebody looks at a stream who can be shown something that moves."""
    return stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def progress_stream(*, as_json: bool) -> TextIO:
    """Where progress goes: stdout belongs to the result alone where that is JSON."""
    return sys.stderr if as_json else sys.stdout


def console(stream: TextIO) -> Console:
    """A Rich console on a stream."""
    from rich.console import Console

    return Console(file=stream, highlight=False)


def say(line: str = "", *, stream: TextIO | None = None) -> None:
    """A plain line, whoever's words are in it."""
    (stream or sys.stdout).write(spelled_out(line) + "\n")


def warn_of(unreachable: Sequence[UnreachableAgent]) -> None:
    """That what is shown lacks what these agents would have said."""
    for one in unreachable:
        say(f"WARNING: {one.agent} is left out: {in_options(one.message)}", stream=sys.stderr)


def print_json(document: Any) -> None:
    """The one document of a command."""
    say(json.dumps(document, ensure_ascii=False, indent=2))


def say_done(task: DagDetailDTO | None, sentence: str, as_json: bool) -> None:
    """That a command has done its work: the task (none: there was nothing to do), or a sentence."""
    if as_json:
        print_json(None if task is None else task.model_dump())
    else:
        say(f"Done: {sentence}")


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table: coloured on a terminal, elsewhere plain columns that a program can cut."""
    if not is_terminal(sys.stdout):
        widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
        for row in (headings, *rows):
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            say("  ".join(cells).rstrip())
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(Text(spelled_out(cell), style=COLOURS.get(cell, "")) for cell in row))
    console(sys.stdout).print(table)


def confirm(question: str, *, assume_yes: bool) -> None:
    """Go on only if the user agrees; where nobody can be asked, ``--yes`` is needed."""
    if assume_yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise CommandError(
            Exit.USAGE, f"not confirmed: {question} There is no terminal to ask; say --yes"
        )
    with interrupts.ending_at_once():
        sys.stderr.write(f"{spelled_out(question)} [y/N] ")
        sys.stderr.flush()
        answer = sys.stdin.readline()
    if answer.strip().lower() not in ("y", "yes"):
        raise CommandError(Exit.USAGE, "operation cancelled, nothing was done")
