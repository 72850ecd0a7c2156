"""A start brings back what is down, and is done only when the servers serve."""

from __future__ import annotations

import pytest

from pyobshell import errors
from pyobshell.engines.base import ObState
from pyobshell.security.verify import Passwords
from support.agents import ROOT_PASSWORD
from support.fake_cluster import form_cluster
from support.undertakings import locked, logs_of, outline, servers, states, stop, wait_end

pytestmark = pytest.mark.anyio


@pytest.fixture
async def cluster(anyio_backend, hosts):
    """Three members of a running cluster, one in each zone, that reach each other."""
    async with hosts.serving(3, passwords=Passwords(root=ROOT_PASSWORD)) as made:
        for host in made:
            host.api.password = ROOT_PASSWORD
        yield made


async def start(host, scope):
    """A start, as the agent that was asked shows it in the end."""
    answer = await host.api.post("/ob/start", {"scope": scope})
    return await wait_end(host, answer.data["id"])


async def test_a_start_brings_servers_back_and_leaves_alone_those_that_run(cluster):
    await stop(cluster[0], {"type": "ZONE", "target": ["zone2", "zone3"]}, force=True)
    for host in cluster:
        host.engine.deeds.clear()
    dag = await start(cluster[1], {"type": "GLOBAL"})
    assert (dag["name"], dag["state"], dag["max_stage"]) == ("Start OB", "SUCCEED", 6)
    assert outline(dag) == [
        ("Inform all agents to start observer", "SUCCEED"),
        ("Make sure all agents are ready", "SUCCEED"),
        ("Advance agents to execute the task", "SUCCEED"),
        ("Wait for all agents to execute tasks successfully", "SUCCEED"),
        ("Start Zone", "SUCCEED"),
        ("Inform all agents to end the task", "SUCCEED"),
    ]
    assert await states(cluster) == [3, 3, 3]
    assert cluster[1].engine.deeds == cluster[2].engine.deeds == ["check_start", "start"]
    assert "check_start" not in cluster[0].engine.deeds
    assert await locked(cluster) == [False] * 3


async def test_a_server_that_does_not_start_fails_alone_and_is_named(cluster):
    await stop(cluster[0], {"type": "GLOBAL"}, force=True)
    cluster[1].engine.failures["start"] = errors.SERVER_UNAVAILABLE(reason="no memory")
    dag = await start(cluster[0], {"type": "GLOBAL"})
    assert (dag["state"], dag["stage"]) == ("FAILED", 6)
    assert await states(cluster) == [3, 0, 3]
    assert f"{cluster[1].address}: " in logs_of(dag["nodes"][5])[-1]
    assert "no memory" in logs_of(dag["nodes"][5])[-1]
    assert await locked(cluster) == [False] * 3


async def test_a_server_that_could_not_start_is_said_so_before_it_is_tried(cluster):
    await stop(cluster[0], servers(cluster[1]), force=True)
    cluster[1].engine.failures["check_start"] = errors.INVALID_PORT(text="2881")
    dag = await start(cluster[0], servers(cluster[1]))
    assert (dag["state"], dag["stage"]) == ("FAILED", 5)
    assert "start" not in cluster[1].engine.deeds


async def test_a_start_of_zones_asks_those_that_ran_already_as_well(cluster):
    cluster[2].engine.set_state(ObState.PROCESS_RUNNING)
    dag = await start(cluster[0], {"type": "ZONE", "target": ["zone1"]})
    assert (dag["state"], dag["max_stage"]) == ("SUCCEED", 6)
    assert logs_of(dag["nodes"][4]) == ["1 of 1 servers serve"]


async def test_a_server_that_is_to_go_is_started_like_the_others(cluster):
    """A cluster that was down in the middle of a deletion may need all its servers to come up."""
    ob = form_cluster(cluster, ("zone1", "zone2", "zone3"))
    ob.deleting.add(ob.places[1][0])
    cluster[1].engine.set_state(ObState.PROCESS_NOT_RUNNING)
    dag = await start(cluster[0], {"type": "GLOBAL"})
    assert dag["state"] == "SUCCEED"
    assert await states(cluster) == [3, 3, 3]


async def test_an_agent_whose_own_server_does_not_tell_has_another_one_asked(cluster):
    ob = form_cluster(cluster, ("zone1", "zone2", "zone3"))
    silent = form_cluster(cluster[:1], ("zone1",))
    silent.start_zone = ob.start_zone
    silent.failures["views"] = errors.SERVER_UNAVAILABLE(reason="it gives no answer to SQL")
    dag = await start(cluster[0], {"type": "ZONE", "target": ["zone2"]})
    assert dag["state"] == "SUCCEED"
    assert logs_of(dag["nodes"][4])[-1].endswith("serve, and are in sync")
