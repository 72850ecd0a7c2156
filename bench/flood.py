"""A flood of strangers' requests: how long status and a stop of the rightful user take then."""

from __future__ import annotations

import asyncio
import base64
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil

from bench.stop import a_sandbox, start
from pyobshell.address import Address
from pyobshell.client import Client

REQUESTS = 10_000
CONNECTIONS = (100, 900)
_SECTION_BYTES = 256
_PAUSE_S = 0.02


@dataclass(frozen=True, slots=True)
class Kind:
    """Of a flood; ``sections`` are what its headers have to be decrypted in."""

    name: str
    sections: int
    keeps_connections: bool = True


KINDS = (
    Kind("of usual size", 3),
    Kind("as long as may be", 47),
    Kind("a connection each", 3, keeps_connections=False),
)


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one flood; ``status`` is the longest of some hundred questions, ``usual`` is longer than
    95 % of them. Times in milliseconds, as a process sees them that does nothing else.
    """

    kind: str
    connections: int
    per_second: float
    status: float
    usual: float
    stop: float
    grown_mib: float


def measure() -> list[Figures]:
    """Floods of headers that nobody can open."""
    with a_sandbox(1) as sandbox:
        return [
            asyncio.run(_measure(sandbox, kind, connections))
            for kind in KINDS
            for connections in CONNECTIONS
        ]


async def _measure(sandbox: dict[str, Any], kind: Kind, connections: int) -> Figures:
    (agent,) = sandbox["agents"]
    address = Address(agent["ip"], agent["port"])
    process = psutil.Process(int((Path(agent["base_dir"]) / "run/obshell.pid").read_text()))
    before = process.memory_info().rss
    asker = _spawn(_ask_in_a_process, address)
    flooder = _spawn(_flood_in_a_process, address, kind, connections)
    async with Client(address, sandbox["root_password"]) as client:
        for one in (asker, flooder):
            await asyncio.to_thread(one.recv)  # it is ready
            one.send("begin")
        await asyncio.to_thread(flooder.recv)  # it is in full flow
        stop = await _stop(client)
        took = await asyncio.to_thread(flooder.recv)
        grown = process.memory_info().rss - before
        asker.send("end")
        taken = await asyncio.to_thread(asker.recv)
        await start(client)
    usual = sorted(taken)[int(len(taken) * 0.95)]
    return Figures(
        kind.name, connections, REQUESTS / took, max(taken), usual, stop * 1000, grown / (1 << 20)
    )


async def _stop(client: Client) -> float:
    begun = time.perf_counter()
    dag = await client.stop("GLOBAL", [], force=True)
    while dag.state not in ("SUCCEED", "FAILED"):
        dag = await client.dag(dag.id, hold_ms=10_000)
    if dag.state != "SUCCEED":
        raise SystemExit(f"the stop failed: {dag}")
    return time.perf_counter() - begun


def _spawn(work: Callable[..., None], *arguments: object) -> Connection:
    """A process that does it, which says when it is ready and waits to be told to begin."""
    spawned = get_context("spawn")
    ours, theirs = spawned.Pipe()
    spawned.Process(target=work, args=(theirs, *arguments), daemon=True).start()
    return ours


def _ask_in_a_process(parent: Connection, address: Address) -> None:
    """Ask for the status again and again; tells how long each took, in milliseconds."""
    _status(address)
    parent.send("ready")
    parent.recv()
    taken: list[float] = []
    while not parent.poll(_PAUSE_S):
        taken.append(_status(address) * 1000)
    parent.send(taken)


def _status(address: Address) -> float:
    """On a connection of its own, and with no more of a client than it needs."""
    begun = time.perf_counter()
    with socket.create_connection((address.ip, address.port)) as connection:
        connection.sendall(b"GET /api/v1/status HTTP/1.1\r\nconnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(1 << 16), b""))
    if b" 200 " not in answer.partition(b"\r\n")[0]:
        raise SystemExit(f"no status: {answer!r}")
    return time.perf_counter() - begun


def _flood_in_a_process(parent: Connection, address: Address, kind: Kind, connections: int) -> None:
    asyncio.run(_flood(parent, address, kind, connections))


async def _flood(parent: Connection, address: Address, kind: Kind, connections: int) -> None:
    left, answered = REQUESTS, 0

    async def ask() -> None:
        nonlocal left, answered
        reader, writer = await asyncio.open_connection(address.ip, address.port)
        while left > 0:
            left -= 1
            header = base64.b64encode(os.urandom(kind.sections * _SECTION_BYTES))
            writer.write(b"POST /api/v1/ob/stop HTTP/1.1\r\nx-ocs-header: %s\r\n\r\n" % header)
            is_open = await _answered(reader)
            answered += 1
            if answered == connections:
                parent.send("in full flow")
            if not (is_open and kind.keeps_connections):
                writer.close()
                reader, writer = await asyncio.open_connection(address.ip, address.port)
        writer.close()

    parent.send("ready")
    parent.recv()
    begun = time.perf_counter()
    await asyncio.gather(*(ask() for _ in range(connections)))
    parent.send(time.perf_counter() - begun)


async def _answered(reader: asyncio.StreamReader) -> bool:
    """Read an answer; whether there was one, for of too many connections some are ended."""
    try:
        answer = await reader.readuntil(b"\r\n\r\n")
        length = answer.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        await reader.readexactly(int(length))
    except (asyncio.IncompleteReadError, ConnectionError):
        return False
    return True
