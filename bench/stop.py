"""StopCluster on real servers: from the request to SUCCEED, against what dying alone takes."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import select
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from pyobshell.address import Address
from pyobshell.client import Client
from pyobshell.engines.process import lock_owner
from pyobshell.security.hybrid import seal_request
from pyobshell.security.keys import PublicKey
from pyobshell.wire import DagDetailDTO

# Of one core, for each server; and how many half seconds ten of them may take to get there.
_AT_REST, _LONGEST_SETTLING = 0.06, 240
OBSHELL = [sys.executable, "-m", "pyobshell.cli"]


@dataclass(frozen=True, slots=True)
class Figures:
    """Medians, in milliseconds."""

    agents: int
    post: float
    first_to_last_death: float
    total: float
    dying_alone: float

    @property
    def after_last_death(self) -> float:
        """What is left to do once the slowest process has died."""
        return self.total - self.first_to_last_death

    @property
    def orchestration(self) -> float:
        """What is not the processes' own dying."""
        return self.total - self.dying_alone


def measure(agents: int, rounds: int) -> Figures:
    """Stop and start a sandbox of so many agents some times."""
    with a_sandbox(agents) as sandbox:
        return asyncio.run(_measure(sandbox, rounds))


@contextmanager
def a_sandbox(agents: int) -> Iterator[dict[str, Any]]:
    """A cluster of so many agents, as the command that makes it describes it."""
    with tempfile.TemporaryDirectory(prefix="obshell-bench-") as directory:
        base_dir = str(Path(directory) / "sandbox")
        up = ["sandbox", "up", "--nodes", str(agents), "--zones", str(min(agents, 3))]
        out = subprocess.run(
            [*OBSHELL, *up, "--base-dir", base_dir, "--json"], check=True, stdout=subprocess.PIPE
        ).stdout
        try:
            yield json.loads(out)
        finally:
            down = [*OBSHELL, "sandbox", "down", "--base-dir", base_dir, "--json"]
            subprocess.run(down, check=True, stdout=subprocess.DEVNULL)


async def _measure(sandbox: dict[str, Any], rounds: int) -> Figures:
    first = sandbox["agents"][0]
    homes = [Path(agent["base_dir"]) for agent in sandbox["agents"]]
    address = Address(first["ip"], first["port"])
    password = sandbox["root_password"]
    async with Client(address, password) as client:
        await client.ob_info()  # connections and sessions are there before the clock runs
        door = Door(address, password)
        stops = [await _stop(client, door, homes) for _ in range(rounds)]
        dying = [await _die(client, homes) for _ in range(rounds)]
    post, deaths, total = (statistics.median(column) for column in zip(*stops, strict=True))
    return Figures(len(homes), post, deaths, total, statistics.median(dying))


async def _stop(client: Client, door: Door, homes: list[Path]) -> tuple[float, float, float]:
    await _settle(homes)
    watch = Deaths(homes)
    begun = time.perf_counter()
    dag = door.stop()
    answered = time.perf_counter()
    last_death = asyncio.create_task(asyncio.to_thread(watch.last))
    while dag.state not in ("SUCCEED", "FAILED"):
        dag = await client.dag(dag.id, hold_ms=10_000)
    ended = time.perf_counter()
    if dag.state != "SUCCEED":
        raise SystemExit(f"the stop failed: {dag}")
    died = await last_death
    await start(client)
    return (answered - begun) * 1000, (died - begun) * 1000, (ended - begun) * 1000


async def _die(client: Client, homes: list[Path]) -> float:
    """The physical limit: kill the servers with no agent in between, and see the last one end.

    The agents bring them up again by themselves; a start waits until they have.
    """
    await _settle(homes)
    watch = Deaths(homes)
    begun = time.perf_counter()
    for pidfd in watch.pidfds:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    died = await asyncio.to_thread(watch.last)
    await start(client)
    return (died - begun) * 1000


async def _settle(homes: list[Path]) -> None:
    """Wait until the servers have come to rest: for seconds after a start they use every core."""
    servers = [psutil.Process(pid) for pid in _pids(homes)]
    used, interval_s = _cpu_s(servers), 0.5
    for _ in range(_LONGEST_SETTLING):
        await asyncio.sleep(interval_s)  # the clock is meant: it is use over time that counts
        before, used = used, _cpu_s(servers)
        if used - before < _AT_REST * interval_s * len(servers):
            return
    raise SystemExit("the servers do not come to rest")


def _cpu_s(processes: list[psutil.Process]) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def _pids(homes: list[Path]) -> list[int]:
    pids = [lock_owner(home / "run" / "seekdb.pid") for home in homes]
    return [pid for pid in pids if pid is not None]


async def start(client: Client) -> None:
    """Start all servers, and see that they are up."""
    dag = await client.start("GLOBAL", [])
    *_, last = [seen async for seen in client.follow(dag.id)]
    if last.state != "SUCCEED":
        raise SystemExit(f"the start failed: {last}")


class Door:
    """Asks for the stop over a plain connection, so that no client's own cost is in the figure."""

    def __init__(self, address: Address, password: str) -> None:
        self._password = password
        self._connection = http.client.HTTPConnection(address.ip, address.port)
        self._connection.request("GET", "/api/v1/secret")
        secret = json.loads(self._connection.getresponse().read())["data"]
        self._connection.close()
        self._key = PublicKey.from_text(secret["public_key"])

    def stop(self) -> DagDetailDTO:
        """Stop all servers by force, with the request encrypted as every client does."""
        target, body = "/api/v1/ob/stop", b'{"scope": {"type": "GLOBAL"}, "force": true}'
        sealed = seal_request(
            self._key, password=self._password, uri=target, body=body, now=time.time()
        )
        self._connection.request("POST", target, sealed.body, {"X-OCS-Header": sealed.header_value})
        answer = json.loads(self._connection.getresponse().read())
        self._connection.close()  # idle ones are closed by the agent; the next stop opens it anew
        return DagDetailDTO.model_validate(answer["data"])


class Deaths:
    """Watches the server processes of some homes."""

    def __init__(self, homes: list[Path]) -> None:
        self.pidfds = [os.pidfd_open(pid) for pid in _pids(homes)]

    def last(self) -> float:
        """Wait until all have ended; returns when the last one did (perf_counter)."""
        for pidfd in self.pidfds:
            select.select([pidfd], [], [])
            os.close(pidfd)
        return time.perf_counter()
