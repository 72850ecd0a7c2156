"""The statements that a distributed cluster knows and a single seekdb does not."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from standin.errors import syntax
from standin.tenant_statements import parse_tenant_statement
from standin.tokens import Words

_COMMENTS = re.compile(r"\A(?:\s|/\*.*?\*/|--\s[^\n]*\n|#[^\n]*\n)+", re.DOTALL)
_CLUSTER = re.compile(
    r"""(?:
        ALTER\s+SYSTEM
      | CREATE\s+TENANT | ALTER\s+TENANT | DROP\s+TENANT | PURGE\s+TENANT | FLASHBACK\s+TENANT
      | (?:CREATE|ALTER|DROP)\s+RESOURCE
    )\b""",
    re.VERBOSE | re.IGNORECASE,
)
_SERVER_ACTIONS = ("ADD", "DELETE", "CANCEL DELETE", "START", "FORCE STOP", "STOP", "ISOLATE")


@dataclass(frozen=True)
class Command:
    """What a cluster statement asks for."""

    verb: str
    args: dict[str, Any] = field(default_factory=dict)


def is_cluster_statement(text: str) -> bool:
    """Whether the hub has to answer it."""
    return _CLUSTER.match(without_leading_comments(text)) is not None


def without_leading_comments(text: str) -> str:
    """The statement from its first word on."""
    return _COMMENTS.sub("", text)


def parse(text: str) -> Command:
    """What the statement asks for; raises SqlError 1064 if it is not understood."""
    words = Words(text)
    if words.accept("ALTER", "SYSTEM"):
        command = _alter_system(words)
    else:
        command = Command(*parse_tenant_statement(words))
    words.end()
    return command


def _alter_system(words: Words) -> Command:
    if action := words.one_of(*(f"{action} SERVER" for action in _SERVER_ACTIONS)):
        servers = words.values()
        zone = words.equals() if words.accept("ZONE") else None
        return Command("server", {"action": action[:-7], "servers": servers, "zone": zone})
    if action := words.one_of(*(f"{action} ZONE" for action in _SERVER_ACTIONS)):
        return Command("zone", {"action": action[:-5], "zone": words.value(), **_place(words)})
    known: dict[str, Callable[[Words], Command]] = {
        "BOOTSTRAP": _bootstrap,
        "MINOR FREEZE": _minor_freeze,
        "MAJOR FREEZE": _of_tenants("major freeze"),
        "CLEAR MERGE ERROR": _of_tenants("clear merge error"),
        "LOAD MODULE DATA": _module("load module"),
        "CHECK MODULE DATA": _module("check module"),
        "SET": _parameters,
    }
    verb = words.one_of(*known)
    if not verb:
        raise words.error()
    return known[verb](words)


def _place(words: Words) -> dict[str, str | None]:
    place: dict[str, str | None] = {"region": None, "idc": None}
    while word := words.one_of("REGION", "IDC", ","):
        if word != ",":
            place[word.lower()] = words.equals()
    return place


def _bootstrap(words: Words) -> Command:
    words.accept("CLUSTER", "PRIMARY")
    members = []
    while True:
        region = words.equals() if words.accept("REGION") else "sys_region"
        words.expect("ZONE")
        zone = words.equals()
        if words.accept("IDC"):
            words.equals()
        words.expect("SERVER")
        members.append({"region": region, "zone": zone, "server": words.equals()})
        if not words.accept(","):
            return Command("bootstrap", {"members": members})


def _minor_freeze(words: Words) -> Command:
    args: dict[str, Any] = {"servers": None, "zone": None, "tenants": None}
    while word := words.one_of("SERVER", "ZONE", "TENANT"):
        words.accept("=")
        if word == "SERVER":
            args["servers"] = words.values()
        elif word == "ZONE":
            args["zone"] = words.value()
        else:
            args["tenants"] = words.values()
    return Command("minor freeze", args)


def _of_tenants(verb: str) -> Callable[[Words], Command]:
    def parse_tenants(words: Words) -> Command:
        tenants = None
        if words.accept("TENANT"):
            words.accept("=")
            tenants = words.values()
        return Command(verb, {"tenants": tenants})

    return parse_tenants


def _module(verb: str) -> Callable[[Words], Command]:
    def parse_module(words: Words) -> Command:
        args = {}
        while word := words.one_of("MODULE", "TENANT", "INFILE"):
            args[word.lower()] = words.equals()
        if "module" not in args:
            raise words.error()
        return Command(verb, args)

    return parse_module


def _parameters(words: Words) -> Command:
    settings = []
    while True:
        name = words.value()
        words.expect("=")
        setting: dict[str, str | None] = {"name": name.lower(), "value": words.value()}
        while word := words.one_of("ZONE", "SERVER", "TENANT", "SCOPE", "COMMENT"):
            setting[word.lower()] = words.equals()
        settings.append(setting)
        if not words.accept(","):
            break
    if not settings:
        raise syntax("SET")
    return Command("set", {"settings": settings})
