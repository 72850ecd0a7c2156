"""The statements about tenants, resource pools and unit configurations."""

from __future__ import annotations

from typing import Any

from standin.errors import syntax
from standin.tokens import Words

Parsed = tuple[str, dict[str, Any]]
_SIZES = ("MAX_CPU", "MIN_CPU", "MEMORY_SIZE", "LOG_DISK_SIZE", "DATA_DISK_SIZE")
_RATES = ("MAX_IOPS", "MIN_IOPS", "IOPS_WEIGHT", "MAX_NET_BANDWIDTH", "NET_BANDWIDTH_WEIGHT")


def parse_tenant_statement(words: Words) -> Parsed:
    """The verb of the statement and its arguments."""
    action = words.one_of("CREATE", "ALTER", "DROP", "PURGE", "FLASHBACK").lower()
    if words.accept("RESOURCE", "UNIT"):
        return f"{action} unit", _named(words) | _unit_options(words)
    if words.accept("RESOURCE", "POOL"):
        return f"{action} pool", _named(words) | _pool_options(words)
    if words.accept("RESOURCE", "TENANT"):
        name = words.value()
        words.expect("UNIT_NUM")
        return "alter unit number", {"name": name, "unit_num": _number(words.equals())}
    words.expect("TENANT")
    return f"{action} tenant", _named(words) | _tenant_options(words)


def _named(words: Words) -> dict[str, Any]:
    exists = words.one_of("IF NOT EXISTS", "IF EXISTS")
    return {"lenient": bool(exists), "name": words.value()}


def _unit_options(words: Words) -> dict[str, Any]:
    options: dict[str, Any] = {}
    while word := words.one_of(*_SIZES, *_RATES, ","):
        if word != ",":
            options[word.lower()] = words.equals()
    return options


def _pool_options(words: Words) -> dict[str, Any]:
    options: dict[str, Any] = {}
    while word := words.one_of("UNIT_NUM", "UNIT", "ZONE_LIST", "REPLICA_TYPE", ","):
        if word == ",":
            continue
        words.accept("=")
        if word == "ZONE_LIST":
            options["zone_list"] = words.values()
        else:
            value = words.value()
            options[word.lower()] = _number(value) if word == "UNIT_NUM" else value
    return options


def _tenant_options(words: Words) -> dict[str, Any]:
    options: dict[str, Any] = {}
    while word := words.one_of(
        "RESOURCE_POOL_LIST",
        "PRIMARY_ZONE",
        "LOCALITY",
        "RENAME GLOBAL_NAME TO",
        "SET VARIABLES",
        "SET",
        "VARIABLES",
        "TO BEFORE DROP",
        "RENAME TO",
        "DEFAULT",
        "CHARACTER SET",
        "CHARSET",
        "COLLATE",
        "COMMENT",
        "MODE",
        "FORCE",
        "LOCK",
        "UNLOCK",
        "PURGE",
        ",",
    ):
        if word in ("SET VARIABLES", "SET", "VARIABLES"):
            options.setdefault("variables", {}).update(_variables(words))
        elif word == "RESOURCE_POOL_LIST":
            words.accept("=")
            options["pools"] = words.values()
        elif word in ("FORCE", "LOCK", "UNLOCK", "PURGE"):
            options[word.lower()] = True
        elif word in ("RENAME GLOBAL_NAME TO", "RENAME TO"):
            options["rename"] = words.value()
        elif word not in (",", "DEFAULT", "TO BEFORE DROP"):
            options[word.lower()] = words.equals()
    return options


def _number(text: str) -> int:
    if not text.isdigit() or int(text) == 0:
        raise syntax(text)
    return int(text)


def _variables(words: Words) -> dict[str, str]:
    found = {}
    while not words.ended():
        name = words.value()
        words.expect("=")
        found[name.lower()] = words.value()
        if not words.accept(","):
            break
    return found
