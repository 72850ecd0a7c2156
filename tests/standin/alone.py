"""What a server answers that belongs to no cluster yet."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from standin.command_line import VERSION
from standin.errors import SqlError, no_table
from standin.mysql_protocol import Cell, ok_packet, result_packets
from standin.rewriting import VERSION_COMMENT, VERSION_OF_SQL
from standin.sql_text import is_set
from standin.statements import without_leading_comments

_SELECT = re.compile(r"SELECT\s+(?:/\*.*?\*/\s*)?(?P<items>[^;]*?)\s*;?\s*\Z", re.IGNORECASE)
_ITEM = re.compile(r"(?P<what>[^\s]+)(?:\s+(?:AS\s+)?`?(?P<name>\w+)`?)?\Z", re.IGNORECASE)
_SHOW = re.compile(
    r"SHOW\s+(?:WARNINGS|(?:\w+\s+)?VARIABLES)(?:\s+LIKE\s+'(?P<like>\w+)')?\s*;?\s*\Z",
    re.IGNORECASE,
)
_VARIABLE = re.compile(r"@@(?:(?:global|session)\.)?(\w+)\Z")
_END = re.compile(r"(?:COMMIT|ROLLBACK)\b", re.IGNORECASE)
_VARIABLES: dict[str, Cell] = {
    "autocommit": 1,
    "lower_case_table_names": 1,
    "max_allowed_packet": 16777216,
    "ob_query_timeout": 10000000,
    "sql_mode": "STRICT_ALL_TABLES",
    "system_time_zone": "UTC",
    "time_zone": "+08:00",
    "transaction_isolation": "READ-COMMITTED",
    "tx_isolation": "READ-COMMITTED",
    "version": VERSION_OF_SQL,
    "version_comment": VERSION_COMMENT,
}
_HOURS_OF_SESSIONS = 8


def answer(text: str) -> bytes:
    """The answer to a statement; raises SqlError for everything that needs a cluster."""
    text = without_leading_comments(text)
    if is_set(text) or _END.match(text):
        return ok_packet(1)
    if show := _SHOW.match(text):
        name = (show["like"] or "").lower()
        rows = [[name, str(_VARIABLES[name])]] if name in _VARIABLES else []
        return result_packets(["Variable_name", "Value"], rows)
    selected = _SELECT.match(text)
    items = (
        [_ITEM.match(item.strip()) for item in selected["items"].split(", ")] if selected else []
    )
    known = [item for item in items if item and _known(item["what"])]
    if not items or len(known) < len(items):
        raise no_tables()
    names = [item["name"] or item["what"] for item in known]
    return result_packets(names, [[_value(item["what"]) for item in known]])


def no_tables() -> SqlError:
    """The error of everything that needs a table."""
    return no_table("oceanbase.__all_database")


def _known(what: str) -> bool:
    return what.isdigit() or what.lower() in _FUNCTIONS or _variable(what) in _VARIABLES


def _value(what: str) -> Cell:
    if what.isdigit():
        return int(what)
    function = _FUNCTIONS.get(what.lower())
    return function() if function else _VARIABLES[_variable(what)]


def _variable(what: str) -> str:
    found = _VARIABLE.match(what.lower())
    return found[1] if found else ""


def _now(hours: int) -> str:
    return (datetime.now(UTC) + timedelta(hours=hours)).strftime("%Y-%m-%d %H:%M:%S.%f")


_FUNCTIONS: dict[str, Callable[[], Cell]] = {
    "version()": lambda: VERSION_OF_SQL,
    "ob_version()": lambda: VERSION,
    "now(6)": lambda: _now(_HOURS_OF_SESSIONS),
    "current_timestamp(6)": lambda: _now(_HOURS_OF_SESSIONS),
    "utc_timestamp(6)": lambda: _now(0),
}
