"""`obshell cluster`: `join`, `remove`, `init` and `show`; the other commands are named here."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pyobshell.cli import output, parameters, place, rolling, scale, secrets, startstop
from pyobshell.cli.options import (
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
from pyobshell.cli.outcome import run

if TYPE_CHECKING:
    from pyobshell.wire import AgentInstance, ObInfo, ServerInfo

app = typer.Typer()
_AGENT, _STATE = 1, 4  # columns of what is shown

Leader = Annotated[
    str,
    typer.Option(
        "-s",
        "--server",
        metavar="IP:PORT",
        help="Agent to follow; this agent's own address: lead.",
    ),
]
MasterPasswordFile = Annotated[
    Path | None,
    typer.Option(
        "--master-password-file",
        metavar="FILE",
        help="File with the agent password of the agent to follow, if it has one. Else "
        "$OB_MASTER_AGENT_PASSWORD.",
    ),
]
Member = Annotated[str, typer.Option("-s", "--server", metavar="IP:PORT", help="Agent to remove.")]


@app.command()
def join(
    server: Leader,
    zone: Annotated[str, typer.Option("-z", "--zone", help="Zone of this agent's server.")],
    master_password_file: MasterPasswordFile = None,
    mysql_port: MysqlPort = None,
    rpc_port: RpcPort = None,
    data_dir: DataDir = None,
    redo_dir: RedoDir = None,
    log_level: LogLevel = None,
    opt_str: OptStr = None,
    base_dir: BaseDir = None,
    host: Host = None,
    password_file: PasswordFile = None,
    password: Password = None,
    verbose: Verbose = False,
    as_json: Json = False,
) -> None:
    """Have this agent lead a cluster that is to be made, or follow the one that leads it.

    The first one joins itself; when all have joined, `cluster init` makes the cluster.
    """

    async def work() -> None:
        from pyobshell.address import Address
        from pyobshell.cli.follow import Follower

        where = place.locate(base_dir, host, password, password_file)
        options = server_options(mysql_port, rpc_port, data_dir, redo_dir, log_level, opt_str)
        master = Address.parse(server)
        environment = secrets.take_from_environment(secrets.OF_MASTER)
        of_master = secrets.find_password(None, master_password_file, environment) or ""
        async with where.client() as client:
            follower = Follower(client, where, as_json, verbose)
            dag = await follower.succeed(await client.join(master, zone, of_master))
            if options:
                info = await client.info()
                own = str(Address.of(info.ip, info.port))
                dag = await client.configure_servers(options, "SERVER", [own])
                dag = await follower.succeed(dag)
        output.say_done(dag, f"joined {master} in zone {zone}", as_json)

    run(work(), as_json=as_json)


@app.command()
def remove(
    server: Member,
    base_dir: BaseDir = None,
    host: Host = None,
    password_file: PasswordFile = None,
    password: Password = None,
    yes: Yes = False,
    verbose: Verbose = False,
    as_json: Json = False,
) -> None:
    """Remove an agent from a cluster that is not made yet; with its leader, all of them."""

    async def work() -> None:
        from pyobshell.address import Address
        from pyobshell.cli.follow import Follower

        where = place.locate(base_dir, host, password, password_file)
        agent = Address.parse(server)
        output.confirm(f"Remove {agent} from its cluster to be?", assume_yes=yes)
        async with where.client() as client:
            begun = await client.remove(agent)
            if begun is None:
                output.say_done(None, f"{agent} is a member of nothing", as_json)
                return
            dag = await Follower(client, where, as_json, verbose).succeed(begun)
        output.say_done(dag, f"removed {agent}", as_json)

    run(work(), as_json=as_json)


@app.command()
def init(
    name: Annotated[
        str, typer.Option("-n", "--cluster_name", "--cluster-name", help="Name of the cluster.")
    ],
    root_password: Annotated[
        str | None,
        typer.Option(
            "--rp",
            "--rootpassword",
            help="Password that root@sys is to get; better by file or $OB_ROOT_PASSWORD. "
            "Without any you are asked.",
        ),
    ] = None,
    root_password_file: Annotated[
        Path | None,
        typer.Option("--rootpassword-file", metavar="FILE", help="File with that password."),
    ] = None,
    cluster_id: Annotated[
        int | None,
        typer.Option(
            "-i",
            "--cluster_id",
            "--cluster-id",
            help="Id of the cluster. Default: the time in seconds.",
        ),
    ] = None,
    mysql_port: MysqlPort = None,
    rpc_port: RpcPort = None,
    data_dir: DataDir = None,
    redo_dir: RedoDir = None,
    log_level: LogLevel = None,
    opt_str: OptStr = None,
    create_proxyro_user: Annotated[
        bool,
        typer.Option(
            "--create_proxyro_user",
            "--create-proxyro-user",
            help="Make the user proxyro as well, by which OBProxy reads the cluster's tables.",
        ),
    ] = False,
    proxyro_password: Annotated[
        str,
        typer.Option(
            "--proxyro_password",
            "--proxyro-password",
            help="Password that proxyro is to get.",
            show_default="none",
        ),
    ] = "",
    proxyro_password_file: Annotated[
        Path | None,
        typer.Option("--proxyro-password-file", metavar="FILE", help="File with that password."),
    ] = None,
    base_dir: BaseDir = None,
    host: Host = None,
    verbose: Verbose = False,
    as_json: Json = False,
) -> None:
    """Make the cluster of all agents that have joined: deploy and start every server."""

    async def work() -> None:
        from pyobshell.cli.follow import Follower

        environment = secrets.take_from_environment()
        password = secrets.find_password(root_password, root_password_file, environment)
        if password is None:
            hint = f"give --rootpassword-file, or set {secrets.ENVIRONMENT}"
            password = secrets.ask_password("root@sys, to be set", hint, twice=True)
        of_proxyro = secrets.find_password(proxyro_password or None, proxyro_password_file, None)
        # Until it has been set, any password is as good as none.
        where = place.locate(base_dir, host, ask=False).with_password(password)
        options = server_options(mysql_port, rpc_port, data_dir, redo_dir, log_level, opt_str)
        number = int(time.time()) if cluster_id is None else cluster_id
        async with where.client() as client:
            follower = Follower(client, where, as_json, verbose)
            await follower.succeed(await client.configure_cluster(name, number, password))
            if options:
                await follower.succeed(await client.configure_servers(options, "GLOBAL", []))
            dag = await client.initialize(
                create_proxyro_user=create_proxyro_user, proxyro_password=of_proxyro or ""
            )
            dag = await follower.succeed(dag)
        output.say_done(dag, f"cluster {name} is up", as_json)

    run(work(), as_json=as_json)


@app.command()
def show(
    detail: Annotated[
        bool,
        typer.Option(
            "-d",
            "--show_detail",
            "--show-detail",
            help="With the agents' versions and the root service.",
        ),
    ] = False,
    base_dir: BaseDir = None,
    host: Host = None,
    password_file: PasswordFile = None,
    password: Password = None,
    as_json: Json = False,
) -> None:
    """Show the cluster: its agents, and the servers beside them."""

    async def work() -> None:
        where = place.locate(base_dir, host, password, password_file)
        async with where.client() as client:
            info = await client.ob_info()
        output.warn_of(info.unreachable)
        if as_json:
            output.print_json(info.model_dump())
        else:
            _print_cluster(info, detail)

    run(work(), as_json=as_json)


app.command()(startstop.stop)
app.command()(startstop.start)
app.command()(rolling.restart)
app.command("parameters")(parameters.parameters)
app.command()(parameters.set_parameter)
app.command()(scale.scale_out)
app.command()(scale.scale_in)


# --- how it is done ------------------------------------------------------------------------------


def _print_cluster(info: ObInfo, detail: bool) -> None:
    cluster, agents = info.obcluster_info, info.agent_info or []
    if cluster.name:
        output.say(f"Cluster {cluster.name} (id {cluster.id}, {cluster.version})")
    servers = {
        (one.svr_ip, one.agent_port): one
        for zone in (cluster.topology or {}).values()
        for one in zone
    }
    headings = ["ZONE", "AGENT", "SERVER", "SQL PORT", "STATE", "IDENTITY", "VERSION"]
    if detail:
        headings += ["AGENT VERSION", "ROOT SERVICE"]
    rows = [_row(agent, servers.get((agent.ip, agent.port)), detail) for agent in agents]
    silent = {one.agent for one in info.unreachable}
    for row in rows:
        if row[_AGENT] in silent:
            row[_STATE] = "UNKNOWN"
    output.print_table(headings, sorted(rows, key=lambda row: row[0]))


def _row(agent: AgentInstance, server: ServerInfo | None, detail: bool) -> list[str]:
    name = f"[{agent.ip}]:{agent.port}" if ":" in agent.ip else f"{agent.ip}:{agent.port}"
    row = [agent.zone or "-", name, "-", "-", "-", agent.identity, "-"]
    if server is not None:
        host = f"[{server.svr_ip}]" if ":" in server.svr_ip else server.svr_ip
        row[2:5] = [f"{host}:{server.svr_port}", str(server.sql_port), server.status]
        row[6] = server.build_version
    if detail:
        row += [agent.version, server.with_rootserver if server else "-"]
    return row
