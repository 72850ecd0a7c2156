"""How a seekdb server is launched: its program, its command line, what its exit codes mean."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from pyobshell import errors
from pyobshell.engines.base import ServerConfig
from pyobshell.engines.launching import last_line, launch_daemon, run_program
from pyobshell.engines.process import lock_owner

# No report to its maker; any other value means true.
_ENVIRONMENT = {"TELEMETRY_ENABLED": "false"}
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# Enough for a small server, and little enough for several on one machine; seekdb's own default
# is most of the machine.
_DEFAULTS = {"memory_budget": "1G", "log_disk_size": "2G"}
# Keys of a distributed observer under another name here.
_RENAMED = {"memory_limit": "memory_budget"}
# Keys with a place of their own in the configuration, and those of a member of a cluster. The
# password must not be seen in a command line.
_PLACED = {"mysql_port", "rpc_port", "data_dir", "redo_dir", "syslog_level", "rootPwd"}
_OF_MEMBERS = {"cluster", "cluster_id", "zone", "rootservice_list", "local_ip", "devname"}
_NOT_PARAMETERS = _PLACED | _OF_MEMBERS | {"homePath", "clog_dir", "slog_dir"}
ALREADY_RUNNING = 96
_MEANINGS = {
    1: "the start failed",
    87: "its home cannot be created or written",
    89: "the role is unknown",
    94: "an option is invalid",
    ALREADY_RUNNING: "another process runs on this home",
    127: "a library it needs is missing (libaio.so.1 must lie beside it)",
}


def find_binary(given: Path | None) -> Path:
    """The server's program: the given one, else that of the installed package."""
    if given is not None:
        return given.absolute()
    # Found, not imported: importing would load the client library into this process.
    spec = importlib.util.find_spec("pylibseekdb")
    if spec is None or not spec.submodule_search_locations:
        raise errors.SERVER_UNAVAILABLE(
            reason="seekdb is not installed; in a clone of pyobshell run: pip install '.[seekdb]'"
        )
    return Path(spec.submodule_search_locations[0], "seekdb")


def command_line(binary: Path, config: ServerConfig, home: Path, *, first: bool) -> list[str]:
    """The command for a start.

    Parameters are given at the first start only: the server keeps them, and repeating them would
    undo what has been changed by ALTER SYSTEM since. Port and log level are given every time: the
    log level is not kept, and the port is the one under which others know this server.
    """
    level = config.log_level or config.parameters.get("syslog_level") or "WARN"
    command = [str(binary), "--base-dir", str(home), "--port", str(config.mysql_port)]
    command += ["--log-level", level]
    if config.ipv6:
        command.append("--use-ipv6")
    if config.data_dir:
        command += ["--data-dir", str(home / config.data_dir)]
    if config.redo_dir:
        command += ["--redo-dir", str(home / config.redo_dir)]
    parameters = server_parameters(config) if first else {}
    if config.rpc_port is not None:
        parameters["rpc_port"] = str(config.rpc_port)
    for key, value in parameters.items():
        command += ["--parameter", f"{key}={value}"]
    return command


def server_parameters(config: ServerConfig) -> dict[str, str]:
    """The parameters for a first start, under the names that seekdb knows."""
    parameters = dict(_DEFAULTS)
    for key, value in config.parameters.items():
        if not _KEY.fullmatch(key):
            raise errors.ILLEGAL_ARGUMENT(name=key, reason="it is not the name of a parameter")
        renamed = _RENAMED.get(key, key)
        if key not in _NOT_PARAMETERS and (renamed == key or renamed not in config.parameters):
            parameters[renamed] = value
    return parameters


def launch(command: list[str], pid_file: Path) -> int:
    """Run the launcher, which leaves a daemon behind; returns 0 or ``ALREADY_RUNNING``.

    On 0 the daemon has locked its pid file, or has ended. Raises with the meaning of any other
    exit code and the last line that was printed.
    """
    code, printed = launch_daemon(
        command, lambda: lock_owner(pid_file) is not None, environment=_ENVIRONMENT
    )
    if code in (0, ALREADY_RUNNING):
        return code
    meaning = _MEANINGS.get(code, "the cause is not known")
    raise errors.SERVER_UNAVAILABLE(
        reason=f"seekdb did not start: {meaning} (exit code {code}): {last_line(printed)}"
    )


def read_version(binary: Path) -> str:
    """The version of the program and the revision it was built from, as one text."""
    _, printed = run_program([str(binary), "--version"], environment=_ENVIRONMENT)
    version = re.search(r"\(OceanBase seekdb ([\d.]+)\)", printed)
    revision = re.search(r"^REVISION: (\S+)", printed, re.MULTILINE)
    if version is None:
        raise errors.SERVER_UNAVAILABLE(reason=f"{binary} tells no version")
    return f"{version[1]}-{revision[1]}" if revision else version[1]
