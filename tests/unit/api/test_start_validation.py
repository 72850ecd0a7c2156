"""What a start is refused for, in OBShell's order; nothing is recorded then. And what is taken."""

from __future__ import annotations

import json

import pytest

from pyobshell.address import Address
from pyobshell.cluster.model import Identity
from support.asking import check_envelope

pytestmark = pytest.mark.anyio

GLOBAL = {"scope": {"type": "GLOBAL"}}


async def refusal(host, body):
    answer = await host.local.post("/ob/start", body)
    check_envelope(answer)
    assert await host.site.tasks.dags() == []
    return answer.refusal


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"scope": []}, "Common.BindJsonFailed"),
        ({**GLOBAL, "forcePassDag": "11"}, "Common.BindJsonFailed"),
        ({}, "OB.Cluster.Scope.Invalid"),
        ({"scope": {"type": "EVERYTHING"}}, "OB.Cluster.Scope.Invalid"),
        ({"scope": {"type": "ZONE"}}, "Common.IllegalArgument"),
        ({"scope": {"type": "SERVER", "target": []}}, "Common.IllegalArgument"),
        ({"scope": {"type": "ZONE", "target": ["zone9"]}}, "OB.Zone.NotExist"),
        ({"scope": {"type": "SERVER", "target": ["x:2886"]}}, "Common.InvalidIp"),
        ({"scope": {"type": "SERVER", "target": ["10.0.0.9:1"]}}, "Common.InvalidPort"),
        ({"scope": {"type": "SERVER", "target": ["10.0.0.9:2886"]}}, "Agent.NotExist"),
    ],
    ids=str,
)
async def test_shape_and_scope_count_before_whether_there_is_a_server(start_member, body, code):
    host = await start_member(running=False)
    assert await refusal(host, body) == (code, 400)


async def test_a_member_whose_server_has_lost_its_files_is_none_that_never_had_one(start_member):
    host = await start_member(running=False)
    answer = await host.local.post("/ob/start", GLOBAL)  # its task says what is missing
    assert (answer.status, answer.data["name"]) == (200, "Start OB")


@pytest.mark.parametrize("identity", [one for one in Identity if one is not Identity.CLUSTER_AGENT])
async def test_whether_there_is_a_server_counts_before_what_the_agent_is(start_member, identity):
    host = await start_member(identity)
    assert await refusal(host, GLOBAL) == ("OB.Cluster.NotInitialized", 400)
    host.engine.initialized = True
    assert await refusal(host, GLOBAL) == ("Agent.Identify.NotSupportOperation", 400)


@pytest.mark.parametrize(
    ("scope", "stages", "targets"),
    [
        ({"type": "GLOBAL"}, 6, [0, 1, 2]),
        ({"type": "global", "target": ["zone9"]}, 6, [0, 1, 2]),
        ({"type": "ZONE", "target": ["zone2"]}, 6, [1, 2]),
        ({"type": "Server", "target": [2, 0, 2]}, 5, [2, 0]),
    ],
    ids=str,
)
async def test_a_start_is_taken(member, scope, stages, targets):
    known = member.site.cluster.view.addresses
    names = [str(known[one]) if isinstance(one, int) else one for one in scope.get("target", [])]
    answer = await member.api.post("/ob/start", {"scope": {**scope, "target": names}})
    check_envelope(answer)
    dag = answer.data
    assert (dag["name"], dag["state"], dag["operator"]) == ("Start OB", "READY", "RUN")
    assert (dag["stage"], dag["max_stage"], dag["maintenance_type"]) == (1, stages, 1)
    assert (dag["nodes"], dag["additional_data"]) == (None, None)
    (recorded, *_) = await member.site.tasks.dags()
    found = [Address(*one) for one in json.loads(recorded.params)["targets"]]
    assert found == [known[n] for n in targets]


async def test_a_start_does_not_ask_whether_the_server_here_serves(start_member):
    host = await start_member(zones=("zone1",), running=False)
    host.engine.initialized = True
    assert (await host.api.post("/ob/start", GLOBAL)).status == 200
