"""`obshell sandbox up`, `down` and `list`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pyobshell.cli import output, secrets, startwith
from pyobshell.cli.options import Json, OptStr, server_options
from pyobshell.cli.outcome import CommandError, Exit, run

if TYPE_CHECKING:
    from pyobshell.cli.sandbox.record import Sandbox

app = typer.Typer()

Directory = Annotated[
    Path, typer.Option("--base-dir", metavar="DIR", help="Directory of the sandbox.")
]


@app.command()
def up(
    base_dir: Directory,
    nodes: Annotated[int, typer.Option("--nodes", min=1, help="Number of servers.")] = 3,
    zones: Annotated[
        int | None,
        typer.Option(
            "--zones",
            min=1,
            help="Number of zones.",
            show_default="as many as servers, but 3 at most",
        ),
    ] = None,
    name: Annotated[str, typer.Option("--name", help="Name of the cluster.")] = "sandbox",
    engine: Annotated[
        str | None,
        typer.Option(
            "--engine",
            help="Kind of server: seekdb or oceanbase.",
            show_default="that of the program",
        ),
    ] = None,
    observer: Annotated[
        Path | None,
        typer.Option(
            "--observer",
            metavar="PATH",
            help="The server program to run; oceanbase needs it.",
            show_default="the installed seekdb",
        ),
    ] = None,
    opt_str: OptStr = None,
    tls: Annotated[
        bool,
        typer.Option("--tls", help="Agents and clients speak mutual TLS, and nothing else."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Bring a cluster up in a new or empty directory, on free ports of this machine."""

    async def work() -> None:
        from pyobshell.cli.sandbox.up import Plan
        from pyobshell.cli.sandbox.up import up as bring_up
        from pyobshell.cli.steps import Steps

        secrets.take_from_environment()
        count = min(nodes, 3) if zones is None else zones
        if count > nodes:
            raise CommandError(Exit.USAGE, f"{nodes} nodes cannot be in {count} zones")
        program = None if observer is None else startwith.program(observer)
        options = server_options(None, None, None, None, None, opt_str)
        kind = _kind(engine, base_dir, program)
        plan = Plan(base_dir, nodes, count, name, kind, program, options, tls)
        sandbox = await bring_up(plan, Steps(sys.stderr))
        if as_json:
            output.print_json(await described(sandbox))
        else:
            await _print_sandbox(sandbox)

    run(work(), as_json=as_json)


def _kind(engine: str | None, base_dir: Path, program: Path | None) -> str:
    from pyobshell.engines import comes_installed, kind_of

    kind = kind_of(engine, base_dir, program)
    if program is None and not comes_installed(kind):
        raise CommandError(
            Exit.USAGE, f"{kind} does not come installed; name its program: --observer PATH"
        )
    return kind


@app.command()
def down(base_dir: Directory, as_json: Json = False) -> None:
    """Stop a sandbox and remove everything that was made for it, with all its data."""

    async def work() -> None:
        from pyobshell.cli.sandbox.down import remove
        from pyobshell.cli.sandbox.record import Sandbox

        sandbox = Sandbox.open(base_dir)
        kept = await remove(sandbox)
        if as_json:
            output.print_json({"removed": sandbox.name, "kept": [str(path) for path in kept]})
            return
        output.say(f"Sandbox {sandbox.name} in {sandbox.directory} is removed")
        for path in kept:
            output.say(f"{path} stays: there is something in it that is not the sandbox's")

    run(work(), as_json=as_json)


@app.command("list")
def list_sandboxes(as_json: Json = False) -> None:
    """List your sandboxes: how many of their agents and servers run, and where they lie."""

    async def work() -> None:
        from pyobshell.cli.sandbox.record import Sandbox

        known = [await _summary(sandbox) for sandbox in Sandbox.known()]
        if as_json:
            output.print_json({"sandboxes": known})
        elif not known:
            output.say("No sandboxes")
        else:
            rows = [[str(value) for value in one.values()] for one in known]
            output.print_table([heading.upper() for heading in known[0]], rows)

    run(work(), as_json=as_json)


# --- how it is shown -----------------------------------------------------------------------------


async def described(sandbox: Sandbox) -> dict[str, Any]:
    """What others' scripts are told of a sandbox."""
    from pyobshell.cli.sandbox.processes import server_pid

    return {
        "cluster": sandbox.name,
        "root_password": sandbox.root_password,
        "agents": [
            {
                "ip": node.ip,
                "port": node.port,
                "zone": node.zone,
                "sql_port": node.sql_port,
                "observer_pid": await server_pid(sandbox, node),
                "base_dir": str(node.base_dir),
            }
            for node in sandbox.nodes
        ],
    }


async def _summary(sandbox: Sandbox) -> dict[str, str]:
    from pyobshell.cli.sandbox.processes import agent_of, server_pid

    held = [process for node in sandbox.nodes if (process := agent_of(node)) is not None]
    for process in held:
        process.close()
    servers = [await server_pid(sandbox, node) for node in sandbox.nodes]
    count = len(sandbox.nodes)
    return {
        "name": sandbox.name,
        "engine": sandbox.engine,
        "agents": f"{len(held)}/{count}",
        "servers": f"{count - servers.count(None)}/{count}",
        "directory": str(sandbox.directory),
    }


async def _print_sandbox(sandbox: Sandbox) -> None:
    agents = (await described(sandbox))["agents"]
    headings = ["ZONE", "AGENT", "SQL PORT", "SERVER PID", "HOME"]
    rows = [
        [
            one["zone"],
            f"{one['ip']}:{one['port']}",
            str(one["sql_port"]),
            str(one["observer_pid"]),
            one["base_dir"],
        ]
        for one in agents
    ]
    output.print_table(headings, rows)
    first = agents[0]
    output.say(
        f"SQL    mysql -h{first['ip']} -P{first['sql_port']} -uroot -p{sandbox.root_password}"
    )
    output.say(f"agent  obshell cluster show --base-dir {first['base_dir']}")
    if sandbox.certificates.exists():
        files = " ".join(
            f"--{option} {sandbox.certificates / name}"
            for option, name in (
                ("cacert", "ca.crt"),
                ("cert", "client.crt"),
                ("key", "client.key"),
            )
        )
        output.say(f"TLS    obshell cluster show --host {first['ip']}:{first['port']} {files}")
    output.say(f"end    obshell sandbox down --base-dir {sandbox.directory}")
