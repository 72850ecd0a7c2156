"""`obshell agent`: start, stop, restart, status of the agent on this host, and what is its own."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pyobshell.cli import output, own, place, secrets, startwith
from pyobshell.cli.doctor import doctor
from pyobshell.cli.options import BaseDir, Host, Json, Password, UnusedPasswordFile
from pyobshell.cli.outcome import CommandError, Exit, Finished, reporting, run
from pyobshell.cli.tls import gen_cert, reload_tls

if TYPE_CHECKING:
    from pyobshell.cli.agents import Running

app = typer.Typer()
admin = typer.Typer()

_PATIENCE_S = 5.0  # its answer is waiting for nobody
_STATES = ("not running", "running, no connection", "restricted connection", "available")

Ip = Annotated[str | None, typer.Option("--ip", help="Address that others reach this agent at.")]
Port = Annotated[
    int | None, typer.Option("-P", "--port", help="The agent's port.", show_default="2886")
]
Engine = Annotated[
    str | None,
    typer.Option(
        "--engine",
        help="Kind of database server: oceanbase (a member of a distributed cluster) or seekdb.",
        show_default="oceanbase if the home has one, else seekdb",
    ),
]
Observer = Annotated[
    Path | None,
    typer.Option(
        "--observer",
        metavar="PATH",
        help="The server program to run. Default: bin/observer in the home, or the installed "
        "seekdb.",
    ),
]
TlsCert = Annotated[
    Path | None,
    typer.Option(
        "--tls-cert", metavar="FILE", help="Certificate for TLS (PEM): the port speaks it as well."
    ),
]
TlsKey = Annotated[
    Path | None,
    typer.Option("--tls-key", metavar="FILE", help="Its private key (PEM), for this user alone."),
]
TlsCa = Annotated[
    Path | None,
    typer.Option(
        "--tls-ca",
        metavar="FILE",
        help="CAs (PEM) of other agents and of clients: mutual TLS, whoever speaks TLS must show a "
        "certificate of theirs (agents alone: --set tls_client_auth=optional).",
    ),
]
TlsMode = Annotated[
    str | None,
    typer.Option(
        "--tls",
        metavar="off|optional|required",
        help="With a certificate: off speaks none, optional takes plain HTTP as well, required "
        "refuses it.",
        show_default="optional",
    ),
]
AgentLogLevel = Annotated[
    str | None,
    typer.Option("--log-level", help="Log level of the agent: DEBUG, INFO, WARNING or ERROR."),
]
More = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Any other setting; may be repeated: dag_hold_ms, start_timeout_s, stop_timeout_s, "
        "drain_timeout_s, freeze_timeout_s, sync_timeout_s, rpc_timeout_s, retry_s, "
        "silent_agent_s, lost_agent_s, lease_s, lease_renewal_s, header_lifetime_s, "
        "audit_keep_days, dag_keep_days, dag_keep, tls_client_auth.",
    ),
]
Foreground = Annotated[
    bool,
    typer.Option("--foreground", help="Do not detach; log to stderr. For a service manager."),
]
Takeover = Annotated[
    int,
    typer.Option(
        "--takeover",
        min=0,
        max=1,
        help="Whether an agent that knows of no cluster yet takes over a server of one that it "
        "finds in its home; it needs the password of root@sys for that.",
    ),
]
TakeoverPasswordFile = Annotated[
    Path | None,
    typer.Option(
        "--password-file",
        metavar="FILE",
        help="Password of root@sys, to take a server over. Else $OB_ROOT_PASSWORD.",
    ),
]


@app.command()
def start(
    ip: Ip = None,
    port: Port = None,
    base_dir: BaseDir = None,
    engine: Engine = None,
    observer: Observer = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    tls_ca: TlsCa = None,
    tls: TlsMode = None,
    log_level: AgentLogLevel = None,
    more: More = None,
    foreground: Foreground = False,
    takeover: Takeover = 1,
    password_file: TakeoverPasswordFile = None,
    password: Password = None,
    as_json: Json = False,
) -> None:
    """Start the agent, and return when it serves.

    What it is started with is kept in its home, so that a later start needs no more than that.
    Address and port can be changed as long as the agent is a member of nothing.
    """
    given = {"ip": ip, "port": port, "engine": engine, "observer": observer, "log_level": log_level}
    spoken = {"tls_cert": tls_cert, "tls_key": tls_key, "tls_ca": tls_ca, "tls": tls}
    with reporting(as_json=as_json):
        found = _found(takeover, password, password_file)
        settings = startwith.settings_of(place.home_for_start(base_dir), given | spoken, more)
        if foreground:
            from pyobshell.cli.serve import serve_in_foreground

            raise Finished(serve_in_foreground(settings, found, as_json=as_json))
        _launch(settings, found, as_json=as_json)


@app.command()
def stop(base_dir: BaseDir = None, as_json: Json = False) -> None:
    """Stop the agent; its database server is left as it is.

    That no agent runs is no error.
    """
    run(_stop(base_dir, as_json), as_json=as_json)


@app.command()
def restart(
    ip: Ip = None,
    port: Port = None,
    base_dir: BaseDir = None,
    engine: Engine = None,
    observer: Observer = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    tls_ca: TlsCa = None,
    tls: TlsMode = None,
    log_level: AgentLogLevel = None,
    more: More = None,
    takeover: Takeover = 1,
    password_file: TakeoverPasswordFile = None,
    password: Password = None,
    as_json: Json = False,
) -> None:
    """Stop the agent if it runs, and start it again as it was, or with what is given here.

    What cannot succeed is refused while the agent still runs, as far as that can be known; if the
    start fails nevertheless, the agent is started as it was.
    """
    given = {"ip": ip, "port": port, "engine": engine, "observer": observer, "log_level": log_level}
    spoken = {"tls_cert": tls_cert, "tls_key": tls_key, "tls_ca": tls_ca, "tls": tls}

    async def work() -> None:
        from pyobshell.cli.restart import restart as start_again

        found = _found(takeover, password, password_file)
        settings = startwith.settings_of(place.home_for_start(base_dir), given | spoken, more)
        _say_up(await start_again(settings, found), as_json)

    run(work(), as_json=as_json)


@app.command()
def status(
    base_dir: BaseDir = None,
    host: Host = None,
    password_file: UnusedPasswordFile = None,
    password: Password = None,
    as_json: Json = False,
) -> None:
    """Show how the agent and its server are; exit code 4 if the agent does not run.

    No password is needed, not even with --host.
    """

    async def work() -> None:
        await _status(place.locate(base_dir, host, password, password_file, ask=False), as_json)

    run(work(), as_json=as_json)


app.command()(doctor)
app.command("password")(own.password)
app.command("rotate-key")(own.rotate_key)
app.command("gen-cert")(gen_cert)
app.command("reload-tls")(reload_tls)


# --- as OBShell's SDK calls it over SSH ----------------------------------------------------------


@admin.command("start")
def admin_start(
    ip: Ip = None,
    port: Port = None,
    base_dir: BaseDir = None,
    takeover: Takeover = 1,
    password_file: TakeoverPasswordFile = None,
    password: Password = None,
) -> None:
    """As `agent start`; the home is the one in whose `bin` this program lies."""
    home = base_dir or place.home_of_program()
    start(
        ip=ip,
        port=port,
        base_dir=home,
        takeover=takeover,
        password_file=password_file,
        password=password,
    )


@admin.command("stop")
def admin_stop(base_dir: BaseDir = None) -> None:
    """As `agent stop`."""
    stop(base_dir=base_dir or place.home_of_program())


@admin.command("restart")
def admin_restart(ip: Ip = None, port: Port = None, base_dir: BaseDir = None) -> None:
    """As `agent restart`."""
    restart(ip=ip, port=port, base_dir=base_dir or place.home_of_program())


# --- how it is done ------------------------------------------------------------------------------


def _found(takeover: int, password: str | None, file: Path | None) -> dict[str, Any]:
    """What to do about a server of a cluster that is found in the home; and an agent password.

    The latter comes from the environment, and is for an agent that has none yet.
    """
    given = secrets.find_password(password, file, secrets.take_from_environment())
    of_agent = secrets.take_from_environment(secrets.OF_AGENT)
    return {"wanted": bool(takeover), "root_password": given, "agent_password": of_agent}


def _launch(settings: dict[str, Any], found: dict[str, Any], *, as_json: bool) -> None:
    """Start a daemon and say how that went."""
    from pyobshell.cli import agents
    from pyobshell.cli.restart import start as start_daemon

    home = Path(settings["base_dir"])
    there = agents.find(home)
    if there is not None:  # the agent would find out as well, but later
        there.close()
        again = shlex.join(["obshell", "agent", "stop", "--base-dir", str(home)])
        raise CommandError(
            Exit.START_FAILED,
            f"an agent runs on {home} already (pid {there.pid}); stop it first: {again}",
        )
    _say_up(start_daemon(settings, found), as_json)


def _say_up(running: Running, as_json: bool) -> None:
    if as_json:
        output.print_json(running.document)
    else:
        output.say(f"Agent {running.address} is up (pid {running.pid}, {running.base_dir})")
        if running.note:
            output.say(f"It does not know yet what it is: {running.note}")


async def _end(home: Path) -> int | None:
    """End the agent on a home; returns its pid, or None if none ran."""
    from pyobshell.cli import agents
    from pyobshell.cli.restart import end

    process = agents.find(home)
    if process is None:
        return None
    await end(process)
    return process.pid


async def _stop(base_dir: Path | None, as_json: bool) -> None:
    home = place.home_for_start(base_dir)
    pid = await _end(home)
    if as_json:
        output.print_json({"stopped": pid is not None, "pid": pid, "base_dir": str(home)})
    elif pid is None:
        output.say(f"No agent runs on {home}")
    else:
        output.say(f"The agent on {home} has stopped (pid {pid}); its server is left as it is")


async def _status(where: place.Place, as_json: bool) -> None:
    async with where.client(patience_s=_PATIENCE_S) as client:
        status = await client.status()
    if as_json:
        output.print_json(status.model_dump(exclude_none=True))
        return
    output.say(f"agent       {status.agent.ip}:{status.agent.port} (pid {status.pid})")
    why = f": {status.unidentified}" if status.unidentified else ""
    output.say(f"identity    {status.agent.identity}{why}")
    output.say(f"version     {status.version}")
    sql = f", SQL port {status.sqlPort}" if status.sqlPort else ""
    output.say(f"server      {_STATES[status.obState]}{sql}")
    output.say(f"maintained  {'yes' if status.underMaintenance else 'no'}")
