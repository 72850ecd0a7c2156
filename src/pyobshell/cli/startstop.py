"""`obshell cluster stop` and `start`: which servers, in which way, and what to do if it fails."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import typer

from pyobshell.cli import output, place
from pyobshell.cli.options import BaseDir, Host, Json, Password, PasswordFile, Verbose, Yes
from pyobshell.cli.outcome import CommandError, Exit, run

if TYPE_CHECKING:
    from pyobshell.client import Client
    from pyobshell.wire import DagDetailDTO

Servers = Annotated[
    str | None,
    typer.Option("-s", "--server", metavar="IP:PORT,…", help="The servers of these agents."),
]
Zones = Annotated[
    str | None, typer.Option("-z", "--zone", metavar="ZONE,…", help="The servers of these zones.")
]
Everything = Annotated[bool, typer.Option("-a", "--all", help="The whole cluster.")]
ForcePass = Annotated[
    list[str] | None,
    typer.Option(
        "-i",
        "--id",
        "--force-pass-dag",
        metavar="ID,…",
        help="Earlier start or stop tasks to give up, whose locks stand in the way; may be "
        "repeated.",
    ),
]


@dataclass(frozen=True)
class Targets:
    """Which servers are meant; ``words`` say it on the command line."""

    scope: str
    names: tuple[str, ...] = ()
    words: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.scope == "GLOBAL":
            return "ALL servers of the cluster"
        names = ", ".join(self.names)
        if self.scope == "ZONE":
            return f"the servers of zone {names}"
        return f"the server of {names}" if names else "this agent's own server"

    async def named(self, client: Client) -> list[str]:
        """The names for the API; the agent's own server needs to be looked up."""
        if self.scope == "SERVER" and not self.names:
            from pyobshell.address import Address

            info = await client.info()
            return [str(Address.of(info.ip, info.port))]
        return list(self.names)


def stop(
    server: Servers = None,
    zone: Zones = None,
    everything: Everything = False,
    force: Annotated[
        bool, typer.Option("-f", "--force", help="Kill at once; data that is committed is safe.")
    ] = False,
    terminate: Annotated[
        bool, typer.Option("-t", "--terminate", help="Flush, verify it, then kill; the default.")
    ] = False,
    immediate: Annotated[
        bool, typer.Option("-I", "--immediate", help="Gently: cut no statement, never kill.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Do nothing; show what would be done, or why it would not."),
    ] = False,
    force_pass: ForcePass = None,
    base_dir: BaseDir = None,
    host: Host = None,
    password_file: PasswordFile = None,
    password: Password = None,
    yes: Yes = False,
    verbose: Verbose = False,
    as_json: Json = False,
) -> None:
    """Stop servers: this agent's own, or those of -s, -z or -a. Ctrl-C cancels.

    At most one of -f, -t and -I says how. To kill, and to stop the whole cluster, need a
    confirmation. In a cluster of observers -I means STOP in SQL: the server goes on running.
    """

    modes = {"-f": force, "-t": terminate, "-I": immediate}
    mode = {"force": force, "terminate": not force and not immediate}

    async def ask(client: Client, order: Order, names: list[str]) -> DagDetailDTO:
        return await client.stop(
            order.targets.scope, names, **mode, force_pass_dag=order.force_pass
        )

    async def work() -> None:
        chosen = [word for word, given in modes.items() if given]
        if len(chosen) > 1:
            raise CommandError(Exit.USAGE, f"{' and '.join(chosen)} exclude each other")
        targets = choose(server, zone, everything)
        if not dry_run and (force or targets.scope == "GLOBAL"):
            output.confirm(f"{'Kill' if force else 'Stop'} {targets}?", assume_yes=yes)
        where = place.locate(base_dir, host, password, password_file)
        if dry_run:
            await _preview(where, targets, mode, split(force_pass), as_json=as_json)
            return
        words = ("cluster", "stop", *targets.words, *chosen)
        order = Order(where, targets, words, split(force_pass), as_json, verbose)
        await order.carry_out(ask, "stopped")

    run(work(), as_json=as_json)


