"""What is changed in a statement on its way to seekdb, which has other things of that name."""

from __future__ import annotations

import re
from collections.abc import Callable

from standin.backend import literal
from standin.command_line import REVISION, VERSION
from standin.statements import without_leading_comments

VERSION_OF_SQL = f"5.7.25-OceanBase_CE-v{VERSION}"
VERSION_COMMENT = f"OceanBase_CE {VERSION} (r{REVISION})"

_NO_CODE = r"'(?:[^'\\]|\\.|'')*'|\"(?:[^\"\\]|\\.|\"\")*\"|/\*.*?\*/"
_ONLY_VERSION = re.compile(r"SELECT\s+version\s*\(\s*\)\s*;?\s*\Z", re.IGNORECASE)
_SHOW_PARAMETERS = re.compile(
    r"SHOW\s+PARAMETERS(?:\s+LIKE\s+(?P<like>'[^']*'|\"[^\"]*\")|\s+(?P<where>WHERE\b.*))?\s*;?\s*\Z",
    re.IGNORECASE | re.DOTALL,
)


def _in_code(pattern: str) -> re.Pattern[str]:
    """The pattern where it is not in a string or a comment; those are found as well."""
    return re.compile(f"{_NO_CODE}|(?P<code>{pattern})", re.IGNORECASE | re.DOTALL)


_VERSION = _in_code(
    r"(?<![\w.@])version\s*\(\s*\)|@@(?:(?:global|session)\s*\.\s*)?version(?:_comment)?\b"
)
_VIRTUAL = _in_code(r"\b__all_virtual_(?:ls_info|sys_parameter_stat)\b")
_OWN_PARAMETERS = _in_code(r"(?<![\w$])(?:`?oceanbase`?\s*\.\s*)?`?(?<![\w$])V\$OB_PARAMETERS\b`?")


def for_seekdb(text: str, ip: str, rpc_port: int) -> str:
    """The statement as seekdb has to be asked."""
    if _ONLY_VERSION.match(without_leading_comments(text)):
        return f"SELECT '{VERSION_OF_SQL}' AS `version()`"
    parameters = _SHOW_PARAMETERS.match(without_leading_comments(text))
    if parameters is not None:
        return _show_parameters(parameters)
    lower = text.lower()
    if "version" in lower:
        text = _replace(_VERSION, text, _version)
    if "__all_virtual_" in lower:
        text = _replace(
            _VIRTUAL, text, lambda name: name.lower().replace("__all_virtual", "standin")
        )
    if "v$ob_parameters" in lower:
        own = (
            "(SELECT * FROM oceanbase.`GV$OB_PARAMETERS`"
            f" WHERE SVR_IP = {literal(ip)} AND SVR_PORT = {rpc_port})"
        )
        text = _replace(_OWN_PARAMETERS, text, lambda _: own)
    return text


def _replace(pattern: re.Pattern[str], text: str, new: Callable[[str], str]) -> str:
    return pattern.sub(lambda found: new(found["code"]) if found["code"] else found[0], text)


def _version(code: str) -> str:
    return literal(VERSION_COMMENT if "comment" in code.lower() else VERSION_OF_SQL)


def _show_parameters(found: re.Match[str]) -> str:
    where = found["where"] or (f"WHERE name LIKE {found['like']}" if found["like"] else "")
    return (
        "SELECT zone, svr_type, svr_ip, svr_port, name, data_type, value, info, section, scope,"
        " source, edit_level, default_value, isdefault"
        f" FROM oceanbase.standin_sys_parameter_stat {where}"
    )
