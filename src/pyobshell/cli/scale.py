"""`obshell cluster scale-out` and `scale-in`: a running cluster grows and shrinks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pyobshell.cli import output, place, secrets
from pyobshell.cli.options import (
    AgentPasswordFile,
    BaseDir,
    DataDir,
    Host,
    Json,
    LogLevel,
    MysqlPort,
    OptStr,
    Password,
    PasswordFile,
    RedoDir,
    RpcPort,
    Verbose,
    Yes,
    server_options,
)
from pyobshell.cli.outcome import CommandError, Exit, run

Nearby = Annotated[
    str, typer.Option("-s", "--server", metavar="IP:PORT", help="Any agent of the cluster.")
]
RootPassword = Annotated[
    str | None,
    typer.Option(
        "--rp",
        "--rootpassword",
        help="Password of root@sys of the cluster; better by file or $OB_ROOT_PASSWORD.",
    ),
]
RootPasswordFile = Annotated[
    Path | None,
    typer.Option("--rootpassword-file", metavar="FILE", help="File with that password."),
]


def scale_out(
    server: Nearby,
    zone: Annotated[
        str, typer.Option("-z", "--zone", help="Zone of the new server; made if there is none.")
    ],
    mysql_port: MysqlPort = None,
    rpc_port: RpcPort = None,
    data_dir: DataDir = None,
    redo_dir: RedoDir = None,
    log_level: LogLevel = None,
    opt_str: OptStr = None,
    root_password: RootPassword = None,
    root_password_file: RootPasswordFile = None,
    agent_password_file: AgentPasswordFile = None,
    base_dir: BaseDir = None,
    yes: Yes = False,
    verbose: Verbose = False,
    as_json: Json = False,
) -> None:
    """Have this agent, which belongs to nothing, and a new server join a running cluster.

    Run it on the new node. Ctrl-C cancels; what was done is undone by `task rollback`.
    """

    async def work() -> None:
        from pyobshell.address import Address
        from pyobshell.cli.follow import Follower

        environment = secrets.take_from_environment()
        of_agent = secrets.take_from_environment(secrets.OF_AGENT)
        here = place.locate(base_dir)
        member = place.parse_host(server)[0]
        options = server_options(mysql_port, rpc_port, data_dir, redo_dir, log_level, opt_str)
        async with here.client() as local:
            info = await local.info()
        own = Address.of(info.ip, info.port)
        output.confirm(f"Add {own} to the cluster of {member}, zone {zone}?", assume_yes=yes)
        agent_password = secrets.find_password(None, agent_password_file, of_agent) or ""
        password = secrets.find_password(root_password, root_password_file, environment)
        there = place.locate(None, server, password)
        async with there.client() as client:
            begun = await client.scale_out(own, zone, options, agent_password)
            dag = await Follower(client, there, as_json, verbose).succeed(begun)
        output.say_done(dag, f"{own} is a member, its server in zone {zone}", as_json)

    run(work(), as_json=as_json)


def scale_in(
    server: Annotated[
        str | None,
        typer.Option("-s", "--server", metavar="IP:PORT", help="Agent whose server is to go."),
    ] = None,
    zone: Annotated[
        str | None,
        typer.Option("-z", "--zone", help="Zone that is to go; it must have no resource units."),
    ] = None,
    force: Annotated[
        bool,
        typer.Option(
            "-f",
            "--force",
            help="Kill the server first, as when it is faulty; refused if a majority needs it.",
        ),
    ] = False,
    remove_data: Annotated[
        bool,
        typer.Option("--remove-data", help="Remove the server's files in the end; else they stay."),
    ] = False,
    base_dir: BaseDir = None,
    host: Host = None,
    password_file: PasswordFile = None,
    password: Password = None,
    yes: Yes = False,
    verbose: Verbose = False,
    as_json: Json = False,
) -> None:
    """Remove a server with its agent, or a zone, from the cluster: one of -s and -z.

    Ask another agent than the one that is to go. Ctrl-C cancels, and keeps the server.
    """

    async def work() -> None:
        from pyobshell.address import Address
        from pyobshell.cli.follow import Follower

        if (server is None) == (zone is None):
            raise CommandError(Exit.USAGE, "give one of -s and -z")
        if zone is not None and (force or remove_data):
            raise CommandError(Exit.USAGE, "-f and --remove-data go with -s alone")
        agent = None if server is None else Address.parse(server)
        what = f"zone {zone}" if agent is None else f"the server of {agent}"
        where = place.locate(base_dir, host, password, password_file)
        question = f"Remove {what} from the cluster{', killing it first' if force else ''}?"
        output.confirm(question, assume_yes=yes)
        async with where.client() as client:
            begun = (
                await client.delete_zone(zone or "")
                if agent is None
                else await client.scale_in(agent, force_kill=force, remove_data=remove_data)
            )
            if begun is None:
                output.say_done(None, f"{what} is no part of the cluster", as_json)
                return
            dag = await Follower(client, where, as_json, verbose).succeed(begun)
        output.say_done(dag, f"{what} is removed", as_json)

    run(work(), as_json=as_json)
