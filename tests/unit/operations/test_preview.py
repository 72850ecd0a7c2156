"""What a stop would do, told without doing it: nothing is recorded, and every obstacle is named."""

from __future__ import annotations

import pytest

from pyobshell import errors
from pyobshell.engines.base import ObState
from pyobshell.tasks.engine import TaskEngine
from pyobshell.wire import StopPreview
from support.fake_cluster import form_cluster
from support.undertakings import a_stop_that_hangs, servers, stop

pytestmark = pytest.mark.anyio
ZONES = ("zone1", "zone2", "zone3")


@pytest.fixture
async def agents(cluster_of_three):
    """Three agents, one in each zone, whose servers have five sessions each."""
    for host in cluster_of_three:
        host.engine.session_count = 5
    yield cluster_of_three
    for host in cluster_of_three:
        host.engine.start_afresh()


@pytest.fixture
async def ob(agents):
    """The same, their servers forming a cluster."""
    yield form_cluster(agents, ZONES)
    for host in agents:
        del host.engine.cluster


async def _task_ids(host):
    return [dag["id"] for dag in (await host.api.get("/task/dags/agent")).contents]


async def preview(host, scope, *, headers=None, **mode) -> StopPreview:
    """The preview; no task of any kind has been recorded for it, and nothing done."""
    before = await _task_ids(host)
    body = {"scope": scope, "dryRun": True, **mode}
    answer = await host.api.post("/ob/stop", body, headers=headers)
    assert await _task_ids(host) == before
    assert host.engine.deeds == []
    return StopPreview.model_validate(answer.data)


def zone(name):
    return {"type": "zone", "target": [name]}


async def test_where_each_server_is_whole_by_itself(agents):
    agents[1].engine.set_state(ObState.PROCESS_NOT_RUNNING)
    seen = await preview(agents[0], {"type": "GLOBAL"}, terminate=True)
    assert (seen.name, seen.mode, seen.scope) == ("Stop OB", "terminate", "GLOBAL")
    assert [one.agent for one in seen.targets] == [str(host.address) for host in agents]
    assert [(one.status, one.obState, one.sessions) for one in seen.targets] == [
        ("ACTIVE", 3, 5),
        ("INACTIVE", 0, 0),
        ("ACTIVE", 3, 5),
    ]
    assert [one.pid is None for one in seen.targets] == [False, True, False]
    assert [one.stage for one in seen.stages] == [1, 2, 3, 4, 5, 6]
    assert seen.stages[2].name == "Minor freeze before stop server"
    assert (seen.majority, seen.refusals) == ([], [])


async def test_which_tenants_keep_their_majority(ob, agents):
    ob.behind.add(ob.places[2][0])
    seen = await preview(agents[0], zone("zone2"), terminate=True)
    assert [(one.tenant_name, one.kept) for one in seen.majority] == [
        ("META$1002", False),
        ("shop", False),
        ("sys", False),
    ]
    streams = [(one.ls_id, one.kept, one.in_sync) for one in seen.majority[1].log_streams]
    assert streams == [(1, False, 1), (1001, False, 1)]
    assert [one.errCode for one in seen.refusals] == ["OB.Cluster.Tenant.Replica.Invalid"]

    seen = await preview(agents[0], zone("zone3"), terminate=True)
    assert [one.kept for one in seen.majority] == [True] * 3
    assert seen.refusals == []


async def test_a_stop_in_sql_cuts_no_session(ob, agents):
    seen = await preview(agents[0], zone("zone2"))
    assert [one.sessions for one in seen.targets] == [0]
    assert [one.name for one in seen.stages][4] == "Execute stop sql"


async def test_every_reason_for_a_refusal_is_told(ob, agents):
    agents[0].engine.set_state(ObState.PROCESS_RUNNING)
    ob.stopped_zones.add("zone3")
    ob.behind.add(ob.places[0][0])
    seen = await preview(agents[0], zone("zone2"))
    assert [one.errCode for one in seen.refusals] == [
        "OB.Cluster.ForceStopRequired",
        "OB.Server.StoppedInMultiZone",
        "OB.Cluster.Tenant.Replica.Invalid",
    ]
    seen = await preview(agents[0], zone("zone2"), headers={"Accept-Language": "zh"})
    assert "多数派" in seen.refusals[-1].message


