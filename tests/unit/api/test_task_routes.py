"""Tasks as the API shows them and takes orders for them, in OBShell's shapes."""

from __future__ import annotations

from datetime import datetime

import pytest

from pyobshell import errors
from pyobshell.cluster.model import Identity
from pyobshell.operations import sub_dag
from pyobshell.security.keyring import life_of
from pyobshell.tasks.ids import GenericId
from support.agents import a_member, free_address
from support.asking import check_envelope
from support.undertakings import a_failed_sub_dag, a_waiting_sub_dag, id_of, wait_end
from support.waiting import soon

pytestmark = pytest.mark.anyio

FAILED = "ERROR: [OB.Server.Process.CheckFailed]: The server process could not be verified: "


@pytest.fixture
async def host(start_member):
    """A member that is the only one of its cluster."""
    return await start_member(zones=("zone1",))


@pytest.fixture
async def failed(host):
    """The id of its task, whose second stage of three has failed."""
    return id_of(host, (await a_failed_sub_dag(host)).id)


@pytest.fixture(scope="module")
async def seen(anyio_backend, hosts, keys):
    """Such a member with such a task, for tests that change nothing in it."""
    own = free_address()
    members = [a_member(own, keys[0], "zone1")]
    async with hosts.in_process(Identity.CLUSTER_AGENT, members, address=own) as host:
        await a_failed_sub_dag(host)
        before = await host.site.tasks.dags()
        yield host
        assert await host.site.tasks.dags() == before


def without_times(dto):
    assert {"start_time", "end_time"} <= dto.keys()
    return {name: value for name, value in dto.items() if not name.endswith("_time")}


# --- shapes --------------------------------------------------------------------------------------


def _data(host):
    """What a sub DAG knows of the task it belongs to."""
    return {"main_dag_id": "11", "coordinator_life": life_of(host.site.key.public_text)}


async def test_a_task_shows_its_stages_and_what_they_logged(seen):
    dag = (await seen.local.get(f"/task/dag/{id_of(seen, 1)}")).data
    nodes = dag.pop("nodes")
    assert without_times(dag) == {
        "id": id_of(seen, 1),
        "dag_id": 1,
        "name": "Stop observer",
        "stage": 2,
        "max_stage": 3,
        "maintenance_type": 2,
        "maintenance_key": "",
        "state": "FAILED",
        "operator": "RUN",
        "additional_data": _data(seen),
    }
    tasks = [node.pop("sub_tasks") for node in nodes]
    states = ["SUCCEED", "FAILED", "PENDING"]
    names = ["Start preparations", "Stop observer", "Wait for task to end"]
    for number, (node, state, name) in enumerate(zip(nodes, states, names, strict=True), start=1):
        assert without_times(node) == {
            "id": id_of(seen, number),
            "node_id": number,
            "name": name,
            "state": state,
            "operator": "RUN",
            "additional_data": None,
        }
    logs = [task.pop("task_logs") for (task,) in tasks]
    for number, ((task,), state, name) in enumerate(zip(tasks, states, names, strict=True), 1):
        assert without_times(task) == {
            "id": id_of(seen, number),
            "task_id": number,
            "name": name,
            "state": state,
            "operator": "RUN",
            "additional_data": None,
            "execute_times": 0 if state == "PENDING" else 1,
            "execute_agent": seen.address.wire,
        }
    assert len(logs[0]) == 1
    assert logs[1] == ["the fake server does kill", FAILED + "as it should"]
    assert logs[2] is None


async def test_a_node_shows_the_data_of_its_task(seen):
    node = (await seen.local.get(f"/task/node/{id_of(seen, 2)}")).data
    assert (node["node_id"], node["name"], node["state"]) == (2, "Stop observer", "FAILED")
    assert node["additional_data"] == _data(seen)
    (task,) = node["sub_tasks"]
    assert task == (await seen.local.get(f"/task/sub_task/{id_of(seen, 2)}")).data
    assert task["task_logs"][-1] == FAILED + "as it should"
    bare = (await seen.local.get(f"/task/node/{id_of(seen, 2)}?show_details=false")).data
    assert (bare["sub_tasks"], bare["additional_data"]) == (None, None)