def start(
    server: Servers = None,
    zone: Zones = None,
    everything: Everything = False,
    force_pass: ForcePass = None,
    base_dir: BaseDir = None,
    host: Host = None,
    password_file: PasswordFile = None,
    password: Password = None,
    yes: Annotated[bool, typer.Option("-y", "--yes", hidden=True)] = False,
    verbose: Verbose = False,
    as_json: Json = False,
) -> None:
    """Start servers: this agent's own, or those of -s, -z or -a. Ctrl-C cancels."""

    async def ask(client: Client, order: Order, names: list[str]) -> DagDetailDTO:
        return await client.start(order.targets.scope, names, force_pass_dag=order.force_pass)

    async def work() -> None:
        targets = choose(server, zone, everything)
        where = place.locate(base_dir, host, password, password_file)
        words = ("cluster", "start", *targets.words)
        order = Order(where, targets, words, split(force_pass), as_json, verbose)
        await order.carry_out(ask, "started")

    run(work(), as_json=as_json)


# --- how it is done ------------------------------------------------------------------------------


async def _preview(
    where: place.Place,
    targets: Targets,
    mode: dict[str, bool],
    force_pass: list[str],
    *,
    as_json: bool,
) -> None:
    from pyobshell.cli import preview

    async with where.client() as client:
        names = await targets.named(client)
        found = await client.preview_stop(targets.scope, names, **mode, force_pass_dag=force_pass)
    preview.show(found, as_json=as_json)


@dataclass(frozen=True)
class Order:
    """A start, stop or restart; ``words`` are the command that gave it.

    ``given_up_by`` is the command that ends it halfway, where that is another.
    """

    where: place.Place
    targets: Targets
    words: tuple[str, ...]
    force_pass: list[str]
    as_json: bool
    verbose: bool
    given_up_by: tuple[str, ...] = ()

    async def carry_out(self, ask: Ask, done: str, undo: Ask | None = None) -> None:
        """Have the agent do it, and see it through; interrupted, have it ``undo`` that."""
        from pyobshell.cli import text
        from pyobshell.cli.follow import Follower

        async with self.where.client() as client:
            names = await self.targets.named(client)
            follower = Follower(client, self.where, self.as_json, self.verbose, self.advice)
            if undo is not None:
                follower = replace(
                    follower,
                    undo=lambda dag: undo(client, replace(self, force_pass=[dag.id]), names),
                )
            dag = await follower.succeed(await ask(client, self, names))
        if self.as_json:
            output.print_json(dag.model_dump())
        else:
            for line in text.emergency(dag):
                output.say(line)
            took = text.duration(text.elapsed_ms(dag.start_time, dag.end_time))
            output.say(f"Done in {took}: {self.targets} {done}")

    def advice(self, dag: DagDetailDTO) -> list[str]:
        """What to do when it failed: give up what stands in the way, or simply try again."""
        from pyobshell.cli import text
        from pyobshell.cli.again import once_mended

        blocking = text.blocking_dags(dag)
        lines = text.emergency(dag)
        mended = once_mended(dag, self.where, self.words)
        lines.append(f"what succeeded stays done; once the cause is mended: {mended}")
        stuck, others = text.kept_from_stop(dag) or ("", "")
        if others:
            without = self.where.command("cluster", "stop", "-t", "-s", others)
            lines.append(f"to stop the others without: {without}")
        if stuck:
            kill = self.where.command("cluster", "stop", "-f", "-s", stuck)
            lines.append(f"to kill what could not be flushed: {kill}")
        if blocking:
            passed = [*self.force_pass, *(one for one in blocking if one not in self.force_pass)]
            options = [word for one in passed for word in ("--force-pass-dag", one)]
            words = self.given_up_by if text.stays_locked(dag) and self.given_up_by else self.words
            again = self.where.command(*words, *options)
            lines.append(f"to give up what holds the agents, and do this: {again}")
        return lines


Ask = Callable[["Client", Order, list[str]], Awaitable["DagDetailDTO"]]


def choose(server: str | None, zone: str | None, everything: bool) -> Targets:
    """The targets of -s, -z or -a, of which there is at most one.

    An empty one, as of a shell variable that is not set, does not mean this agent's own server.
    """
    if sum((server is not None, zone is not None, everything)) > 1:
        raise CommandError(Exit.USAGE, "-s, -z and -a exclude each other")
    if everything:
        return Targets("GLOBAL", words=("-a",))
    for option, scope, given in (("-z", "ZONE", zone), ("-s", "SERVER", server)):
        if given is not None:
            names = tuple(split([given]))
            if not names:
                raise CommandError(Exit.USAGE, f"{option} {given!r} names nothing")
            return Targets(scope, names, (option, given))
    return Targets("SERVER")


def split(lists: list[str] | None) -> list[str]:
    """The parts of comma-separated lists."""
    return [part.strip() for one in lists or [] for part in one.split(",") if part.strip()]
