"""`obshell task`: show tasks, watch them, and operate those that failed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from pyobshell.cli import output, place
from pyobshell.cli.options import BaseDir, Host, Json, Password, PasswordFile, Verbose, Yes
from pyobshell.cli.outcome import CommandError, Exit, Finished, in_options, run

if TYPE_CHECKING:
    from pyobshell.client import Client
    from pyobshell.wire import DagDetailDTO, DagsOfAgents

app = typer.Typer()
_OUT_OF_REACH = "Agent.RPC.RequestFailed"

Id = Annotated[str, typer.Option("-i", "--id", help="The task's id.")]


@app.command()
def show(
    task_id: Annotated[
        str | None, typer.Option("-i", "--id", help="The task's id.", show_default="all unfinished")
    ] = None,
    detail: Annotated[
        bool,
        typer.Option("-d", "--show_detail", "--show-detail", help="With its stages and logs."),
    ] = False,
    base_dir: BaseDir = None,
    host: Host = None,
    password_file: PasswordFile = None,
    password: Password = None,
    as_json: Json = False,
) -> None:
    """Show a task, or all that are unfinished: not ended, or still holding a lock of an agent.

    Without --id also the task that failed last, of those begun within a day: why, and what to do.
    """

    async def work() -> None:
        if detail and task_id is None:
            raise CommandError(Exit.USAGE, "--show_detail needs --id")
        where = place.locate(base_dir, host, password, password_file)
        async with where.client() as client:
            if task_id is None:
                await _show_all(client, where, as_json)
                return
            with _without_its_coordinator(task_id):
                dag = await client.dag(task_id, details=detail)
        _print_full(dag, detail, as_json)

    run(work(), as_json=as_json)


@app.command()
def watch(
    task_id: Id,
    base_dir: BaseDir = None,
    host: Host = None,
    password_file: PasswordFile = None,
    password: Password = None,
    verbose: Verbose = False,
    as_json: Json = False,
) -> None:
    """Follow a task to its end; Ctrl-C leaves it alone."""

    async def work() -> None:
        from pyobshell.cli.follow import Follower

        where = place.locate(base_dir, host, password, password_file)
        async with where.client() as client:
            follower = Follower(client, where, as_json, verbose, cancels=False)
            with _without_its_coordinator(task_id):
                dag = await follower.succeed(await client.dag(task_id))
        _say_how_it_ended(dag, as_json)

    run(work(), as_json=as_json)


def _operate(
    task_id: str,
    operator: str,
    where: tuple[BaseDir, Host, Password, PasswordFile],
    *,
    yes: bool,
    verbose: bool,
    as_json: bool,
) -> None:
    """Apply an operator, and follow what comes of it."""

    async def work() -> None:
        from pyobshell.cli.follow import Follower

        at = place.locate(*where)
        async with at.client() as client:
            with _without_its_coordinator(task_id):
                before = await client.dag(task_id)
                asked = f"{operator.capitalize()} '{before.name}' {task_id}?"
                output.confirm(asked, assume_yes=yes)
                await client.operate(task_id, operator)
            follower = Follower(client, at, as_json, verbose, cancels=False)
            dag = await follower.follow(before, seen=before)
            # What is cancelled ends FAILED, and that is as it should be.
            if dag.state == "FAILED" and operator != "CANCEL":
                follower.explain(dag)
        _say_how_it_ended(dag, as_json)
        if dag.state == "FAILED" and operator != "CANCEL":
            raise Finished(Exit.FAILED)

    run(work(), as_json=as_json)


def _operator_command(operator: str, explained: str) -> Callable[..., None]:
    """The command that applies an operator: the four differ in nothing else."""

    def command(
        task_id: Id,
        base_dir: BaseDir = None,
        host: Host = None,
        password_file: PasswordFile = None,
        password: Password = None,
        yes: Yes = False,
        verbose: Verbose = False,
        as_json: Json = False,
    ) -> None:
        where = (base_dir, host, password, password_file)
        _operate(task_id, operator, where, yes=yes, verbose=verbose, as_json=as_json)

    command.__doc__ = explained
    return command


for _name, _obshells_name, _operator, _explained in (
    (
        "cancel",
        "stop",
        "CANCEL",
        "Cancel a task that has not ended; it ends FAILED.\n\n"
        "Whether that is allowed, and whether it can be retried or rolled back afterwards, "
        "depends on the stages it has come to; what is not allowed is refused, and nothing is "
        "done.",
    ),
    (
        "rollback",
        None,
        "ROLLBACK",
        "Undo what a failed task has done.\n\nRefused unless all stages so far allow it.",
    ),
    (
        "retry",
        "rerun",
        "RETRY",
        "Do the failed stage of a task again, and go on.\n\nRefused unless that stage allows it.",
    ),
    (
        "pass",
        "skip",
        "PASS",
        "Have a failed task count as done, and release its lock.\n\n"
        "Refused unless the failed stage and those after it allow it.",
    ),
):
    app.command(_name)(_operator_command(_operator, _explained))
    if _obshells_name is not None:
        app.command(_obshells_name, hidden=True)(_operator_command(_operator, _explained))


@contextmanager
def _without_its_coordinator(task_id: str) -> Iterator[None]:
    """Say what can be done about a task whose own agent is out of reach."""
    from pyobshell.client import ApiError

    try:
        yield
    except ApiError as error:
        if error.code != _OUT_OF_REACH:
            raise
        ways = (
            "it alone can tell of this task and operate it: start it there (obshell agent start), "
            "then ask again; or have the task given up without it: the next cluster stop or start "
            f"with --force-pass-dag {task_id}"
        )
        raise CommandError(Exit.REFUSED, f"{error}; {ways}", error.code) from None


# --- how it is shown -----------------------------------------------------------------------------


async def _show_all(client: Client, where: place.Place, as_json: bool) -> None:
    """Show what is unfinished; and to a person what failed last, which need not be in there."""
    from pyobshell.cli.failed import failed_last

    if as_json:
        _print_list(await _unfinished(client), as_json)
        return
    found, failed = await asyncio.gather(_unfinished(client), failed_last(client, where))
    _print_list(found, as_json)
    for line in failed:
        output.say(line)


async def _unfinished(client: Client) -> DagsOfAgents:
    """What is unfinished, with the tasks that have failed and still hold agents."""
    from pyobshell.wire import DagsOfAgents

    main, parts = await asyncio.gather(client.main_dags(), client.unfinished())
    dags = {dag.id: dag for dag in (*main.contents, *parts.contents)}
    silent = {one.agent: one for one in (*main.unreachable, *parts.unreachable)}
    return DagsOfAgents(contents=list(dags.values()), unreachable=list(silent.values()))


def _print_list(found: DagsOfAgents, as_json: bool) -> None:
    output.warn_of(found.unreachable)
    dags = found.contents
    if as_json:
        output.print_json(found.model_dump())
    elif not dags:
        output.say("No unfinished tasks")
    else:
        rows = [
            [dag.id, _named(dag), f"{dag.stage}/{dag.max_stage}", dag.state, str(dag.start_time)]
            for dag in dags
        ]
        output.print_table(["ID", "NAME", "STAGE", "STATE", "START"], rows)


def _named(dag: DagDetailDTO) -> str:
    """Its name, and of a part the task that it belongs to, whose agent may be out of reach."""
    main = (dag.additional_data or {}).get("main_dag_id")
    return dag.name if main is None else f"{dag.name} (part of {main})"


def _print_full(dag: DagDetailDTO, detail: bool, as_json: bool) -> None:
    from pyobshell.cli import text

    if as_json:
        output.print_json(dag.model_dump())
        return
    for line in text.full(dag, details=detail):
        output.say(in_options(line))


def _say_how_it_ended(dag: DagDetailDTO, as_json: bool) -> None:
    from pyobshell.cli import text

    if as_json:
        output.print_json(dag.model_dump())
    else:
        operator = "" if dag.operator == "RUN" else f" by {dag.operator}"
        output.say(f"'{dag.name}' {dag.id}: {dag.state}{operator}")
        if text.stays_locked(dag):
            output.say(f"→ {text.lock_advice(dag)}")