async def test_the_log_of_a_sub_task_tells_its_executions_apart(host, failed):
    await host.local.post(f"/task/dag/{failed}", {"operator": "RETRY"})
    await soon(host.local.get(f"/task/dag/{failed}?hold_ms=20000&seen_stage=2"))
    lines = (await host.local.get(f"/task/sub_task/{id_of(host, 2)}/logs")).data["contents"]
    once = ["the fake server does kill", FAILED + "as it should", "the fake server does kill"]
    assert [line["log_content"] for line in lines] == once
    assert [line["execute_times"] for line in lines] == [1, 1, 2]
    assert {line["sub_task_id"] for line in lines} == {2}
    assert [line["id"] for line in lines] == sorted({line["id"] for line in lines})
    assert all(line["is_sync"] and line["update_time"] == line["create_time"] for line in lines)
    moments = [datetime.fromisoformat(line["create_time"]) for line in lines]
    assert moments == sorted(moments)


@pytest.mark.parametrize(
    ("query", "with_details"),
    [
        ("", True),
        ("?show_details=True", True),
        ("?show_details=true", True),
        ("?show_details=TRUE", True),
        ("?show_details=1", True),
        ("?show_details=t", True),
        ("?show_detail=false", True),
        ("?show_details=False", False),
        ("?show_details=false", False),
        ("?show_details=0", False),
        ("?show_details=f", False),
    ],
)
async def test_details_are_shown_unless_they_are_declined(seen, query, with_details):
    answers = [
        (await seen.local.get(f"/task/dag/{id_of(seen, 1)}{query}")).data,
        *(await seen.local.get(f"/task/dags/agent{query}")).contents,
        *(await seen.local.get(f"/task/dag/unfinish{query}")).contents,
        *(await seen.local.get(f"/task/dag/maintain/agents{query}")).contents,
        (await seen.local.get(f"/task/dag/maintain/agent{query}")).data,
    ]
    assert len(answers) == 5
    for dag in answers:
        assert (dag["nodes"] is not None) == with_details
        assert (dag["additional_data"] is not None) == with_details


async def test_a_query_that_cannot_be_read_is_refused(seen):
    for query in ("show_details=maybe", "hold_ms=x", "hold_ms=-1", "hold_ms=30001"):
        answer = await seen.local.get(f"/task/dag/{id_of(seen, 1)}?{query}")
        check_envelope(answer)
        assert answer.refusal == ("Common.BindJsonFailed", 400)


async def test_a_task_of_one_stage_without_data_has_none(start_host):
    host = await start_host()
    body = {"agentInfo": host.address.wire, "zoneName": "zone1"}
    one_stage = (await host.api.post("/agent/join", body)).data["id"]
    assert (await wait_end(host, one_stage))["additional_data"] is None


async def test_a_task_of_several_stages_without_data_has_an_empty_object(start_host, keys):
    own, master = free_address(), free_address()
    members = [
        a_member(master, keys[1], "zone1", Identity.MASTER),
        a_member(own, keys[0], "zone2", Identity.FOLLOWER),
    ]
    host = await start_host(Identity.FOLLOWER, members, address=own)
    dag = await host.local.post("/agent/remove", own.wire)
    assert dag.data["additional_data"] is None
    assert (await wait_end(host, dag.data["id"]))["additional_data"] == {}


# --- ids -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["dag", "node", "sub_task"])
async def test_what_there_is_not_is_not_found(unchanged_member, kind):
    host = unchanged_member
    asked = [
        id_of(host, 7),
        "11",  # in the cluster's own store
        str(GenericId(1, free_address())),  # an agent that is no member
    ]
    for task_id in asked:
        answer = await host.api.get(f"/task/{kind}/{task_id}")
        check_envelope(answer)
        assert answer.refusal == ("Task.NotFound", 404)
        assert "Task not found" in answer.message


