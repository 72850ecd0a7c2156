"""What a front has to know of the text of ordinary statements."""

from __future__ import annotations

import re

from standin.backend import literal
from standin.command_line import REVISION, VERSION
from standin.statements import without_leading_comments

VERSION_OF_SQL = f"5.7.25-OceanBase_CE-v{VERSION}"
VERSION_COMMENT = f"OceanBase_CE {VERSION} (r{REVISION})"
DEFAULT_TIMEOUT_US = 10_000_000

_HINT = re.compile(r"/\*\+.*?QUERY_TIMEOUT\s*\(\s*(\d+)\s*\).*?\*/", re.IGNORECASE | re.DOTALL)
_TIMEOUT = re.compile(r"\bob_query_timeout\b`?\s*:?=\s*(\d+)", re.IGNORECASE)
_RECYCLEBIN = re.compile(r"\brecyclebin\b`?\s*:?=\s*'?(\w+)", re.IGNORECASE)
_FROM = re.compile(r"\bFROM\b(?!\s+DUAL\b)", re.IGNORECASE)
_STRINGS = re.compile(r"'(?:[^'\\]|\\.|'')*'|\"(?:[^\"\\]|\\.|\"\")*\"", re.DOTALL)
_FREE = re.compile(r"(?:SET|USE|KILL|ROLLBACK|BEGIN|START|DO)\b", re.IGNORECASE)
_VERSION = re.compile(r"(?<![\w.@])version\s*\(\s*\)", re.IGNORECASE)
_VERSION_VARIABLE = re.compile(
    r"@@(?:(?:global|session)\s*\.\s*)?version(?P<comment>_comment)?\b", re.IGNORECASE
)
_ONLY_VERSION = re.compile(r"SELECT\s+version\s*\(\s*\)\s*;?\s*\Z", re.IGNORECASE)
_LS_INFO = re.compile(r"\b__all_virtual_ls_info\b", re.IGNORECASE)
_PARAMETER_STAT = re.compile(r"\b__all_virtual_sys_parameter_stat\b", re.IGNORECASE)
_OWN_PARAMETERS = re.compile(
    r"(?<![\w$])(?:`?oceanbase`?\s*\.\s*)?`?(?<![\w$])V\$OB_PARAMETERS\b`?", re.IGNORECASE
)
_SHOW_PARAMETERS = re.compile(
    r"SHOW\s+PARAMETERS(?:\s+LIKE\s+(?P<like>'[^']*'|\"[^\"]*\")|\s+(?P<where>WHERE\b.*))?\s*;?\s*\Z",
    re.IGNORECASE | re.DOTALL,
)
_SESSIONS = re.compile(r"(?<![\w])GV\$OB_(?:PROCESSLIST|SESSION)\b", re.IGNORECASE)


def needs_tables(text: str) -> bool:
    """Whether a statement cannot be answered without a leader of some log stream."""
    text = without_leading_comments(text)
    if text[:6].upper() == "SELECT":
        return _FROM.search(_STRINGS.sub("''", text)) is not None
    return _FREE.match(text) is None


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


def for_seekdb(text: str, ip: str, rpc_port: int) -> str:
    """The statement with the names that mean something else to a single seekdb."""
    if _ONLY_VERSION.match(without_leading_comments(text)):
        return f"SELECT '{VERSION_OF_SQL}' AS `version()`"
    parameters = _SHOW_PARAMETERS.match(without_leading_comments(text))
    if parameters is not None:
        return _show_parameters(parameters)
    if "version" in text.lower():
        text = _VERSION.sub(f"'{VERSION_OF_SQL}'", text)
        text = _VERSION_VARIABLE.sub(_version_variable, text)
    if "__all_virtual_" in text.lower():
        text = _LS_INFO.sub("standin_ls_info", text)
        text = _PARAMETER_STAT.sub("standin_sys_parameter_stat", text)
    if "V$OB_PARAMETERS" in text.upper():
        own = (
            "(SELECT * FROM oceanbase.`GV$OB_PARAMETERS`"
            f" WHERE SVR_IP = {literal(ip)} AND SVR_PORT = {rpc_port})"
        )
        text = _OWN_PARAMETERS.sub(lambda _: own, text)
    return text


def _version_variable(found: re.Match[str]) -> str:
    return f"'{VERSION_COMMENT}'" if found["comment"] else f"'{VERSION_OF_SQL}'"


def _show_parameters(found: re.Match[str]) -> str:
    where = found["where"] or (f"WHERE name LIKE {found['like']}" if found["like"] else "")
    return (
        "SELECT zone, svr_type, svr_ip, svr_port, name, data_type, value, info, section, scope,"
        " source, edit_level, default_value, isdefault"
        f" FROM oceanbase.standin_sys_parameter_stat {where}"
    )
