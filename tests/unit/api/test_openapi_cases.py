"""Requests made up from the OpenAPI document: none crashes an agent, whatever it is."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import cycle, product

import pytest

from pyobshell.address import Address
from pyobshell.cluster.model import Identity
from pyobshell.engines.ob_parameters import ParameterRow
from pyobshell.security.verify import Passwords
from support.agents import ROOT_PASSWORD, Host
from support.fake_cluster import FakeCluster
from support.hosting import starting, starting_members
from support.openapi_cases import OPERATIONS, Cases, Made, check_answer
from support.undertakings import a_failed_sub_dag, id_of

pytestmark = pytest.mark.anyio
FEW, MANY = 2, 30
DOORS = LOCAL, SEALED, STRANGER = "local socket", "sealed", "stranger"


class OneParameter:
    """The parameters of a fake cluster: there is one."""

    async def rows(self, deadline):
        about = ("DYNAMIC_EFFECTIVE", "1", "OBSERVER", "INT", "of a server")
        place = ("10.0.0.1", 2882, "zone1", None, None, "4")
        return [ParameterRow("cpu_count", "CLUSTER", *about, *place)]

    async def tenants(self, deadline):
        return ["sys"]

    async def set(self, setting, deadline):
        return None


@dataclass
class Asked:
    """Agents of every kind, and ways to ask them."""

    hosts: dict[str, Host]

    async def check(self, made: Made, names: Iterable[str], doors: Iterable[str]) -> None:
        """Ask agents as their own user, as somebody who knows the password, and as a stranger."""
        plain = (made.method, made.target, made.body, made.headers)
        path = made.target.removeprefix("/api/v1")
        for name, door in product(names, doors):
            host = self.hosts[name]
            if door == SEALED:
                answer = await host.api.ask(made.method, path, made.body, headers=made.headers)
            else:
                answer = await (host.local if door == LOCAL else host.api).plain(*plain)
            try:
                check_answer(made, answer)
            except (AssertionError, ValueError) as error:
                raise AssertionError(f"{name}, {door}: {made}: {error}") from error


@pytest.fixture(scope="module")
async def asked(anyio_backend, hosts, keys):
    """An agent alone, members of clusters with a fake server and a failed task, a master and its
    follower, which hands all on.
    """
    async with contextlib.AsyncExitStack() as stack:
        start = starting(hosts, stack)
        start_member = starting_members(start, keys)
        found = {"single": await start(), "member": await start_member(zones=("zone1",))}
        await a_failed_sub_dag(found["member"])
        found["observer"] = await start_member(zones=("zone1",))
        place = Address(found["observer"].address.ip, 2882)
        cluster = found["observer"].engine.cluster = FakeCluster([(place, "zone1")])
        cluster.parameters = OneParameter()
        pair = hosts.serving(2, [Identity.MASTER, Identity.FOLLOWER], Passwords(root=ROOT_PASSWORD))
        found["master"], found["follower"] = await stack.enter_async_context(pair)
        for name in ("master", "follower"):
            found[name].api.password = ROOT_PASSWORD
        yield Asked(found)


@pytest.fixture(scope="module")
def cases(asked):
    hosts = asked.hosts.values()
    ids = [id_of(host, number) for host in hosts for number in (1, 2)]
    return Cases(
        {
            "ip": [host.address.ip for host in hosts],
            "port": [host.address.port for host in hosts],
            "id": ids,
            "dag": ids,
            "zone": ["zone1"],
            "zoneName": ["zone1"],
            "type": ["GLOBAL", "ZONE", "SERVER"],
            "target": [["zone1"], *([str(host.address)] for host in hosts)],
            "force": [True],
            "operator": ["RETRY", "PASS", "CANCEL", "ROLLBACK"],
            "clusterId": [1],
            "name": ["cpu_count"],
            "since": ["1h"],
        },
        {"rootPwd": ROOT_PASSWORD, "hold_ms": 0},
    )


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_no_request_crashes_an_agent_or_is_answered_otherwise_than_described(
    asked, cases, operation
):
    turns = zip(cycle(asked.hosts), cycle([SEALED, STRANGER]), strict=False)
    for made in cases.draw(operation, FEW):
        await asked.check(made, asked.hosts, [LOCAL])
        name, door = next(turns)
        await asked.check(made, [name], [door])


@pytest.mark.long
@pytest.mark.parametrize("operation", OPERATIONS)
async def test_neither_do_many(asked, cases, operation):
    for made in cases.draw(operation, MANY, start=int(os.environ.get("SEED", "1"))):
        await asked.check(made, asked.hosts, DOORS)
