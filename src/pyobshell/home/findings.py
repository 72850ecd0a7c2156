"""What an examination of an agent's home finds: how bad, in one sentence, and the way out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"  # it works, but look at it
    PROBLEM = "problem"  # the agent does not start, or cannot do its work


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    ``remedy`` says what to do. What ``repaired`` tells was wrong, and has been done about it.
    """

    check: str
    level: Level
    message: str
    remedy: str = ""
    repaired: bool = False


def ok(check: str, message: str) -> Finding:
    """All is well."""
    return Finding(check, Level.OK, message)


def warning(check: str, message: str, remedy: str = "") -> Finding:
    """Something to look at."""
    return Finding(check, Level.WARNING, message, remedy)


def problem(check: str, message: str, remedy: str) -> Finding:
    """Something that has to be mended."""
    return Finding(check, Level.PROBLEM, message, remedy)


def repaired(check: str, message: str) -> Finding:
    """Something that has been mended."""
    return Finding(check, Level.OK, message, repaired=True)
