"""The maintainer goes, or is lost, and another one goes on."""

from __future__ import annotations

import time

import pytest

from pyobshell.tasks.model import State
from support.scripted import S1, S2, SCRIPT, Seen
from support.sharing import maintainer_of, others
from support.staging import GLOBAL_LOCK, only, plan
from support.waiting import Gate

pytestmark = pytest.mark.anyio


async def test_when_the_maintainer_goes_down_another_one_goes_on_at_once(start_cluster):
    seen = Seen()
    SCRIPT["s2"] = seen
    agents = await start_cluster(lease_s=30, lease_renewal_s=5)
    maintainer = await maintainer_of(agents)
    rest = others(agents, maintainer)
    gate = seen.gates[str(maintainer.address)] = Gate()
    dag = await rest[0].submit(plan(S1, S2, lock=GLOBAL_LOCK))
    await gate.reached()
    begun = time.perf_counter()
    await maintainer.stop()
    successor = await maintainer_of(rest)
    print(f"hand-over, with the end of the agent: {time.perf_counter() - begun:.3f} s")
    dag = await rest[1].ended(dag.id)
    assert dag.state is State.SUCCEED
    assert seen.runs == [(str(maintainer.address), False), (str(successor.address), True)]
    assert (only(dag, 1).agent, only(dag, 2).agent) == (maintainer.address, successor.address)
    assert only(dag, 2).execute_times == 1


async def test_a_maintainer_without_its_database_is_one_no_longer(start_cluster):
    seen = Seen()
    SCRIPT["s1"] = seen
    agents = await start_cluster()
    maintainer = await maintainer_of(agents)
    rest = others(agents, maintainer)
    gate = seen.gates[str(maintainer.address)] = Gate()
    dag = await rest[0].submit(plan(S1, lock=GLOBAL_LOCK))
    await gate.reached()
    begun = time.perf_counter()
    maintainer.line.cut()
    await gate.given_up()
    print(f"let go after {time.perf_counter() - begun:.3f} s")
    successor = await maintainer_of(rest)
    print(f"hand-over after a loss: {time.perf_counter() - begun:.3f} s")
    dag = await rest[0].ended(dag.id)
    assert (dag.state, only(dag, 1).agent) == (State.SUCCEED, successor.address)
    maintainer.line.mend()
    await successor.stop()
    survivors = others(agents, successor)
    survivor = await maintainer_of(survivors)
    assert survivor in survivors
