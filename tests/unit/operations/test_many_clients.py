"""Fifty clients stop, start, operate and ask at once, each at another agent."""

from __future__ import annotations

import asyncio
import random

import pytest

from pyobshell.operations.line import rank
from support.agents import ROOT_PASSWORD, transport
from support.asking import Api, check_envelope
from support.crashing import mortals
from support.undertakings import servers
from support.waiting import soon

pytestmark = pytest.mark.anyio

PATIENCE_S = 60.0
CLIENTS, REQUESTS = 50, 3
ALL = {"type": "GLOBAL"}
MODES = ({"force": True}, {"terminate": True}, {})
# What a request may be answered with beside success: that it is not the moment, or makes no sense.
CLIENT_ERRORS = range(400, 410)
LOCKED = {
    "Agent.UnderMaintenance",
    "Agent.UnderMaintenanceDag",
    "OB.Cluster.UnderMaintenanceWithDag",
}


class Client:
    """Asks for this and that, and remembers what it began."""

    def __init__(self, number, hosts) -> None:
        self.draw = random.Random(number)
        self.hosts = hosts
        self.begun: list[str] = []
        self.answers = []

    async def work(self) -> None:
        host = self.draw.choice(self.hosts)
        api = Api(transport(), host.address, trusted=False)
        api.password = ROOT_PASSWORD
        api.http.timeout = PATIENCE_S
        for _ in range(REQUESTS):
            answer = await self.draw.choice((self.stop, self.start, self.operate, self.ask))(api)
            check_envelope(answer)
            self.answers.append(answer)
        await api.close()

    async def stop(self, api):
        scope = self.draw.choice((ALL, servers(self.draw.choice(self.hosts))))
        body = {"scope": scope, **self.draw.choice(MODES)}
        return self.noted(await api.post("/ob/stop", body))

    async def start(self, api):
        return self.noted(await api.post("/ob/start", {"scope": ALL}))

    async def operate(self, api):
        if not self.begun:
            return await self.ask(api)
        operator = self.draw.choice(("RETRY", "PASS", "CANCEL", "ROLLBACK"))
        return await api.post(f"/task/dag/{self.draw.choice(self.begun)}", {"operator": operator})

    async def ask(self, api):
        paths = ["/task/dag/unfinish", "/status", "/ob/info", "/task/dag/maintain/agents"]
        paths += [f"/task/dag/{task_id}" for task_id in self.begun]
        return await api.get(self.draw.choice(paths))

    def noted(self, answer):
        if answer.status == 200:
            self.begun.append(answer.data["id"])
        return answer


@pytest.fixture
async def agents(anyio_backend, hosts):
    async with mortals(hosts, 3, rpc_timeout_s=PATIENCE_S, lost_agent_s=PATIENCE_S) as made:
        yield made


@pytest.mark.timeout(120)
async def test_each_answer_is_right_and_in_the_end_nothing_is_left(agents):
    clients = [Client(number, agents) for number in range(CLIENTS)]
    await asyncio.gather(*(client.work() for client in clients))
    answers = [answer for client in clients for answer in client.answers]
    assert len(answers) == CLIENTS * REQUESTS
    for answer in answers:
        assert (
            answer.status == 200 or answer.status in CLIENT_ERRORS or answer.refusal[0] in LOCKED
        ), answer.envelope

    begun = [task_id for client in clients for task_id in client.begun]
    assert len(set(begun)) == len(begun)
    dags = [await agents[0].ended(task_id) for task_id in begun]
    first = min(begun, key=rank)
    won = [dag for dag in dags if (dag["state"], dag["operator"]) == ("SUCCEED", "RUN")]
    cancelled = [dag for dag in dags if dag["operator"] == "CANCEL"]
    # Whoever comes first gets all locks, unless one has them already; either can be cancelled.
    assert won or any(dag["id"] == first or dag["stage"] > 2 for dag in cancelled)
    for agent in agents:
        await soon(agent.let_go())
    assert (await agents[0].ask("GET", "/task/dag/unfinish")).contents == []

    answer = await agents[1].ask("POST", "/ob/start", {"scope": ALL})
    assert (await agents[2].ended(answer.data["id"]))["state"] == "SUCCEED"
    assert all(agent.server_runs for agent in agents)
