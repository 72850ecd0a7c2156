"""`obshell audit`: who asked for what, from where, and what came of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from pyobshell.cli import output, place
from pyobshell.cli.options import BaseDir, Host, Json, Password, PasswordFile
from pyobshell.cli.outcome import run

if TYPE_CHECKING:
    from pyobshell.wire import AuditRecord, AuditTrail

_MOMENT = "RFC 3339, or how long ago: 90s, 30m, 24h, 7d, 2w."
_LONGEST_BODY = 100
_HEADINGS = ("TIME", "WHO", "FROM", "AGENT", "REQUEST", "RESULT", "TASK", "STATE", "BODY")


def audit(
    since: Annotated[
        str | None, typer.Option("--since", metavar="MOMENT", help=f"From then on. {_MOMENT}")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="MOMENT", help=f"Before then. {_MOMENT}")
    ] = None,
    who: Annotated[
        str | None,
        typer.Option(
            "--who", "--user", metavar="NAME", help="root@sys, or a user of the agent's host."
        ),
    ] = None,
    path: Annotated[
        str | None, typer.Option("--path", metavar="TEXT", help="Any part of the route: ob/stop.")
    ] = None,
    dag: Annotated[
        str | None,
        typer.Option("-i", "--dag", "--id", metavar="ID", help="Only what is about one task."),
    ] = None,
    failed: Annotated[
        bool,
        typer.Option(
            "--failed", help="What was refused or not answered, or whose task has failed."
        ),
    ] = False,
    limit: Annotated[
        int, typer.Option("-n", "--limit", min=1, max=1000, help="How many at most.")
    ] = 100,
    only_this_agent: Annotated[
        bool, typer.Option("--only-this-agent", help="Only what this agent was asked.")
    ] = False,
    base_dir: BaseDir = None,
    host: Host = None,
    password_file: PasswordFile = None,
    password: Password = None,
    as_json: Json = False,
) -> None:
    """Show the audit trail."""

    async def work() -> None:
        where = place.locate(base_dir, host, password, password_file)
        async with where.client() as client:
            trail = await client.audit(
                since=since,
                until=until,
                who=who,
                path=path,
                dag=dag,
                failed=failed,
                limit=limit,
                only_this_agent=only_this_agent,
            )
        _print(trail, as_json)

    run(work(), as_json=as_json)


def _print(trail: AuditTrail, as_json: bool) -> None:
    output.warn_of(trail.unreachable)
    if as_json:
        output.print_json(trail.model_dump())
    elif not trail.contents:
        output.say("Nothing on record")
    else:
        output.print_table(_HEADINGS, [_row(record) for record in trail.contents])


def _row(record: AuditRecord) -> list[str]:
    body = json.dumps(record.body, ensure_ascii=False)
    return [
        _to_seconds(str(record.time)),
        record.who,
        record.client if record.pid is None else f"{record.client}, pid {record.pid}",
        record.agent,
        f"{record.method} {record.path.removeprefix('/api/v1')}",
        _result(record),
        record.dag or "-",
        record.dag_state or "-",
        body if len(body) <= _LONGEST_BODY else body[:_LONGEST_BODY] + "…",
    ]


def _result(record: AuditRecord) -> str:
    if record.status is None:
        return "no answer"
    return f"{record.status} {record.errCode}" if record.errCode else str(record.status)


def _to_seconds(timestamp: str) -> str:
    """A timestamp of the API without its fraction."""
    date, _, rest = timestamp.partition(".")
    return date + rest.lstrip("0123456789")
