"""Options that several commands share, declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pyobshell.cli.outcome import CommandError, Exit

BaseDir = Annotated[
    Path | None,
    typer.Option(
        "--base-dir",
        metavar="DIR",
        help="Home of the agent. Default: $OBSHELL_BASE_DIR, else the current directory or "
        "~/.obshell, whichever has an agent.",
    ),
]
Host = Annotated[
    str | None,
    typer.Option(
        "--host",
        metavar="IP:PORT",
        help="Ask an agent over HTTP, not a local one; over TLS with --cacert, or https://IP:PORT.",
    ),
]
PasswordFile = Annotated[
    Path | None,
    typer.Option(
        "--password-file",
        metavar="FILE",
        help="Password of root@sys for --host. Else $OB_ROOT_PASSWORD, else you are asked.",
    ),
]
UnusedPasswordFile = Annotated[
    Path | None, typer.Option("--password-file", metavar="FILE", hidden=True)
]
AgentPasswordFile = Annotated[
    Path | None,
    typer.Option(
        "--agent-password-file",
        metavar="FILE",
        help="File with the agent password of the agent asked, if it has one. Else "
        "$OB_AGENT_PASSWORD.",
    ),
]
Password = Annotated[str | None, typer.Option("--password", metavar="TEXT", hidden=True)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
Yes = Annotated[bool, typer.Option("-y", "--yes", help="Do not ask for confirmation.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Show the logs of every stage.")]

MysqlPort = Annotated[
    int | None,
    typer.Option(
        "-p", "--mysql_port", "--mysql-port", metavar="PORT", help="SQL port of the server."
    ),
]
RpcPort = Annotated[
    int | None,
    typer.Option("-P", "--rpc_port", "--rpc-port", metavar="PORT", help="RPC port of the server."),
]
DataDir = Annotated[
    str | None,
    typer.Option(
        "-d", "--data_dir", "--data-dir", metavar="DIR", help="Directory of the server's data."
    ),
]
RedoDir = Annotated[
    str | None,
    typer.Option(
        "-r", "--redo_dir", "--redo-dir", metavar="DIR", help="Directory of the server's redo log."
    ),
]
LogLevel = Annotated[
    str | None,
    typer.Option(
        "-l", "--log_level", "--log-level", metavar="LEVEL", help="Log level of the server."
    ),
]
OptStr = Annotated[
    str | None,
    typer.Option(
        "-o", "--opt_str", "--opt-str", metavar="K=V,…", help="Other parameters of the server."
    ),
]


def server_options(
    mysql_port: int | None,
    rpc_port: int | None,
    data_dir: str | None,
    redo_dir: str | None,
    log_level: str | None,
    opt_str: str | None,
) -> dict[str, str]:
    """The options of a server under the names the API has for them."""
    given: dict[str, Any] = {
        "mysql_port": mysql_port,
        "rpc_port": rpc_port,
        "data_dir": data_dir,
        "redo_dir": redo_dir,
        "syslog_level": log_level,
    }
    options = {name: str(value) for name, value in given.items() if value is not None}
    for word in (opt_str or "").split(","):
        name, equals, value = word.partition("=")
        if not word.strip():
            continue
        if not equals or not name.strip():
            raise CommandError(Exit.USAGE, f"--opt_str {word}: write name=value,name=value")
        options[name.strip()] = value.strip()
    return options
