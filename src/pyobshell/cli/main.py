"""The command `obshell`, put together from its groups."""

from __future__ import annotations

from typing import Annotated

import typer

from pyobshell import __version__
from pyobshell.cli import agent, cluster, secrets, startstop, task

_HELP = "Operate OceanBase clusters: an agent beside every database server."

app = typer.Typer(
    help=_HELP,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
cluster.app.command("stop")(startstop.stop)
cluster.app.command("start")(startstop.start)
app.add_typer(agent.app, name="agent")
app.add_typer(cluster.app, name="cluster")
app.add_typer(task.app, name="task")
app.add_typer(task.app, name="utilities", hidden=True)
app.add_typer(agent.admin, name="admin", hidden=True)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"obshell (pyobshell) {__version__}")
        raise typer.Exit


@app.callback()
def obshell(
    version: Annotated[
        bool,
        typer.Option(
            "-V", "--version", callback=_print_version, is_eager=True, help="Show the version."
        ),
    ] = False,
) -> None:
    """Operate OceanBase clusters: an agent beside every database server."""


def main() -> None:
    """Run the command."""
    secrets.erase_from_command_line()
    app()
