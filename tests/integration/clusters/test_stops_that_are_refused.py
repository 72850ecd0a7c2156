"""What keeps a stop of a cluster's servers from happening, before it is begun and on its way."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
from typing import Any

import pytest
from obshell.service.client_v1 import OBShellHandleError, TaskExecuteFailedError

from pyobshell.client import ApiError, Client
from pyobshell.settings import Paths
from support.observer_clusters import Member, SixServers
from support.running import OBSHELL, stage_logs
from support.standin_clusters import eventually

LOST = "OB.Cluster.Tenant.Replica.Invalid"


def test_a_majority_that_would_be_lost_names_tenants_and_log_streams(cluster: SixServers) -> None:
    cluster.stop("ZONE", ["zone3"], force=True)
    second = cluster.members[1]
    for scope, target in (("ZONE", ["zone2"]), ("SERVER", [second.address])):
        with pytest.raises(OBShellHandleError) as refused:
            cluster.sdk.stop(scope, target, terminate=True)
        assert refused.value.err_code == LOST
        assert "tenant sys (LS 1)" in str(refused.value)
    preview = dry_run(cluster.members[0], "-z", "zone2", exit_code=3)
    assert [one["errCode"] for one in preview["refusals"]] == [LOST]
    assert [(one["tenant_name"], one["kept"]) for one in preview["majority"]] == [("sys", False)]
    assert cluster.in_zone("zone2")[0].server_pid()


def test_a_server_that_hangs_is_not_counted_though_its_cluster_still_shows_it(
    cluster: SixServers,
) -> None:
    _, second, third, *_ = cluster.members
    cluster.knobs.set(lease_s=60)
    third.node.signal(signal.SIGSTOP)
    try:
        with pytest.raises(OBShellHandleError) as refused:
            cluster.sdk.stop("SERVER", [second.address], terminate=True)
    finally:
        third.node.signal(signal.SIGCONT)
    assert refused.value.err_code == LOST
    assert f"no sign of life from {third.server}" in str(refused.value)


def test_an_agent_whose_own_server_hangs_asks_another(cluster: SixServers) -> None:
    first, second, *_ = cluster.members
    first.node.faults.set(hang="GV$OB_LOG_STAT")
    shown = dry_run(first, "-s", second.address, "-t")
    assert (shown["refusals"], shown["majority"][0]["kept"]) == ([], True)


def test_a_replica_that_falls_behind_during_the_freeze_keeps_the_servers_from_being_killed(
    cluster: SixServers,
) -> None:
    before = cluster.pids()
    third = cluster.members[2]
    cluster.knobs.set(freeze_never=True)
    dag = cluster.sdk.stop("ZONE", ["zone2"], terminate=True)
    eventually(lambda: cluster.sdk.get_dag(dag.generic_id).stage == 3)
    cluster.knobs.set(out_of_sync=[third.server])
    with pytest.raises(TaskExecuteFailedError) as failed:
        cluster.members[0].see_through(dag)
    assert failed.value.dag.stage == 4
    assert f"[{LOST}]: Without servers" in stage_logs(failed.value.dag.nodes[3])
    assert cluster.pids() == before
    assert cluster.sdk.get_unfinished_dags() == []


def test_a_freeze_that_never_ends_can_be_given_up_for_a_stop_by_force(cluster: SixServers) -> None:
    second = cluster.members[1]
    cluster.knobs.set(freeze_never=True)
    dag = cluster.sdk.stop("SERVER", [second.address], terminate=True)
    eventually(lambda: cluster.sdk.get_dag(dag.generic_id).stage == 3)
    passed = [dag.generic_id]
    cluster.stop("SERVER", [second.address], force=True, force_pass_dag=passed)
    assert second.server_pid() is None


def test_a_server_that_dies_of_the_order_to_stop_has_another_one_carry_it_out(
    cluster: SixServers,
) -> None:
    cluster.members[0].node.faults.set(die_before="STOP ZONE")
    dag = cluster.stop("ZONE", ["zone1"])
    assert "asking another agent" in stage_logs(dag.nodes[4])
    assert cluster.stopped() == (set(), {"zone1"})


def test_a_server_that_dies_in_another_zone_at_the_last_moment_prevents_the_stop(
    cluster: SixServers,
) -> None:
    cluster.members[0].node.faults.set(die_before="STOP ZONE")
    with pytest.raises(TaskExecuteFailedError) as failed:
        cluster.stop("ZONE", ["zone2"])
    assert failed.value.dag.stage == 5
    # By us, or if the cluster itself has not shown us the death yet, by its own guard.
    said = stage_logs(failed.value.dag.nodes[4])
    assert f"[{LOST}]: Without zone zone2" in said or "(4179)" in said
    assert cluster.stopped() == (set(), set())


def test_a_zone_is_stopped_for_good_by_an_agent_whose_own_server_is_down(
    cluster: SixServers,
) -> None:
    first = cluster.members[0]
    first.stop_servers("SERVER", [first.address], force=True)
    with pytest.raises(OBShellHandleError) as refused:
        first.sdk().stop("ZONE", ["zone1"])
    assert refused.value.err_code == "OB.Cluster.ForceStopRequired"

    async def stop_zone() -> Any:
        async with Client.local(Paths(first.base_dir).socket) as client:
            for zone, code in (("zone9", "OB.Zone.NotExist"), ("zone2", LOST)):
                with pytest.raises(ApiError) as refusal:
                    await client.check_stop_zone(zone)
                assert refusal.value.code == code
            await client.check_stop_zone("zone1")
            dag = await client.stop_zone("zone1", freeze_server=True)
            return dag, [one async for one in client.follow(dag.id)][-1]

    begun, dag = asyncio.run(stop_zone())
    assert (begun.state, begun.max_stage, dag.state) == ("READY", 7, "SUCCEED")
    assert [one.server_pid() for one in cluster.in_zone("zone1")] == [None, None]
    assert cluster.stopped() == (set(), {"zone1"})
    cluster.start("ZONE", ["zone1"])
    assert cluster.all_well()


def test_a_preview_tells_of_sessions_and_records_nothing(cluster: SixServers) -> None:
    second = cluster.members[1]
    cluster.stop("ZONE", ["zone2"])
    cluster.start("ZONE", ["zone2"])
    before = [dag.generic_id for dag in cluster.sdk.get_all_agent_last_maintenance_dag()]
    with second.node.connect() as _, second.node.connect() as _:
        shown = dry_run(cluster.members[0], "-s", second.address)
    (target,) = shown["targets"]
    assert (target["status"], target["pid"]) == ("ACTIVE", second.server_pid())
    assert target["sessions"] == 2  # those of the agent do not count
    assert (shown["refusals"], shown["majority"][0]["kept"]) == ([], True)
    assert dry_run(cluster.members[0], "-z", "zone2", "-I")["last_duration_ms"] > 0
    after = [dag.generic_id for dag in cluster.sdk.get_all_agent_last_maintenance_dag()]
    assert after == before


def dry_run(asked: Member, *words: str, exit_code: int = 0) -> dict[str, Any]:
    """What the command shows of a stop."""
    where = ["--base-dir", str(asked.base_dir), "--dry-run", "--json"]
    command = [*OBSHELL, "cluster", "stop", *words, *where]
    done = subprocess.run(command, text=True, capture_output=True, timeout=60)
    assert done.returncode == exit_code, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document
