"""The options of ``observer``, as its operator passes them."""

from __future__ import annotations

import fcntl
import re
import socket
import struct
from collections.abc import Iterator

VERSION = "4.3.5.3"
BUILD = "103000012025070411"
REVISION = f"{BUILD}-d0cbdf0e9931f46f68fd4ff4aec955c8c3b8efd2"
BUILD_VERSION = f"{VERSION}_{REVISION}(Jul  4 2025 11:12:13)"
VERSION_TEXT = f"""observer (OceanBase_CE {VERSION})

REVISION: {REVISION}
BUILD_BRANCH: HEAD
BUILD_TIME: Jul  4 2025 11:12:13
BUILD_FLAGS: RelWithDebInfo
BUILD_INFO: stand-in

Copyright (c) 2011-present OceanBase Inc.
"""

_WITH_VALUE = {
    "-n": "cluster",
    "--appname": "cluster",
    "-c": "cluster_id",
    "--cluster_id": "cluster_id",
    "-z": "zone",
    "--zone": "zone",
    "-p": "mysql_port",
    "--mysql_port": "mysql_port",
    "-P": "rpc_port",
    "--rpc_port": "rpc_port",
    "-d": "data_dir",
    "--data_dir": "data_dir",
    "-I": "local_ip",
    "--local_ip": "local_ip",
    "-i": "devname",
    "--devname": "devname",
    "-r": "rootservice_list",
    "--rs": "rootservice_list",
    "-l": "syslog_level",
    "--log_level": "syslog_level",
    "-o": "options",
    "--optstr": "options",
}
_IPV6 = {"-6", "--ipv6", "--use-ipv6"}
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_REQUIRED = ("cluster", "cluster_id", "zone", "mysql_port", "rpc_port", "data_dir")
_PORTS = ("mysql_port", "rpc_port")
_SIOCGIFADDR = 0x8915


class OptionError(Exception):
    """An option that is unknown, incomplete or has a bad value."""


def parse(words: list[str]) -> dict[str, str]:
    """The configuration that the options spell, by the keys of the configuration file."""
    given: dict[str, str] = {}
    for name, value in _options(words):
        if name == "options":
            given.update(_pairs(value))
        else:
            given[name] = value
    return given


def check_first_start(config: dict[str, str]) -> None:
    """Complete the configuration of a first start; raises if something needed is missing."""
    missing = [key for key in _REQUIRED if not config.get(key)]
    if missing:
        raise OptionError(f"first start needs {', '.join(missing)}")
    for key in _PORTS:
        if not config[key].isdigit() or not 1024 < int(config[key]) < 65536:
            raise OptionError(f"invalid {key}: {config[key]}")
    if not config["cluster_id"].isdigit():
        raise OptionError(f"invalid cluster_id: {config['cluster_id']}")
    if "local_ip" not in config:
        config["local_ip"] = _address_of(config.get("devname", "lo"))


def _options(words: list[str]) -> Iterator[tuple[str, str]]:
    rest = iter(words)
    for word in rest:
        name, equals, value = word.partition("=")
        if word in _IPV6:
            yield "ipv6", "true"
        elif equals and name.startswith("--") and name in _WITH_VALUE:
            yield _WITH_VALUE[name], value
        elif word in _WITH_VALUE:
            following = next(rest, None)
            if following is None:
                raise OptionError(f"option requires an argument -- {word}")
            yield _WITH_VALUE[word], following
        elif word[:2] in _WITH_VALUE and not word.startswith("--"):
            yield _WITH_VALUE[word[:2]], word[2:]
        else:
            raise OptionError(f"unknown option {word}")


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    for pair in filter(None, text.split(",")):
        key, equals, value = pair.partition("=")
        if not equals or not _KEY.fullmatch(key):
            raise OptionError(f"invalid parameter {pair}")
        yield key, value


def _address_of(device: str) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        try:
            request = struct.pack("256s", device.encode()[:15])
            answer = fcntl.ioctl(any_socket.fileno(), _SIOCGIFADDR, request)
        except OSError as error:
            raise OptionError(f"no address on device {device}: {error}") from error
    return socket.inet_ntoa(answer[20:24])