async def test_what_cannot_be_found_out_is_not_made_up(ob, agents):
    for host in agents:
        host.engine.set_state(ObState.PROCESS_RUNNING)
    seen = await preview(agents[0], servers(agents[1]), terminate=True)
    assert seen.majority is None
    assert [one.errCode for one in seen.refusals] == [
        "OB.Cluster.ForceStopRequired",
        "OB.Server.Unavailable",
    ]


async def test_locks_that_the_task_would_meet_are_told(agents):
    async with a_stop_that_hangs(agents[0], agents[2]) as hanging:
        agents[2].engine.deeds.clear()
        seen = await preview(agents[0], servers(agents[1]), force=True)
        assert [one.errCode for one in seen.obstacles] == ["Agent.UnderMaintenanceDag"] * 3
        assert all(f"name {hanging} in forcePassDag" in one.message for one in seen.obstacles)
        assert seen.refusals == []
        passing = {"forcePassDag": {"id": [hanging]}}
        seen = await preview(agents[0], servers(agents[1]), force=True, **passing)
        assert seen.obstacles == []


async def test_a_target_that_cannot_be_flushed_is_told(ob, agents):
    agents[1].engine.set_state(ObState.PROCESS_RUNNING)
    seen = await preview(agents[0], servers(agents[1]), terminate=True)
    assert (seen.targets[0].obState, seen.targets[0].sessions) == (1, None)
    (obstacle,) = seen.obstacles
    assert obstacle.errCode == "OB.Server.Unavailable"
    assert f"{agents[1].address}: " in obstacle.message
    assert "cannot be flushed" in obstacle.message
    assert (await preview(agents[0], servers(agents[1]), force=True)).obstacles == []


async def test_a_target_that_cannot_be_reached_is_told(start_member):
    member = await start_member()
    lost = member.site.cluster.view.others[0]
    seen = await preview(member, {"type": "SERVER", "target": [str(lost)]}, force=True)
    assert [one.errCode for one in seen.obstacles] == ["Agent.RPC.RequestFailed"]
    assert str(lost) in seen.obstacles[0].message
    own = {"type": "SERVER", "target": [str(member.address)]}
    assert (await preview(member, own, force=True)).obstacles == []


async def test_a_target_that_can_record_nothing_is_told(agents, monkeypatch):
    async def prove_writable(engine):
        if engine._own == agents[1].address:
            raise errors.STORE_UNAVAILABLE(
                base_dir="/b", file="meta.db", cause="no space is left on its disk"
            )

    monkeypatch.setattr(TaskEngine, "prove_writable", prove_writable)
    seen = await preview(agents[0], servers(agents[1]), force=True)
    assert [one.errCode for one in seen.obstacles] == ["Agent.Store.Unavailable"]
    assert "no space is left" in seen.obstacles[0].message
    assert (await preview(agents[0], servers(agents[2]), force=True)).obstacles == []


async def test_without_a_mode_the_whole_cluster_would_be_refused(agents):
    seen = await preview(agents[0], {"type": "GLOBAL"})
    assert [one.errCode for one in seen.refusals] == ["OB.Cluster.ForceStopOrTerminateRequired"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"scope": {"type": "NONE"}}, "OB.Cluster.Scope.Invalid"),
        ({"scope": {"type": "ZONE", "target": ["zone9"]}}, "OB.Zone.NotExist"),
        ({"scope": {"type": "GLOBAL"}, "force": True, "terminate": True}, None),
        ({"scope": {"type": "GLOBAL"}, "force": 1}, "Common.BindJsonFailed"),
    ],
)
async def test_only_what_makes_no_sense_is_refused_itself(agents, body, code):
    answer = await agents[0].api.post("/ob/stop", {**body, "dryRun": True})
    assert answer.refusal == (code or "OB.Cluster.StopModeConflict", 400)


async def test_the_last_such_stop_tells_how_long_it_takes(agents):
    asked = agents[2]
    assert (await preview(asked, servers(agents[0]), force=True)).last_duration_ms is None
    dag = await stop(asked, servers(agents[0]), force=True)
    assert dag["state"] == "SUCCEED"
    agents[0].engine.start_afresh()
    seen = await preview(asked, servers(agents[1]), force=True)
    assert 0 <= seen.last_duration_ms < 20_000
    assert (await preview(asked, servers(agents[1]), terminate=True)).last_duration_ms is None
    assert (await preview(asked, zone("zone1"), force=True)).last_duration_ms is None
