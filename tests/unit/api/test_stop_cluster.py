"""StopCluster as the documentation shows it."""

from __future__ import annotations

import pytest

from pyobshell.tasks.ids import GenericId

pytestmark = pytest.mark.anyio


async def test_the_answer_to_a_stop_is_that_of_the_documentation(member):
    answer = await member.api.post("/ob/stop", {"scope": {"type": "GLOBAL"}, "force": True})
    dag = answer.data
    assert {name: dag[name] for name in dag if not name.endswith("_time")} == {
        "id": str(GenericId(dag["dag_id"], member.address)),
        "dag_id": 1,
        "name": "Stop OB",
        "stage": 1,
        "max_stage": 5,
        "maintenance_type": 1,
        "maintenance_key": "",
        "state": "READY",
        "operator": "RUN",
        "additional_data": None,
        "nodes": None,
    }
