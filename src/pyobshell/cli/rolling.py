"""`obshell cluster restart`: one zone after the other, so that the cluster goes on serving."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pyobshell.cli import output, place
from pyobshell.cli.options import BaseDir, Host, Json, Password, PasswordFile, Verbose, Yes
from pyobshell.cli.outcome import CommandError, Exit, run
from pyobshell.cli.startstop import Everything, ForcePass, Order, Servers, Zones, choose, split

if TYPE_CHECKING:
    from pyobshell.client import Client
    from pyobshell.wire import DagDetailDTO


def restart(
    server: Servers = None,
    zone: Zones = None,
    everything: Everything = False,
    rolling: Annotated[
        bool, typer.Option("--rolling", help="One zone after the other; the only way there is.")
    ] = False,
    flush: Annotated[
        bool,
        typer.Option(
            "--terminate/--no-flush",
            "-t",
            show_default=False,
            help="Flush each server before it is ended, or save the time: it then reads more log "
            "at its start.",
        ),
    ] = True,
    force_pass: ForcePass = None,
    base_dir: BaseDir = None,
    host: Host = None,
    password_file: PasswordFile = None,
    password: Password = None,
    yes: Yes = False,
    verbose: Verbose = False,
    as_json: Json = False,
) -> None:
    """Restart servers while the rest serves: this agent's own, or those of -s, -z or -a.

    A zone is touched only if all is well, and is back and in sync before the next one is. At the
    first doubt it stops, and says how to go on. Ctrl-C cancels, and brings back what is down.
    """

    async def ask(client: Client, order: Order, names: list[str]) -> DagDetailDTO:
        return await client.restart(
            order.targets.scope, names, terminate=flush, force_pass_dag=order.force_pass
        )

    async def bring_back(client: Client, order: Order, names: list[str]) -> DagDetailDTO:
        return await client.start(order.targets.scope, names, force_pass_dag=order.force_pass)

    async def work() -> None:
        targets = choose(server, zone, everything)
        flags = ("--rolling",) if flush else ("--rolling", "--no-flush")
        words = ("cluster", "restart", *targets.words, *flags)
        if not rolling:
            raise CommandError(
                Exit.USAGE,
                "say --rolling to restart one zone after the other; "
                "to have all down at once: cluster stop, then cluster start",
            )
        flushed = "is flushed, " if flush else ""
        output.confirm(
            f"Restart {targets}, one zone after the other (each is stopped, so that leaders move "
            f"away, {flushed}is ended and started, and is in sync before the next; this agent's "
            "zone comes last)?",
            assume_yes=yes,
        )
        where = place.locate(base_dir, host, password, password_file)
        given_up_by = ("cluster", "start", *targets.words)
        order = Order(
            where, targets, words, split(force_pass), as_json, verbose, given_up_by=given_up_by
        )
        await order.carry_out(ask, "restarted", bring_back)

    run(work(), as_json=as_json)
