"""Tasks of agents, brought to the point a test needs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from pyobshell import errors
from pyobshell.deadline import Deadline
from pyobshell.operations import sub_dag
from pyobshell.operations.stop import stop_observer
from pyobshell.operations.sub_dag import Part
from pyobshell.security.keyring import life_of
from pyobshell.tasks.ids import GenericId
from pyobshell.tasks.model import Dag
from support.agents import Host
from support.waiting import PATIENCE_S

FORCE_ALL = {"scope": {"type": "GLOBAL"}, "force": True}


def a_part(main_dag_id: str = "11") -> Part:
    """A target's part of a stop by force."""
    return Part(main_dag_id=main_dag_id, work="stop", mode="force", works=True, force_pass=[])


async def a_waiting_sub_dag(host: Host, main_dag_id: str = "11") -> Dag:
    """A sub DAG that holds the agent's lock and waits for its coordinator."""
    life = life_of(host.site.key.public_text)
    plan = sub_dag.sub_dag_plan("Stop observer", a_part(main_dag_id), (stop_observer,), life)
    return await host.site.tasks.submit(plan)


async def a_failed_sub_dag(host: Host) -> Dag:
    """A sub DAG whose second stage of three has failed; it holds the agent's lock."""
    host.engine.failures["kill"] = errors.SERVER_PROCESS_CHECK_FAILED(reason="as it should")
    dag = await a_waiting_sub_dag(host)
    await host.site.tasks.signal(dag.id, sub_dag.ADVANCE)
    await host.site.tasks.wait_end(dag.id, Deadline.after(PATIENCE_S))
    host.engine.failures.clear()
    return await host.site.tasks.dag(dag.id)


def id_of(host: Host, number: int) -> str:
    """The generic id of a task, node or sub task of an agent."""
    return str(GenericId(number, host.address))


async def wait_end(host: Host, task_id: str) -> dict[str, Any]:
    """A task as the API shows it once it has ended; asked for through the agent's own socket."""
    while True:
        dag = (await host.local.get(f"/task/dag/{task_id}?hold_ms=20000")).data
        if dag["state"] in ("SUCCEED", "FAILED"):
            return dag


async def at_stage(host: Host, task_id: str, stage: int) -> None:
    """Wait until a task has come to this stage: its parts may be further than itself."""
    seen = 0
    while seen < stage:
        held = await host.local.get(f"/task/dag/{task_id}?hold_ms=20000&seen_stage={seen}")
        seen = held.data["stage"]


def main_dag_of(sub_dag: dict[str, Any]) -> str:
    """The task that a sub DAG names, beside the life of its coordinator and nothing else."""
    assert sub_dag["additional_data"].keys() == {"main_dag_id", "coordinator_life"}
    return str(sub_dag["additional_data"]["main_dag_id"])


def logs_of(node: dict[str, Any]) -> list[str]:
    """What all sub tasks of a node have logged."""
    return [line for task in node["sub_tasks"] for line in task["task_logs"] or []]


def servers(*hosts: Host) -> dict[str, Any]:
    """The scope of some agents' servers."""
    return {"type": "SERVER", "target": [str(host.address) for host in hosts]}


async def stop(host: Host, scope: dict[str, Any], **mode: Any) -> dict[str, Any]:
    """A stop, as the agent that was asked shows it in the end."""
    answer = await host.api.post("/ob/stop", {"scope": scope, **mode})
    return await wait_end(host, answer.data["id"])


@asynccontextmanager
async def a_stop_that_hangs(asked: Host, hanging: Host) -> AsyncIterator[str]:
    """The id of a stop that waits for one server's death, while it does."""
    gate = hanging.engine.hold("kill")
    answer = await asked.api.post("/ob/stop", {"scope": servers(hanging), "force": True})
    await gate.reached()
    try:
        yield answer.data["id"]
    finally:
        gate.open()
        await wait_end(asked, answer.data["id"])


def outline(dag: dict[str, Any]) -> list[tuple[str, str]]:
    """The stages of a task and how they ended."""
    return [(node["name"], node["state"]) for node in dag["nodes"]]


async def locked(hosts: Sequence[Host]) -> list[bool]:
    """Which agents hold their maintenance lock."""
    return [(await host.api.get("/status")).data["underMaintenance"] for host in hosts]


async def states(hosts: Sequence[Host]) -> list[int]:
    """The states of the agents' servers."""
    return [(await host.api.get("/status")).data["obState"] for host in hosts]
