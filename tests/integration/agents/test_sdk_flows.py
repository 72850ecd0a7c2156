"""The flows of the official SDK, unchanged, against real agents and servers."""

from __future__ import annotations

import pytest
from obshell.service.client_v1 import OBShellHandleError, TaskExecuteFailedError

from support.running import RunningCluster, logs, running_agents

FORCE_STAGES = [
    "Inform all agents to prepare to stop observer",
    "Make sure all agents are ready",
    "Advance agents to execute the task",
    "Wait for all agents to execute tasks successfully",
    "Inform all agents to end the task",
]


def test_a_cluster_made_by_the_sdk_describes_itself(serving: RunningCluster) -> None:
    info = serving.sdk.get_ob_info()
    assert info.cluster.cluster_name == "test"
    assert info.cluster.cluster_id == 7
    assert [agent.identity for agent in info.agents] == ["CLUSTER AGENT"] * 3
    assert {
        zone: [one.status for one in servers] for zone, servers in info.cluster.zone_config.items()
    } == {f"zone{n}": ["ACTIVE"] for n in (1, 2, 3)}
    status = serving.sdk.get_status()
    assert (status.ob_state, status.state) == (3, 2)
    assert status.pid == serving.agents[0].pid()


def test_a_global_force_stop_ends_every_server_and_a_start_brings_all_rows_back(
    serving: RunningCluster,
) -> None:
    for number, agent in enumerate(serving.agents):
        agent.sql("CREATE TABLE IF NOT EXISTS test.kept (n INT PRIMARY KEY)")
        agent.sql("REPLACE INTO test.kept VALUES (%s), (%s)", number, 10 + number)

    dag = serving.sdk.stop_sync("GLOBAL", [], force=True)

    assert (dag.name, dag.state, dag.stage, dag.max_stage) == ("Stop OB", "SUCCEED", 5, 5)
    assert [node.name for node in dag.nodes] == FORCE_STAGES
    assert serving.server_pids() == [None, None, None]
    started = serving.sdk.start_sync("GLOBAL", [])
    assert (started.name, started.state, started.max_stage) == ("Start OB", "SUCCEED", 6)
    for number, agent in enumerate(serving.agents):
        rows = agent.sql("SELECT n FROM test.kept ORDER BY n")
        assert rows == ((number,), (10 + number,))


@pytest.mark.parametrize(
    ("scope", "target"), [("ZONE", ["zone2"]), ("SERVER", ["agent 2"])], ids=["zone", "server"]
)
def test_a_stop_ends_the_servers_of_its_scope_and_no_other(
    serving: RunningCluster, scope: str, target: list[str]
) -> None:
    before = serving.server_pids()
    named = [serving.agents[1].address] if scope == "SERVER" else target

    serving.sdk.stop_sync(scope, named, force=True)

    assert serving.server_pids() == [before[0], None, before[2]]
    serving.sdk.start_sync(scope, named)
    after = serving.server_pids()
    assert (after[0], after[2]) == (before[0], before[2])
    assert after[1] is not None


def test_any_agent_of_the_cluster_takes_a_request_and_knows_the_task(
    serving: RunningCluster,
) -> None:
    dag = serving.agents[2].sdk().stop_sync("SERVER", [serving.agents[0].address], force=True)
    assert serving.agents[0].sdk().get_dag(dag.generic_id).state == "SUCCEED"
    assert serving.agents[0].server_pid() is None
    assert serving.agents[1].sdk().start_sync("ZONE", ["zone1"]).state == "SUCCEED"


