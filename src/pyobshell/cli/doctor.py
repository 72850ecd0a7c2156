"""`obshell agent doctor`: what is wrong with an agent's own files, and what to do about it."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pyobshell.cli import output, place
from pyobshell.cli.options import BaseDir, Json
from pyobshell.cli.outcome import CommandError, Exit, Finished, run

if TYPE_CHECKING:
    from pyobshell.client import Client
    from pyobshell.home.findings import Finding
    from pyobshell.home.processes import Running, Task
    from pyobshell.wire import DagDetailDTO

_ANSWER_S = 5.0
_WRITTEN_S = 10.0
_NO_LOCK = 1
_NOT_FOUND = "Task.NotFound"

Repair = Annotated[
    bool,
    typer.Option(
        "--repair",
        help="Do what is safe: modes, files left by an agent that has gone, and, while no agent "
        "runs, a broken database, which is replaced from what was kept of it.",
    ),
]
ForgetPasswords = Annotated[
    bool,
    typer.Option(
        "--forget-passwords",
        help="With --repair: forget stored passwords that cannot be opened any more.",
    ),
]


def doctor(
    base_dir: BaseDir = None,
    repair: Repair = False,
    forget_passwords: ForgetPasswords = False,
    as_json: Json = False,
) -> None:
    """Examine the agent's own files and processes; exit code 1 if a problem is left.

    Nothing is changed without --repair. It does not matter whether the agent runs.
    """

    async def work() -> None:
        if forget_passwords and not repair:
            raise CommandError(Exit.USAGE, "--forget-passwords is for --repair")
        from pyobshell.home.examination import Orders, examine
        from pyobshell.home.findings import Level

        home = place.home_for_start(base_dir).resolve()
        findings = await examine(home, await _running(home), Orders(repair, forget_passwords))
        problems = sum(one.level is Level.PROBLEM for one in findings)
        if as_json:
            told = [asdict(one) for one in findings]
            document = {"base_dir": str(home), "problems": problems, "findings": told}
            output.print_json(document)
        else:
            _say(findings, problems)
        raise Finished(Exit.FAILED if problems else Exit.OK)

    run(work(), as_json=as_json)


def _say(findings: list[Finding], problems: int) -> None:
    for one in findings:
        level = "repaired" if one.repaired else one.level
        output.say(f"{level:<8}  {one.check:<11}  {one.message}")
        if one.remedy:
            output.say(f"{'':<21}  -> {one.remedy}")
    left = "1 problem is" if problems == 1 else f"{problems or 'no'} problems are"
    output.say(f"{left} left")


async def _running(home: Path) -> Running | None:
    """The agent on a home, if it runs, and what it says that it does."""
    from pyobshell.cli import agents
    from pyobshell.client import ApiError, Client, Unreachable
    from pyobshell.home.processes import Running
    from pyobshell.settings import Paths

    process = agents.find(home)
    if process is None:
        return None
    with process:
        socket = Paths(home).socket
        try:
            async with asyncio.timeout(_ANSWER_S), Client.local(socket) as client:
                tasks = [await _task(client, dag) for dag in await client.unfinished_here()]
        except ApiError as error:
            return Running(process.pid, None, str(error), await _unwritable(socket))
        except (Unreachable, TimeoutError, OSError):
            return Running(process.pid, None)
        return Running(process.pid, tasks, unwritable=await _unwritable(socket))


async def _unwritable(socket: Path) -> tuple[str, ...]:
    """What the running agent says that it cannot write to."""
    from pyobshell.client import ApiError, Client, Unreachable

    try:
        async with asyncio.timeout(_WRITTEN_S), Client.local(socket) as client:
            found = await client.call("GET", "/agent/unwritable")
            return tuple(f"{one['file']}: {one['cause']}" for one in found["contents"])
    except ApiError:
        return ()  # of an earlier release
    except (Unreachable, TimeoutError, OSError):
        return (f"its files: that took longer than {_WRITTEN_S:g} s",)


async def _task(client: Client, dag: DagDetailDTO) -> Task:
    from pyobshell.client import ApiError
    from pyobshell.home.processes import Task

    main, state = (dag.additional_data or {}).get("main_dag_id", ""), ""
    if main:
        try:
            state = str((await client.dag(main)).state)
        except ApiError as error:
            state = "gone" if error.code == _NOT_FOUND else ""
    stage = f"{dag.stage} of {dag.max_stage}"
    locks = dag.maintenance_type > _NO_LOCK
    return Task(dag.id, dag.name, str(dag.state), stage, locks, main, state)
