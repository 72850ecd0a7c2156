"""What a front has to know of the text of ordinary statements."""

from __future__ import annotations

import re

from standin.statements import without_leading_comments

DEFAULT_TIMEOUT_US = 10_000_000

_HINT = re.compile(r"/\*\+.*?QUERY_TIMEOUT\s*\(\s*(\d+)\s*\).*?\*/", re.IGNORECASE | re.DOTALL)
_TIMEOUT = re.compile(r"\bob_query_timeout\b`?\s*:?=\s*(\d+)", re.IGNORECASE)
_RECYCLEBIN = re.compile(r"\brecyclebin\b`?\s*:?=\s*'?(\w+)", re.IGNORECASE)
_FROM = re.compile(r"\bFROM\b(?!\s+DUAL\b)", re.IGNORECASE)
_STRINGS = re.compile(r"'(?:[^'\\]|\\.|'')*'|\"(?:[^\"\\]|\\.|\"\")*\"", re.DOTALL)
_FREE = re.compile(r"(?:SET|USE|KILL|ROLLBACK|BEGIN|START|DO)\b", re.IGNORECASE)
_SHOW = re.compile(
    r"SHOW\s+(?:WARNINGS|ERRORS|(?:(?:GLOBAL|SESSION)\s+)?VARIABLES|(?:FULL\s+)?PROCESSLIST)\b",
    re.IGNORECASE,
)
_SESSIONS = re.compile(r"(?<![\w])GV\$OB_(?:PROCESSLIST|SESSION)\b", re.IGNORECASE)


def needs_tables(text: str) -> bool:
    """Whether a statement cannot be answered without a leader of some log stream."""
    text = without_leading_comments(text)
    if text[:6].upper() == "SELECT":
        return _FROM.search(_STRINGS.sub("''", text)) is not None
    return _FREE.match(text) is None and _SHOW.match(text) is None


def is_set(text: str) -> bool:
    """Whether the statement sets variables."""
    return without_leading_comments(text)[:3].upper() == "SET"


def timeout_of(text: str, session_us: int) -> int:
    """The microseconds that a statement may take."""
    hint = _HINT.search(text)
    return int(hint[1]) if hint else session_us


def new_timeout(text: str) -> int | None:
    """The session's query timeout that a SET gives."""
    found = _TIMEOUT.search(text)
    return int(found[1]) if found else None


def new_recyclebin(text: str) -> bool | None:
    """Whether a SET turns the recycle bin on or off."""
    found = _RECYCLEBIN.search(text)
    return found[1].lower() in ("1", "on", "true") if found else None


def shows_sessions(text: str) -> bool:
    """Whether the statement asks which sessions are on which server."""
    return _SESSIONS.search(text) is not None