def test_a_task_can_be_looked_at_from_every_side(serving: RunningCluster) -> None:
    sdk = serving.sdk
    dag = sdk.get_dag(sdk.start_sync("GLOBAL", []).generic_id)
    node = sdk.get_node(dag.nodes[0].generic_id)
    assert (node.name, node.state) == ("Inform all agents to start observer", "SUCCEED")
    assert len(node.sub_tasks) == 3
    sub_task = sdk.get_sub_task(node.sub_tasks[1].generic_id)
    assert sub_task.execute_agent == serving.agents[1].address
    assert sub_task.task_logs
    assert sdk.get_unfinished_dags() == []
    assert sdk.get_agent_unfinished_dag() == []
    assert sdk.get_cluster_unfinished_dag() == []
    newest = sdk.get_all_agent_last_maintenance_dag()
    assert [one.name for one in newest] == ["Start observer"] * 3
    assert {one.additional_data["main_dag_id"] for one in newest} == {dag.generic_id}
    assert sdk.get_agent_last_maintenance_dag().name == "Start observer"


def test_an_operator_on_a_finished_task_is_refused(serving: RunningCluster) -> None:
    dag = serving.sdk.start_sync("GLOBAL", [])
    for operator, code in (
        ("RETRY", "Task.Dag.Operator.RetryNotFailedDag"),
        ("pass", "Task.Dag.Operator.PassNotFailedDag"),
        ("CANCEL", "Task.Dag.Operator.CancelFinishedDag"),
        ("EXPLODE", "Task.Dag.Operator.NotSupport"),
    ):
        with pytest.raises(OBShellHandleError) as refused:
            serving.sdk.operate_dag(dag.generic_id, operator)
        assert refused.value.err_code == code


def test_a_wrong_password_is_refused_and_starts_nothing(serving: RunningCluster) -> None:
    before = serving.server_pids()
    with pytest.raises(OBShellHandleError) as refused:
        serving.agents[0].sdk("wrong").stop("GLOBAL", [], force=True)
    assert refused.value.err_code == "Security.Authentication.IncorrectOceanbasePassword"
    assert serving.server_pids() == before


def test_a_stop_that_meets_a_lock_fails_and_names_it_and_naming_it_proceeds(
    serving: RunningCluster,
) -> None:
    first, second, third = serving.agents
    with second.connect() as busy, busy.cursor() as cursor:
        cursor.execute("SELECT CONNECTION_ID()")
        ((connection_id,),) = cursor.fetchall()
        busy._execute_command(3, "SELECT SLEEP(300)")  # it runs; nobody reads its answer yet
        stuck = first.sdk().stop("SERVER", [second.address])

        with pytest.raises(TaskExecuteFailedError) as blocked:
            third.sdk().stop_sync("GLOBAL", [], force=True)
        assert blocked.value.dag.stage == 2
        assert "Agent.UnderMaintenance" in logs(blocked.value.dag)
        assert stuck.generic_id in blocked.value.message

        with pytest.raises(TaskExecuteFailedError):
            third.sdk().stop_sync("GLOBAL", [], force=True, force_pass_dag=["11", "221"])

        passed = [stuck.generic_id]
        dag = third.sdk().stop_sync("GLOBAL", [], force=True, force_pass_dag=passed)
        assert dag.state == "SUCCEED"
        assert serving.server_pids() == [None, None, None]
        assert connection_id
        busy._sock.close()
    abandoned = first.sdk().get_dag(stuck.generic_id)
    assert abandoned.state in ("FAILED", "RUNNING")
    assert [dag.name for dag in first.sdk().get_unfinished_dags() if dag.name != "Stop OB"] == []


def test_an_agent_leaves_a_cluster_that_is_not_initialized() -> None:
    with running_agents(2) as (master, follower):
        sdk = master.sdk()
        sdk.join_sync(master.ip, master.port, "zone1")
        sdk.join_sync(follower.ip, follower.port, "zone2")
        assert follower.sdk().get_status().agent.identity == "FOLLOWER"

        assert sdk.remove_sync(follower.ip, follower.port).state == "SUCCEED"
        assert follower.sdk().get_status().agent.identity == "SINGLE"
        assert sdk.remove_sync(master.ip, master.port).name == "Remove all agents"
        assert master.sdk().get_status().agent.identity == "SINGLE"
        assert master.sdk().remove(master.ip, master.port) is None
