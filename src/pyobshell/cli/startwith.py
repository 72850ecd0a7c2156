"""What an agent is started with: what was kept of before, overridden by what is given now."""

from __future__ import annotations

import ipaddress
import json
import os
import sys
from pathlib import Path
from typing import Any

from pyobshell.cli.outcome import CommandError, Exit

_KEPT = ".obshell/settings.json"
_TLS_FILES = {"tls_cert", "tls_key", "tls_ca"}
_BROADCAST = ipaddress.ip_address("255.255.255.255")


def settings_of(home: Path, given: dict[str, Any], more: list[str] | None) -> dict[str, Any]:
    """The settings for a start, checked; raises ``CommandError`` if they cannot be used."""
    now = _pairs(more) | {name: value for name, value in given.items() if value is not None}
    settings = kept(home, needed="ip" not in now)
    of_file = set(settings)
    settings |= now
    settings["base_dir"] = str(home)
    if "ip" not in settings and (found := _ip_of_server(home)):
        settings["ip"] = found
    if "ip" not in settings:
        raise CommandError(Exit.NO_IP, "give --ip, the address that other agents reach this one at")
    if "observer" in now:
        settings["observer"] = str(program(Path(now["observer"])))
    for name in _TLS_FILES & now.keys():
        file = Path(now[name])  # no name at all is one of this directory
        settings[name] = str(file.expanduser().absolute()) if file.name else None
    _check(settings, home / _KEPT, of_file - set(now))
    return settings


def _ip_of_server(home: Path) -> str | None:
    """The address of a server of a cluster that is in the home already."""
    from pyobshell.engines import make_engine
    from pyobshell.errors import OBShellError

    try:
        recorded = make_engine(None, home, home / ".obshell", None).recorded()
    except OBShellError:
        return None
    return recorded.ip if recorded else None


def _pairs(words: list[str] | None) -> dict[str, Any]:
    pairs = {}
    for word in words or []:
        name, equals, value = word.partition("=")
        if not equals:
            raise CommandError(Exit.USAGE, f"--set {word}: write NAME=VALUE")
        pairs[name] = value
    return pairs


def kept(home: Path, *, needed: bool = True) -> dict[str, Any]:
    """What the agent on a home was last started with; nothing if none was.

    If the file is damaged that is only told, unless what is in it is needed.
    """
    file = home / _KEPT
    try:
        content = file.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    try:
        settings = json.loads(content)
        if not isinstance(settings, dict):
            raise ValueError("it holds no JSON object")
    except ValueError as error:
        why = f"{file} cannot be read: {error if content.strip() else 'it is empty'}"
        if needed:
            raise CommandError(
                Exit.USAGE,
                f"{why}; give --ip and whatever else is not as by default, "
                "and the file is written anew",
            ) from None
        sys.stderr.write(f"obshell: {why}; it is written anew\n")
        return {}
    return settings


def program(path: Path) -> Path:
    """The absolute path of a server's program; raises ``CommandError`` if it cannot be run."""
    path = path.expanduser().absolute()
    if not path.is_file():
        raise CommandError(Exit.USAGE, f"--observer {path}: there is no such file")
    if not os.access(path, os.X_OK):
        raise CommandError(Exit.USAGE, f"--observer {path}: it is not executable")
    return path


def _check(settings: dict[str, Any], file: Path, of_file: set[str]) -> None:
    """Refuse wrong settings before the whole program is loaded."""
    from pydantic import ValidationError

    from pyobshell.errors import OBShellError
    from pyobshell.settings import Settings

    try:
        address = Settings.model_validate(settings).address
    except ValidationError as error:
        wrong = [_wrong(dict(one), file, of_file) for one in error.errors()]
        raise CommandError(Exit.USAGE, "; ".join(wrong)) from None
    except OBShellError as error:
        raise CommandError(Exit.INVALID_ADDRESS, str(error), error.code.name) from None
    ip = ipaddress.ip_address(address.ip)
    ip = getattr(ip, "ipv4_mapped", None) or ip
    if ip.is_unspecified or ip.is_multicast or ip == _BROADCAST:
        raise CommandError(
            Exit.INVALID_ADDRESS,
            f"--ip {address.ip}: others cannot reach an agent at this; "
            "give the address of one of this host's interfaces",
        )


def _wrong(error: dict[str, Any], file: Path, of_file: set[str]) -> str:
    if not error["loc"]:  # it is about several together, and names them
        return str(error["ctx"]["error"])
    name = ".".join(map(str, error["loc"]))
    unknown = error["type"] == "extra_forbidden"
    why = "this release has no such setting" if unknown else error["msg"]
    if name in of_file:
        return f"{file}: {name}: {why}; {'remove' if unknown else 'correct'} it there"
    return f"{name}: {why}"
