"""The command `obshell`, put together from its groups."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from pyobshell import __version__
from pyobshell.cli import secrets, trust
from pyobshell.cli.options import Json
from pyobshell.cli.outcome import print_error, run

# Name, module and help of each group; without help it is hidden.
_GROUPS = (
    ("agent", "agent:app", "Start, stop and look at the agent on this host."),
    ("cluster", "cluster:app", "Make a cluster, start it, stop it, look at it."),
    ("task", "task:app", "Look at tasks, and operate them."),
    ("sandbox", "sandbox.commands:app", "A whole cluster on this machine, to try things out."),
    ("admin", "agent:admin", ""),
    ("utilities", "task:app", ""),
)
_AUDIT = "Show who asked for which change, from where, and what came of it; the newest first."
_EXIT_CODES = (
    "Exit codes: 0 done, 1 the operation failed, 2 wrong usage or not confirmed, 3 refused by the "
    "agent, 4 no agent answers, 130 interrupted; 17 to 30 say why an agent did not start: "
    "docs/operations.md has them all."
)
_COMPLETION = "_OBSHELL_COMPLETE"


class Program(TyperGroup):
    """The outermost group; with ``--json`` wrong usage is told as a document as well."""

    def main(self, args: Sequence[str] | None = None, *more: Any, **options: Any) -> Any:
        """Run the command for some words."""
        words = sys.argv[1:] if args is None else list(args)
        try:
            return super().main(words, *more, **options)
        except SystemExit as ended:
            # Raised while the error was handled that was told on stderr.
            told = getattr(ended.__context__, "format_message", None)
            if told is not None and "--json" in words:
                print_error(told())
            raise


def make_app(words: Sequence[str]) -> typer.Typer:
    """The command for some words: the group they name, and the others by name alone.

    Making a group's commands takes longer than most of them run.
    """
    named = next((word for word in words if not word.startswith("-")), "")
    app = typer.Typer(
        cls=Program,
        no_args_is_help=True,
        epilog=_EXIT_CODES,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(obshell)
    for name, place, text in _GROUPS:
        wanted = name == named or _COMPLETION in os.environ
        group = _load(place) if wanted else typer.Typer()
        app.add_typer(group, name=name, help=text, hidden=not text, no_args_is_help=True)
    wanted = named == "audit" or _COMPLETION in os.environ
    app.command("audit", help=_AUDIT)(_load("audit:audit") if wanted else _not_loaded)
    app.command()(demo)
    return app


def _load(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(import_module(f"pyobshell.cli.{module}"), name)


def _not_loaded() -> None:
    """Stand for a command that was not called."""


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"obshell (pyobshell) {__version__}")
        raise typer.Exit


def obshell(
    version: Annotated[
        bool,
        typer.Option(
            "-V", "--version", callback=_print_version, is_eager=True, help="Show the version."
        ),
    ] = False,
    cacert: Annotated[
        Path | None,
        typer.Option(
            "--cacert",
            metavar="FILE",
            help="CA (PEM) of agents asked with --host, which are then asked over TLS. Default: "
            "$OBSHELL_CACERT, else for https://IP:PORT the system's. This and the next two may "
            "stand anywhere on the command line.",
        ),
    ] = None,
    cert: Annotated[
        Path | None,
        typer.Option(
            "--cert",
            metavar="FILE",
            help="Certificate (PEM) to show to agents, for mutual TLS. Default: $OBSHELL_CERT.",
        ),
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option(
            "--key",
            metavar="FILE",
            help="Its private key. Default: $OBSHELL_KEY, else what --cert names.",
        ),
    ] = None,
) -> None:
    """Operate OceanBase clusters: an agent beside every database server."""
    trust.remember(cacert, cert, key)


def demo(as_json: Json = False) -> None:
    """Make a cluster of three real servers, stop it, start it and remove it; under a minute."""

    async def work() -> None:
        from pyobshell.cli import demo as guided
        from pyobshell.cli.steps import Steps

        await guided.run(Steps(sys.stderr if as_json else sys.stdout), as_json=as_json)

    run(work(), as_json=as_json)


def _load_little() -> None:
    """Spare every command a quarter of a second of what libraries load and it does not need."""
    sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]  # httpx's own command
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "1")  # looks into every installed package


def main() -> None:
    """Run the command."""
    secrets.erase_from_command_line()
    secrets.erase_from_environment()
    _load_little()
    sys.argv[1:] = trust.hoisted(sys.argv[1:])
    make_app(sys.argv[1:])()
