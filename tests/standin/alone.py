"""What a server answers that belongs to no cluster yet."""

from __future__ import annotations

import re

from standin.errors import SqlError, no_table
from standin.mysql_protocol import ok_packet, result_packets
from standin.sql_text import VERSION_COMMENT, VERSION_OF_SQL, is_set
from standin.statements import without_leading_comments

_SELECT = re.compile(r"SELECT\s+(?P<what>[^;]*?)\s*;?\s*\Z", re.IGNORECASE)
_KNOWN: dict[str, str | int] = {
    "1": 1,
    "version()": VERSION_OF_SQL,
    "@@version": VERSION_OF_SQL,
    "@@version_comment": VERSION_COMMENT,
    "@@max_allowed_packet": 16777216,
    "@@autocommit": 1,
    "@@sql_mode": "STRICT_ALL_TABLES",
    "@@transaction_isolation": "READ-COMMITTED",
    "@@tx_isolation": "READ-COMMITTED",
    "@@lower_case_table_names": 1,
    "@@system_time_zone": "UTC",
}


def answer(text: str) -> bytes:
    """The answer to a statement; raises SqlError for everything that needs a cluster."""
    text = without_leading_comments(text)
    if is_set(text) or text[:8].upper() in ("COMMIT", "ROLLBACK"):
        return ok_packet(1)
    found = _SELECT.match(text)
    wanted = found["what"].lower().replace("session.", "") if found else ""
    if wanted in _KNOWN and found:
        return result_packets([found["what"]], [[_KNOWN[wanted]]])
    raise no_tables()


def no_tables() -> SqlError:
    """The error of everything that needs a table."""
    return no_table("oceanbase.__all_database")
