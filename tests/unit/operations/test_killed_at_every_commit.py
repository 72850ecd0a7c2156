"""Agents are killed at every commit of a stop and a start: it goes on by itself, and nothing stays.

What is done and recorded between two commits is lost with neither: so these are all the instants.
"""

from __future__ import annotations

import asyncio
from itertools import count

import httpx
import pytest

from support.crashing import Mortal, mortals
from support.undertakings import logs_of
from support.waiting import soon

pytestmark = pytest.mark.anyio

ZONE = {"type": "ZONE", "target": ["zone2"]}
ALL = {"type": "GLOBAL"}
ORDERS = {
    "force": ("stop", {"scope": ALL, "force": True}),
    "terminate": ("stop", {"scope": ALL, "terminate": True}),
    "gently": ("stop", {"scope": ZONE}),
    "start": ("start", {"scope": ALL}),
}
VICTIMS = {"the coordinator": [0], "a member": [1], "all": [0, 1, 2]}


@pytest.fixture(scope="module")
async def agents(anyio_backend, hosts):
    async with mortals(hosts, 3, lost_agent_s=30, retry_s=15, rpc_timeout_s=30) as made:
        yield made


async def carry_out(agents, order: str) -> None:
    """Have something done of which nothing goes wrong."""
    work, body = ORDERS[order]
    answer = await agents[2].ask("POST", f"/ob/{work}", body)
    dag = await agents[2].ended(answer.data["id"])
    assert dag["state"] == "SUCCEED", dag


async def tasks_of(agent: Mortal) -> list[str]:
    """The ids of the main tasks that an agent ever had, in order."""
    dags = (await agent.ask("GET", "/task/dags/agent?show_details=false")).contents
    return [dag["id"] for dag in dags if dag["name"] in ("Stop OB", "Start OB")]


async def survives(agents, order: str, victims: list[int], when: str, commit: int) -> bool:
    """Whether the first victim was killed; then the others are too, and all come back."""
    await carry_out(agents, "force" if order == "start" else "start")
    asked, first = agents[0], agents[victims[0]]
    before = await tasks_of(asked)
    work, body = ORDERS[order]
    first.shall_die(when, commit)
    asking = asyncio.create_task(asked.api.ask("POST", f"/ob/{work}", body))
    dying = asyncio.create_task(first.dead())

    async def seen_through() -> None:
        answer = await asking
        await asked.ended(answer.data["id"])

    ending = asyncio.create_task(seen_through())
    await soon(asyncio.wait({dying, ending}, return_when=asyncio.FIRST_COMPLETED))
    if not dying.done() and ending.exception() is None:
        first.need_not_die()
        dying.cancel()
        return False
    await soon(dying)
    others = [agents[number] for number in victims[1:]]
    await asyncio.gather(*(one.kill() for one in others))
    await asyncio.gather(*(agents[number].start() for number in victims))
    made = (await tasks_of(asked))[len(before) :]
    await asyncio.gather(ending, return_exceptions=True)
    assert made or isinstance(asking.exception(), httpx.TransportError)
    await came_to_its_end(agents, order, made)
    return True


async def came_to_its_end(agents, order: str, made: list[str]) -> None:
    """What was recorded is done, what was not is not, and nobody is locked or at work."""
    assert len(made) <= 1
    for task_id in made:
        dag = await agents[0].ended(task_id)
        assert dag["state"] == "SUCCEED", "\n".join(
            f"{node['name']} {line}" for node in dag["nodes"] for line in logs_of(node)
        )
    for agent in agents:
        await soon(agent.let_go())
    assert (await agents[0].ask("GET", "/task/dag/unfinish")).contents == []
    was_up = order != "start"
    concerned = [agents[1]] if order == "gently" else agents
    for agent in agents:
        assert agent.server_runs == (was_up != (bool(made) and agent in concerned))


@pytest.mark.parametrize(
    ("order", "victims", "when", "commit"),
    [
        ("force", "all", "before", 9),
        ("terminate", "the coordinator", "after", 3),
        ("gently", "a member", "before", 9),
        ("start", "all", "after", 3),
    ],
)
async def test_whoever_is_killed_at_some_commit_comes_back_and_it_is_done(
    agents, order, victims, when, commit
):
    assert await survives(agents, order, VICTIMS[victims], when, commit)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("victims", VICTIMS)
@pytest.mark.parametrize("order", ORDERS)
async def test_whoever_is_killed_at_any_commit_comes_back_and_it_is_done(
    agents, order, victims, when
):
    for commit in count(1):
        if not await survives(agents, order, VICTIMS[victims], when, commit):
            assert commit > 5
            return
