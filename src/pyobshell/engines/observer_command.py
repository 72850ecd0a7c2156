"""How an observer is launched: its command line at the first start, and at every other."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from pyobshell import errors
from pyobshell.engines.base import ServerConfig
from pyobshell.engines.launching import last_line, launch_daemon, run_program
from pyobshell.engines.observer_files import ObserverFiles

_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# Enough for a small server that shares its machine. By default it takes most of a machine.
SMALL = {
    "memory_limit": "6G",
    "system_memory": "1G",
    "__min_full_resource_pool_memory": "2147483648",
    "cpu_count": "4",
    "datafile_size": "2G",
    "datafile_next": "2G",
    "datafile_maxsize": "20G",
    "log_disk_size": "5G",
    "enable_syslog_recycle": "true",
    "max_syslog_file_count": "4",
}
# Keys that have a flag or a place of their own, and the password, which nobody must see.
_NOT_OPTIONS = {
    *("cluster", "cluster_id", "zone", "mysql_port", "rpc_port", "data_dir", "local_ip"),
    *("devname", "rootservice_list", "syslog_level", "redo_dir", "clog_dir", "slog_dir"),
    *("homePath", "rootPwd"),
}


def command_line(
    binary: Path, config: ServerConfig, files: ObserverFiles, *, first: bool
) -> list[str]:
    """The command for a start: all options at the first, none later, when the server knows them."""
    command = [str(binary)]
    if not first:
        return command
    options = server_options(config)
    for flag, value in (
        ("-n", config.cluster),
        ("-c", config.cluster_id),
        ("-z", config.zone),
        ("-p", config.mysql_port),
        ("-P", config.rpc_port),
        ("-d", files.data),
        ("-I", config.ip),
        ("-l", config.log_level),
        ("-o", ",".join(f"{key}={value}" for key, value in options.items())),
    ):
        if value:
            command += [flag, str(value)]
    return [*command, "--ipv6"] if config.ipv6 else command


def server_options(config: ServerConfig) -> dict[str, str]:
    """The parameters for a first start; raises ``Common.IllegalArgument`` for what cannot be one.

    They go to the server as one text, in which a comma ends a value.
    """
    for key, value in config.parameters.items():
        if not _KEY.fullmatch(key):
            raise errors.ILLEGAL_ARGUMENT(name=key, reason="it is not the name of a parameter")
        if "," in value or not value.isprintable():
            raise errors.ILLEGAL_ARGUMENT(
                name=key, reason="a value with a comma or a control character cannot be given here"
            )
    return {key: value for key, value in config.parameters.items() if key not in _NOT_OPTIONS}


def launch(command: list[str], home: Path, is_seen: Callable[[], bool]) -> None:
    """Run the launcher until its daemon can be seen, or has ended; raises with what it printed."""
    code, printed = launch_daemon(
        command, is_seen, home=home, environment=_environment(Path(command[0]), home)
    )
    if code != 0:
        raise errors.SERVER_UNAVAILABLE(
            reason=f"observer did not start (exit code {code}): {last_line(printed)}"
        )


def read_version(binary: Path, home: Path) -> str:
    """The version of the program and the build it is of: ``4.3.5.3-103000012025070411``."""
    _, printed = run_program([str(binary), "-V"], environment=_environment(binary, home))
    version = re.search(r"\(OceanBase\w* ([\d.]+)\)", printed)
    build = re.search(r"^REVISION: (\d+)-", printed, re.MULTILINE)
    if version is None:
        raise errors.SERVER_UNAVAILABLE(reason=f"{binary} tells no version")
    return f"{version[1]}-{build[1]}" if build else version[1]


def _environment(binary: Path, home: Path) -> dict[str, str]:
    """Where its libraries are: in the home, or beside the program."""
    return {"LD_LIBRARY_PATH": f"{home / 'lib'}:{binary.resolve().parent.parent / 'lib'}"}
