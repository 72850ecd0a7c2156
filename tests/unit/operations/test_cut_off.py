"""Agents on hosts whose network drops or delays what they say, or that are paused."""

from __future__ import annotations

import signal
import time

import pytest

from support import networks
from support.crashing import mortals
from support.networks import Network
from support.undertakings import logs_of
from support.waiting import soon

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.long,
    pytest.mark.timeout(180),
    pytest.mark.skipif(not networks.can_be_made(), reason="it needs root, ip and tc"),
]

ALL = {"type": "GLOBAL"}
KNOWN_S = 20.0  # what the settings below allow, and some for a busy machine


@pytest.fixture(scope="module")
def network():
    made = Network(4)
    made.remove()
    made.make()
    yield made
    made.remove()


@pytest.fixture(scope="module")
async def all_agents(anyio_backend, hosts, network):
    limits = {"lost_agent_s": 3, "retry_s": 1, "rpc_timeout_s": 5}
    async with mortals(hosts, 4, network, **limits) as made:
        yield made


@pytest.fixture
async def agents(all_agents):
    """Four agents that reach each other, all of their servers up."""
    dag = await done(all_agents[0], "start", {"scope": ALL})
    assert dag["state"] == "SUCCEED"
    yield all_agents
    for agent in all_agents:
        await soon(agent.let_go())


async def begun(agent, work, body) -> str:
    return (await agent.ask("POST", f"/ob/{work}", body)).data["id"]


async def done(agent, work, body):
    return await agent.ended(await begun(agent, work, body))


def server_of(*agents):
    return {"type": "SERVER", "target": [str(agent.address) for agent in agents]}


def up(agents):
    return [agent.server_runs for agent in agents]


async def tried_again(agent, task_id):
    answer = await agent.ask("POST", f"/task/dag/{task_id}", {"operator": "RETRY"})
    assert answer.status == 200, answer.envelope
    return await agent.ended(task_id)


async def test_a_member_that_is_cut_off_blocks_no_stop_of_others(agents, network):
    with network.cut(3):
        began = time.monotonic()
        dag = await done(agents[0], "stop", {"scope": server_of(*agents[:2]), "force": True})
        assert time.monotonic() - began < KNOWN_S
    assert (dag["state"], up(agents)) == ("SUCCEED", [False, False, True, True])
    (warning,) = [line for line in logs_of(dag["nodes"][1]) if line.startswith("WARNING")]
    assert str(agents[3].address) in warning


@pytest.mark.parametrize("mode", [{"force": True}, {"terminate": True}])
async def test_a_target_that_is_cut_off_fails_alone_and_is_stopped_when_it_is_back(
    agents, network, mode
):
    with network.cut(2):
        began = time.monotonic()
        dag = await done(agents[0], "stop", {"scope": ALL, **mode})
        assert time.monotonic() - began < KNOWN_S
        assert (dag["state"], dag["stage"]) == ("FAILED", dag["max_stage"])
        assert up(agents) == [False, False, True, False]
        last = logs_of(dag["nodes"][-1])[-1]
        assert f"{agents[2].address}: " in last
        assert not any(f"{agents[n].address}: " in last for n in (0, 1, 3))
    dag = await tried_again(agents[1], dag["id"])
    assert (dag["state"], up(agents)) == ("SUCCEED", [False] * 4)


async def test_a_target_that_is_paused_fails_alone_and_is_stopped_when_it_goes_on(agents):
    agents[1].signal(signal.SIGSTOP)
    try:
        dag = await done(agents[0], "stop", {"scope": ALL, "force": True})
        assert (dag["state"], up(agents)) == ("FAILED", [False, True, False, False])
        assert f"{agents[1].address}: " in logs_of(dag["nodes"][-1])[-1]
    finally:
        agents[1].signal(signal.SIGCONT)
    assert (await tried_again(agents[0], dag["id"]))["state"] == "SUCCEED"
    assert up(agents) == [False] * 4


async def test_a_coordinator_that_is_cut_off_in_the_middle_leaves_nobody_locked(agents, network):
    """It stops its own server, and in the end knows what became of the others."""
    agents[1].signal(signal.SIGSTOP)  # so that it is not over before
    try:
        task_id = await begun(agents[0], "stop", {"scope": ALL, "force": True})
        with network.cut(0):
            agents[1].signal(signal.SIGCONT)
            dag = await agents[0].ended(task_id)
            assert dag["state"] == "FAILED"
    finally:
        agents[1].signal(signal.SIGCONT)
    for agent in agents:
        await soon(agent.let_go())
    assert (await tried_again(agents[0], task_id))["state"] == "SUCCEED"
    assert up(agents) == [False] * 4


async def test_what_is_slow_is_not_lost(agents, network):
    with network.delay(1, 300), network.delay(2, 300):
        dag = await done(agents[0], "stop", {"scope": ALL, "terminate": True})
    assert (dag["state"], up(agents)) == ("SUCCEED", [False] * 4)