@pytest.mark.parametrize("kind", ["dag", "node", "sub_task"])
@pytest.mark.parametrize("task_id", ["x", "1", "0", "62130706433028869", "-1", "1" * 200, "%20"])
async def test_what_is_no_id_is_refused(unchanged_member, kind, task_id):
    answer = await unchanged_member.api.get(f"/task/{kind}/{task_id}")
    check_envelope(answer)
    assert answer.refusal == ("Task.GenericID.Invalid", 400)


# --- operators -----------------------------------------------------------------------------------


@pytest.mark.parametrize("operator", ["RETRY", "retry", "Retry"])
async def test_a_retried_task_has_left_failed_before_the_answer(host, failed, operator):
    gate = host.engine.hold("kill")
    answer = await host.api.post(f"/task/dag/{failed}", {"operator": operator})
    check_envelope(answer)
    assert answer.status == 200
    assert "data" not in answer.envelope
    dag = (await host.api.get(f"/task/dag/{failed}")).data
    assert dag["state"] in ("READY", "RUNNING")
    assert dag["operator"] == "RUN"
    await gate.reached()
    dag = (await host.api.get(f"/task/dag/{failed}")).data
    assert (dag["nodes"][1]["operator"], dag["nodes"][1]["state"]) == ("RETRY", "RUNNING")
    gate.open()


@pytest.mark.parametrize("operator", ["PASS", "pass"])
async def test_a_passed_task_has_succeeded_before_the_answer_and_lets_go_of_its_lock(
    host, failed, operator
):
    assert (await host.api.get("/status")).data["underMaintenance"] is True
    assert (await host.api.post(f"/task/dag/{failed}", {"operator": operator})).status == 200
    dag = (await host.api.get(f"/task/dag/{failed}")).data
    assert (dag["state"], dag["operator"], dag["stage"]) == ("SUCCEED", "PASS", 2)
    assert (await host.api.get("/status")).data["underMaintenance"] is False


@pytest.mark.parametrize("operator", ["CANCEL", "cancel"])
async def test_a_cancelled_task_fails(host, operator):
    task_id = id_of(host, (await a_waiting_sub_dag(host)).id)
    assert (await host.api.post(f"/task/dag/{task_id}", {"operator": operator})).status == 200
    dag = await wait_end(host, task_id)
    assert (dag["state"], dag["operator"]) == ("FAILED", "CANCEL")
    assert dag["nodes"][0]["sub_tasks"][0]["task_logs"]


async def test_a_passed_node_is_followed_by_the_next(host, failed):
    answer = await host.api.post(f"/task/node/{id_of(host, 2)}", {"operator": "pass"})
    assert answer.status == 200
    assert "data" not in answer.envelope
    await host.site.tasks.signal(1, sub_dag.END)
    dag = await wait_end(host, failed)
    assert (dag["state"], dag["operator"], dag["stage"]) == ("SUCCEED", "RUN", 3)


@pytest.mark.parametrize(
    ("kind", "body", "refusal"),
    [
        ("dag", {"operator": "CANCEL"}, "Task.Dag.Operator.CancelFinishedDag"),
        ("dag", {"operator": "ROLLBACK"}, "Task.Dag.Operator.RollbackNotAllowed"),
        ("dag", {"operator": "RUN"}, "Task.Dag.Operator.NotSupport"),
        ("dag", {"operator": "nonsense"}, "Task.Dag.Operator.NotSupport"),
        ("dag", {"operator": ""}, "Task.Dag.Operator.NotSupport"),
        ("dag", {"operator": 1}, "Common.BindJsonFailed"),
        ("dag", {}, "Common.BindJsonFailed"),
        ("dag", None, "Common.BindJsonFailed"),
        ("node", {"operator": "RETRY"}, "Task.Node.Operator.NotSupport"),
        ("node", {}, "Common.BindJsonFailed"),
    ],
)
async def test_an_operator_that_is_not_legal_is_refused(seen, kind, body, refusal):
    answer = await seen.local.post(f"/task/{kind}/{id_of(seen, 2 if kind == 'node' else 1)}", body)
    check_envelope(answer)
    assert answer.refusal == (refusal, 400)


