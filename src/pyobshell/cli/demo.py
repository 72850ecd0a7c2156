"""`obshell demo`: a cluster of real servers is made, stopped, looked at, started and removed."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import aiomysql

from pyobshell.cli import interrupts, output, text
from pyobshell.cli.outcome import CommandError, Exit, described
from pyobshell.cli.progress import view
from pyobshell.cli.sandbox import down
from pyobshell.cli.sandbox.processes import server_of
from pyobshell.cli.sandbox.record import Node, Sandbox
from pyobshell.cli.sandbox.up import Plan, give_up, up
from pyobshell.cli.steps import Steps
from pyobshell.client import Client
from pyobshell.engines.process import ServerProcess
from pyobshell.wire import DagDetailDTO

_SERVERS = 3
_ROWS = 1000
_HOLD_MS = 500
_TABLE = (
    "create database if not exists demo",
    "create table demo.account (id int primary key, balance int not null)",
)
_COUNT = "select count(*), sum(balance) from demo.account"


async def run(steps: Steps, *, as_json: bool = False) -> None:
    """The whole of it; whatever happens, nothing is left behind."""
    with interrupts.ending_in_order(), _naming_the_step(steps), _new_directory() as place:
        sandbox, dags = await _in(place, steps)
    if as_json:
        output.print_json(_document(sandbox, steps, dags))
    else:
        _summarise(dags)


@contextmanager
def _new_directory() -> Iterator[Path]:
    """A directory to work in; what could not be removed from it may be in use, and stays."""
    directory = Path(tempfile.mkdtemp(prefix="obshell-demo-"))
    try:
        yield directory
    finally:
        with suppress(OSError):
            directory.rmdir()


async def _in(place: Path, steps: Steps) -> tuple[Sandbox, list[DagDetailDTO]]:
    plan = Plan(place / "cluster", _SERVERS, _SERVERS, "demo", "seekdb", None)
    steps.say(f"  {_SERVERS} real database servers, {_SERVERS} zones, in {place}")
    sandbox = await up(plan, steps)
    try:
        dags = await _stop_and_start(sandbox, steps)
        with steps.step("removing all of it", "all is removed"):
            await interrupts.undisturbed(down.remove(sandbox))
    except BaseException:
        await interrupts.undisturbed(give_up(sandbox, steps))
        raise
    return sandbox, dags


@contextmanager
def _naming_the_step(steps: Steps) -> Iterator[None]:
    """Say of an error at which step it came."""
    try:
        yield
    except BrokenPipeError:
        raise  # nobody wants to know
    except Exception as error:
        why = described(error)
        raise CommandError(
            why.exit_code, f"the demo failed at '{steps.current}': {why}", why.code
        ) from error


async def _stop_and_start(sandbox: Sandbox, steps: Steps) -> list[DagDetailDTO]:
    first = sandbox.nodes[0]
    with steps.step("writing rows", f"{_ROWS} rows written on each of {_SERVERS} servers"):
        await _everywhere(sandbox, _write)
    with ExitStack() as held:
        servers = [held.enter_context(await _hold(sandbox, node)) for node in sandbox.nodes]
        async with Client(first.address, sandbox.root_password) as client:
            body = {"scope": {"type": "GLOBAL"}, "force": True}
            stopped = await _ask(client, steps, "/ob/stop", body)
        pids = ", ".join(str(server.pid) for server in servers)
        with steps.step("looking for the processes", f"processes {pids} have ended"):
            _require_ended(servers)
    async with Client(first.address, sandbox.root_password) as client:
        started = await _ask(client, steps, "/ob/start", {"scope": {"type": "GLOBAL"}})
    with steps.step("counting rows", f"all {_ROWS} rows are there on each of {_SERVERS} servers"):
        await _everywhere(sandbox, _count)
    return [stopped, started]


async def _ask(client: Client, steps: Steps, path: str, body: dict[str, Any]) -> DagDetailDTO:
    """Send a request over HTTP, encrypted as the API demands, and follow the task it begins."""
    steps.current = f"POST {path}"
    steps.say(f"→ POST http://{client.name}/api/v1{path}")
    steps.say(f"  {json.dumps(body, separators=(',', ':'))}", "AES, its key sealed with RSA")
    dag = DagDetailDTO.model_validate(await client.call("POST", path, body))
    with view(steps.stream, transient=True) as shown:
        while True:
            dag = await client.dag(dag.id, hold_ms=_HOLD_MS, seen_stage=dag.stage)
            shown.show(dag)
            if dag.state in text.ENDED:
                break
    if dag.state != "SUCCEED":
        reasons = "; ".join(f"{text.agent_of(task)}: {why}" for why, task in text.failures(dag))
        raise CommandError(Exit.FAILED, f"'{dag.name}' failed: {reasons}")
    took = text.duration(text.elapsed_ms(dag.start_time, dag.end_time))
    steps.say(f"✓ {dag.name} {dag.id}: {dag.state}", took)
    return dag


# --- what a user of the database does ------------------------------------------------------------


async def _everywhere(sandbox: Sandbox, work: Callable[[Any], Coroutine[Any, Any, None]]) -> None:
    """Do something with a cursor on each server, over TCP as any user would."""

    async def on(node: Node) -> None:
        connection = await aiomysql.connect(
            host=node.ip, port=node.sql_port, user="root", password=sandbox.root_password
        )
        try:
            async with connection.cursor() as cursor:
                await work(cursor)
            await connection.commit()
        finally:
            connection.close()

    await asyncio.gather(*map(on, sandbox.nodes))


async def _write(cursor: Any) -> None:
    for statement in _TABLE:
        await cursor.execute(statement)
    rows = [(number, 100) for number in range(_ROWS)]
    await cursor.executemany("insert into demo.account values (%s, %s)", rows)


async def _count(cursor: Any) -> None:
    await cursor.execute(_COUNT)
    rows, total = await cursor.fetchone()
    if (rows, total) != (_ROWS, _ROWS * 100):
        raise CommandError(Exit.FAILED, f"{rows} rows with a total of {total} are left")


# --- the processes, and the end ------------------------------------------------------------------


async def _hold(sandbox: Sandbox, node: Node) -> ServerProcess:
    """A node's server, held so that its end can be seen, and not mistaken for another's."""
    process = await server_of(sandbox, node)
    if process is None:
        raise CommandError(Exit.FAILED, f"no server runs in {node.base_dir}")
    return process


def _require_ended(servers: list[ServerProcess]) -> None:
    alive = [str(server.pid) for server in servers if not server.ended]
    if alive:
        raise CommandError(Exit.FAILED, f"processes are still there: {', '.join(alive)}")


def _document(sandbox: Sandbox, steps: Steps, dags: list[DagDetailDTO]) -> dict[str, Any]:
    """The demo as others' scripts are told of it."""
    return {
        "cluster": sandbox.name,
        "agents": [{"address": str(node.address), "zone": node.zone} for node in sandbox.nodes],
        "rows": _ROWS,
        "steps": [{"name": name, "took_ms": took} for name, took in steps.took_ms.items()],
        "tasks": [_task(dag) for dag in dags],
    }


def _task(dag: DagDetailDTO) -> dict[str, Any]:
    return {
        "id": dag.id,
        "name": dag.name,
        "state": dag.state,
        "took_ms": text.elapsed_ms(dag.start_time, dag.end_time),
        "stages": [
            {
                "name": node.name,
                "agents": len(node.sub_tasks or []),
                "took_ms": text.elapsed_ms(node.start_time, node.end_time),
            }
            for node in dag.nodes or []
        ],
    }


def _summarise(dags: list[DagDetailDTO]) -> None:
    rows = []
    for dag in dags:
        took = text.duration(text.elapsed_ms(dag.start_time, dag.end_time))
        rows.append([dag.name, f"all {dag.max_stage} stages", "", took])
        for node in dag.nodes or []:
            took = text.duration(text.elapsed_ms(node.start_time, node.end_time))
            rows.append(["", node.name, str(len(node.sub_tasks or [])), took])
    output.say()
    output.print_table(["TASK", "STAGE", "AGENTS", "TIME"], rows)
