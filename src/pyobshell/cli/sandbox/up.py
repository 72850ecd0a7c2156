"""Brings a sandbox up: agents first, which then make a cluster of themselves through their API."""

from __future__ import annotations

import asyncio
import secrets
import string
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pyobshell.cli import agents, interrupts, text
from pyobshell.cli.outcome import CommandError, Exit
from pyobshell.cli.sandbox import down, ports
from pyobshell.cli.sandbox.record import Node, Sandbox, missing_directories, occupied
from pyobshell.cli.steps import Steps
from pyobshell.cli.tls import generate
from pyobshell.client import Client
from pyobshell.deadline import Deadline
from pyobshell.engines import small_options
from pyobshell.settings import Paths
from pyobshell.wire import DagDetailDTO

_IP = "127.0.0.1"
_STARTING_S = 60.0
_PASSWORD_LENGTH = 16
_PORTS_OF_A_NODE = 3


@dataclass(frozen=True)
class Plan:
    """What is asked for."""

    directory: Path
    nodes: int
    zones: int
    name: str
    engine: str
    observer: Path | None
    options: dict[str, str] = field(default_factory=dict)
    tls: bool = False


async def up(plan: Plan, steps: Steps) -> Sandbox:
    """Bring a sandbox up; if that fails or is cut off, everything made for it is removed."""
    directory = plan.directory.expanduser().resolve()
    _require_empty(directory)
    taken = {port for one in Sandbox.known() for port in one.ports}
    with (
        interrupts.ending_in_order(),
        ports.hold(_PORTS_OF_A_NODE * plan.nodes, taken) as held,
    ):
        sandbox = _draw(plan, directory, held)
        sandbox.claim()
        try:
            await _start_agents(sandbox, steps, _certified(sandbox) if plan.tls else {})
            await _make_cluster(sandbox, small_options(plan.engine) | plan.options, steps)
            sandbox.note_what_is_beside()
        except BaseException:
            await interrupts.undisturbed(give_up(sandbox, steps))
            raise
    return sandbox


def _require_empty(directory: Path) -> None:
    if not directory.exists():
        return
    if not directory.is_dir():
        raise CommandError(Exit.USAGE, f"{directory} is not a directory")
    if any(directory.iterdir()):
        raise occupied(directory)


async def give_up(sandbox: Sandbox, steps: Steps) -> None:
    """Remove the sandbox, and only then tell it: nobody may be there to be told."""
    outcome = "what was made is removed"
    try:
        await down.remove(sandbox)
    except (CommandError, OSError) as error:
        again = f"obshell sandbox down --base-dir {sandbox.directory}"
        outcome = f"not all could be removed: {error}; try again: {again}"
    with suppress(OSError):
        steps.say(f"✗ {steps.current} did not succeed; {outcome}")


def _draw(plan: Plan, directory: Path, held: list[int]) -> Sandbox:
    """The sandbox to be: nodes in turn over the zones, each with ports of its own."""
    nodes = []
    for number in range(plan.nodes):
        port, sql_port, rpc_port = held[number * _PORTS_OF_A_NODE :][:_PORTS_OF_A_NODE]
        node = Node(
            ip=_IP,
            port=port,
            zone=f"zone{number % plan.zones + 1}",
            sql_port=sql_port,
            rpc_port=rpc_port,
            base_dir=directory / f"node{number + 1}",
        )
        nodes.append(node)
    letters = string.ascii_letters + string.digits
    return Sandbox(
        name=plan.name,
        directory=directory,
        made=missing_directories(directory),
        engine=plan.engine,
        observer=plan.observer,
        root_password="".join(secrets.choice(letters) for _ in range(_PASSWORD_LENGTH)),
        nodes=nodes,
        beside=None,
    )


def _certified(sandbox: Sandbox) -> dict[str, str]:
    """Settings of agents that speak mutual TLS alone; all are on one host, so one is for all."""
    made = generate(sandbox.certificates, [_IP], None)
    files = {
        "tls_cert": made[f"{_IP}.crt"],
        "tls_key": made[f"{_IP}.key"],
        "tls_ca": made["ca.crt"],
    }
    return {name: str(file) for name, file in files.items()} | {"tls": "required"}


async def _start_agents(sandbox: Sandbox, steps: Steps, tls: dict[str, str]) -> None:
    who = text.counted(len(sandbox.nodes), "agent")
    with steps.step(f"starting {who}", f"{who} started"):
        shared = {"engine": sandbox.engine, "observer": sandbox.observer, **tls}
        # Not in a thread, where it could not be cut off: whoever cleans up must find them all.
        launches = agents.launch(
            [
                {"ip": node.ip, "port": node.port, "base_dir": node.base_dir, **shared}
                for node in sandbox.nodes
            ]
        )
        deadline = Deadline.after(_STARTING_S)
        await asyncio.gather(*(asyncio.to_thread(one.wait, deadline) for one in launches))


async def _make_cluster(sandbox: Sandbox, options: dict[str, str], steps: Steps) -> None:
    first, *others = sandbox.nodes
    async with _client(first) as leader:
        with steps.step("joining them", "agents joined and configured"):
            await _ended(leader, await leader.join(first.address, first.zone))
            for node in others:
                async with _client(node) as client:
                    await _ended(client, await client.join(first.address, node.zone))
            dag = await leader.configure_cluster(
                sandbox.name, int(time.time()), sandbox.root_password
            )
            await _ended(leader, dag)
            for node in sandbox.nodes:
                mine = {
                    **options,
                    "mysql_port": str(node.sql_port),
                    "rpc_port": str(node.rpc_port),
                }
                dag = await leader.configure_servers(mine, "SERVER", [str(node.address)])
                await _ended(leader, dag)
        servers = text.counted(len(sandbox.nodes), "server")
        with steps.step(f"making cluster {sandbox.name}", f"{servers} deployed and started"):
            await _ended(leader, await leader.initialize(), steps)


async def _ended(client: Client, dag: DagDetailDTO, steps: Steps | None = None) -> None:
    """See a task to its end; raises ``CommandError`` with the reason if it fails."""
    async for dag in client.follow(dag.id):  # noqa: B020 - the same task, later
        if steps is not None and dag.nodes:
            steps.update(f"{dag.nodes[dag.stage - 1].name} [{dag.stage}/{dag.max_stage}]")
    if dag.state != "SUCCEED":
        reasons = "; ".join(f"{text.agent_of(task)}: {why}" for why, task in text.failures(dag))
        raise CommandError(Exit.FAILED, f"'{dag.name}' failed: {reasons}")


def _client(node: Node) -> Client:
    return Client.local(Paths(node.base_dir).socket)