async def test_an_operator_for_a_task_that_runs_is_refused_with_its_state(host):
    task_id = id_of(host, (await a_waiting_sub_dag(host)).id)
    for operator in ("RETRY", "PASS", "ROLLBACK"):
        answer = await host.api.post(f"/task/dag/{task_id}", {"operator": operator})
        assert answer.refusal == (f"Task.Dag.Operator.{operator.title()}NotFailedDag", 400)
    answer = await host.api.post(f"/task/node/{id_of(host, 1)}", {"operator": "PASS"})
    assert answer.refusal == ("Task.Node.Operator.PassNotFailedDag", 400)


async def test_an_operator_for_no_task_is_refused(unchanged_member):
    host = unchanged_member
    for kind in ("dag", "node"):
        for task_id, refusal in [
            (id_of(host, 7), ("Task.NotFound", 404)),
            ("x", ("Task.GenericID.Invalid", 400)),
        ]:
            answer = await host.api.post(f"/task/{kind}/{task_id}", {"operator": "PASS"})
            assert answer.refusal == refusal


# --- lists ---------------------------------------------------------------------------------------


async def test_lists_have_what_is_unfinished_and_what_holds_a_lock(host, failed):
    await host.api.post(f"/task/dag/{failed}", {"operator": "PASS"})
    waiting = id_of(host, (await a_waiting_sub_dag(host)).id)

    async def listed(path):
        return [dag["id"] for dag in (await host.api.get(path)).contents]

    assert await listed("/task/dags/agent") == [failed, waiting]
    assert await listed("/task/dag/agent/unfinish") == [waiting]
    assert await listed("/task/dag/unfinish") == [waiting]
    assert await listed("/task/dag/maintain/agents") == [waiting]
    assert (await host.api.get("/task/dag/maintain/agent")).data["id"] == waiting
    assert await listed("/task/dags/ob") == await listed("/task/dag/ob/unfinish") == []


async def test_what_agents_have_unfinished_is_listed_while_the_clusters_database_is_down(
    host, failed, monkeypatch
):
    class Down:
        is_open = True

        @property
        def tasks(self):
            raise errors.SERVER_UNAVAILABLE(reason="no server runs")

    with monkeypatch.context() as patched:
        patched.setattr(host.site, "ocs", Down())
        listed = await host.api.get("/task/dag/unfinish")
        refused = await host.api.get("/task/dag/ob/unfinish")
    assert [dag["id"] for dag in listed.contents] == [failed]
    assert refused.refusal[0] == "OB.Server.Unavailable"


async def test_lists_name_the_agents_that_could_not_be_asked(start_member):
    host = await start_member(zones=("zone1", "zone2"))
    (lost,) = host.site.cluster.view.others
    for path in ("/dag/unfinish", "/dag/agent/main_dags", "/dag/maintain/agents"):
        answer = await host.api.get(f"/task{path}")
        assert answer.data["contents"] == []
        (unreachable,) = answer.data["unreachable"]
        assert unreachable["agent"] == str(lost)
        assert "cannot be reached" in unreachable["message"]


async def test_lists_of_an_agent_that_never_did_anything_are_empty(start_host, host):
    paths = ("/dags/agent", "/dag/unfinish", "/dag/maintain/agents", "/dag/agent/main_dags")
    for path in (f"/task{one}" for one in paths):
        assert (await host.api.get(path)).contents == []
    alone = await start_host()
    assert (await alone.api.get("/task/dag/unfinish")).contents == []
    answer = await alone.api.get("/task/dag/maintain/agent")
    assert answer.refusal == ("Task.NotFound", 404)
    answer = await alone.api.get("/task/dags/ob")
    assert answer.refusal == ("Agent.Identify.NotSupportOperation", 400)
