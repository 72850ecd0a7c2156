"""How servers are stopped: at once, flushed, or gently; and what keeps a stop from happening."""

from __future__ import annotations

import os
import signal

import pytest
from obshell.service.client_v1 import OBShellHandleError, TaskExecuteFailedError

from support.running import RunningCluster, end_process, stage_logs


def test_terminate_flushes_before_it_kills(serving: RunningCluster) -> None:
    agent = serving.agents[1]
    dag = serving.sdk.stop_sync("ZONE", ["zone2"], terminate=True)
    assert (dag.max_stage, dag.nodes[2].name) == (6, "Minor freeze before stop server")
    assert "all that was committed before is in the data files" in stage_logs(dag.nodes[2])
    assert agent.server_pid() is None


def test_a_gentle_stop_waits_flushes_and_sends_sigterm_only(serving: RunningCluster) -> None:
    agent = serving.agents[2]
    dag = serving.sdk.stop_sync("SERVER", [agent.address])
    assert (dag.max_stage, dag.nodes[4].name) == (6, "Execute stop sql")
    log = stage_logs(dag.nodes[4])
    assert "out of service" in log
    everything = "".join(map(stage_logs, dag.nodes))
    assert "SIGTERM" in everything
    assert "SIGKILL" not in everything
    assert agent.server_pid() is None

    with pytest.raises(OBShellHandleError) as refused:
        serving.sdk.stop("SERVER", [serving.agents[1].address])
    assert refused.value.err_code == "OB.Server.StoppedInMultiZone"


def test_a_paused_server_cannot_be_flushed_so_it_is_not_killed_unless_forced(
    serving: RunningCluster,
) -> None:
    agent = serving.agents[1]
    pid = agent.server_pid()
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(TaskExecuteFailedError) as failed:
            serving.sdk.stop_sync("SERVER", [agent.address], terminate=True)
        assert failed.value.dag.nodes[2].state == "FAILED"
        assert agent.server_pid() == pid
        stuck = failed.value.dag.generic_id
        dag = serving.sdk.stop_sync("SERVER", [agent.address], force=True, force_pass_dag=[stuck])
        assert dag.state == "SUCCEED"
        assert agent.server_pid() is None
    finally:
        end_process(pid)


@pytest.mark.long
def test_a_server_that_dies_unasked_is_brought_back_and_one_that_was_stopped_is_not(
    serving: RunningCluster,
) -> None:
    victim = serving.agents[0]
    pid = victim.server_pid()
    end_process(pid)
    # A start waits for the server, whoever has started it.
    serving.sdk.start_sync("SERVER", [victim.address])
    assert victim.server_pid() not in (None, pid)

    serving.sdk.stop_sync("SERVER", [victim.address], force=True)
    victim.end()
    victim.start()
    assert victim.sdk().get_status().ob_state == 0


@pytest.mark.long
def test_a_restarted_agent_finds_its_server_and_its_cluster(serving: RunningCluster) -> None:
    agent = serving.agents[1]
    pid = agent.server_pid()
    assert agent.command("stop").returncode == 0
    assert agent.server_pid() == pid
    agent.start()
    status = agent.sdk().get_status()
    assert (status.ob_state, status.agent.identity) == (3, "CLUSTER AGENT")
    assert agent.sdk().stop_sync("SERVER", [agent.address], force=True).state == "SUCCEED"
    assert agent.server_pid() is None
