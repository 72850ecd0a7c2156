"""A cluster grows by a server and a zone, and shrinks again."""

from __future__ import annotations

import os
import subprocess

import pytest

from support.observer_clusters import SixServers
from support.running import OBSHELL, logs
from support.scaling import (
    ADD,
    Spare,
    at_stage,
    ended,
    fault,
    known_to,
    operated,
    refused,
    servers,
    stages,
    status_of,
    zones,
)
from support.standin_clusters import eventually


def test_a_server_comes_and_goes(six: SixServers, spare: Spare) -> None:
    dag = six.sdk.scale_out_sync(spare.ip, spare.port, "zone1", spare.options)
    assert (dag.name, dag.max_stage, dag.generic_id[0]) == ("Cluster scale out", 9, "1")
    assert stages(dag) == [
        "Integrate server config",
        "Create local scale out dag",
        "Wait scale out ready",
        "Wait remote deploy finish",
        "Wait remote start finish",
        "Prev check for scale_out",
        "Add server for scale_out",
        "Add agent for scale_out",
        "Check cluster scale_out whether finished",
    ]
    assert six.password not in str(dag.__dict__)
    local = six.sdk.get_dag(dag.additional_data["local_dags"][spare.address])
    assert (local.name, local.state, stages(local)) == ("Local scale out", "SUCCEED", LOCAL_STAGES)
    assert servers(six)[spare.server] == "zone1"
    assert status_of(six, spare) == "ACTIVE"
    everybody = {member.address for member in (*six.members, spare)}
    assert [known_to(member) for member in (*six.members, spare)] == [everybody] * 7
    # It is a member like any other, which can be asked for anything.
    assert spare.identity() == "CLUSTER AGENT"
    stopped = ended(six, spare.sdk().stop("SERVER", [spare.address], force=True))
    started = ended(six, six.sdk.start("SERVER", [spare.address]))
    assert (stopped.state, started.state) == ("SUCCEED", "SUCCEED")
    where = (spare.ip, spare.port)
    refused("OB.Server.DeleteSelf", spare.sdk().scale_in, *where)
    refused("Agent.AlreadyExists", six.sdk.scale_out, *where, "zone2", {})

    dag = six.members[1].sdk().scale_in_sync(*where)
    assert (dag.name, stages(dag)) == (
        "Cluster scale in",
        [
            "Delete observer",
            "Set agent to 'SCALING IN'",
            "Wait delete observer success",
            "Delete agent",
            "Try to inform to kill observer",
        ],
    )
    assert spare.identity() == "SINGLE"
    assert spare.server_pid() is None
    assert [known_to(member) for member in six.members] == [everybody - {spare.address}] * 6
    # What was on it is left to its owner, and in nobody's way unnoticed.
    assert spare.has_files()
    assert "remove them first" in refused("Common.IllegalArgument", spare.scale_out, six)
    spare.remove_files()
    assert six.sdk.scale_in_sync(*where) is None


LOCAL_STAGES = [
    "Be scaling agent",
    "Start preparations",
    "Create observer workdir",
    "Start preparations",
    "Start observer",
    "Watch cluster scale_out dag",
    "Sync from observer",
]


@pytest.mark.long
def test_a_zone_comes_and_goes(six: SixServers, spare: Spare) -> None:
    dag = ended(six, spare.scale_out(six, "zone4"))
    assert (dag.state, dag.max_stage) == ("SUCCEED", 11), logs(dag)
    new = stages(dag)[6:8]
    assert new == ["Add new zone for scale_out", "Start new zone for scale_out"]
    assert zones(six) == ["zone1", "zone2", "zone3", "zone4"]
    refused("OB.Zone.DeleteSelf", spare.sdk().delete_zone, "zone4")
    refused("OB.Zone.NotEmpty", six.members[1].sdk().delete_zone, "zone3")
    six.sql("ALTER SYSTEM STOP ZONE 'zone2'")
    why = refused("OB.Server.StoppedInMultiZone", six.sdk.delete_zone, "zone4")
    assert "zone2 is stopped already" in why
    six.sql("ALTER SYSTEM START ZONE 'zone2'")

    dag = six.sdk.delete_zone_sync("zone4")
    assert (dag.name, stages(dag)) == (
        "Delete zone",
        [
            "Set agent to 'SCALING IN'",
            "Stop zone zone4",
            "Delete observer",
            "Wait delete observer success",
            "Delete zone zone4",
            "Delete agent",
            "Try to inform to kill observer",
        ],
    )
    assert zones(six) == ["zone1", "zone2", "zone3"]
    assert spare.identity() == "SINGLE"
    spare.remove_files()
    assert six.sdk.delete_zone_sync("zone4") is None


def test_a_server_is_killed_before_it_is_deleted_if_all_majorities_outlive_it(
    six: SixServers, spare: Spare
) -> None:
    ended(six, spare.scale_out(six))
    dag = ended(six, six.sdk.scale_in(spare.ip, spare.port, force_kill=True))
    assert (dag.state, stages(dag)) == (
        "SUCCEED",
        [
            "Delete observer",
            "Set agent to 'SCALING IN'",
            "Check multi paxos member alive",
            "Try to inform to kill observer",
            "Wait delete observer success",
            "Delete agent",
        ],
    ), logs(dag)
    assert spare.identity() == "SINGLE"
    spare.remove_files()


def test_what_the_cluster_cannot_do_without_stays(spare: Spare, cluster: SixServers) -> None:
    second, third = cluster.members[1:3]
    where = (second.ip, second.port)
    cluster.stop("SERVER", [cluster.members[4].address], force=True)  # its neighbour in zone2
    why = refused("Common.IllegalArgument", cluster.sdk.scale_in, *where)
    assert "no other server that could take unit" in why
    cluster.knobs.set(out_of_sync=[third.server])
    eventually(lambda: cluster.sql("select 1 from oceanbase.GV$OB_LOG_STAT where in_sync = 'NO'"))
    why = refused("OB.Cluster.MultiPaxosNotAlive", cluster.sdk.scale_in, *where, force_kill=True)
    assert "tenant sys (LS 1)" in why
    port = {"mysql_port": str(second.sql_port)}
    why = refused(
        "Common.IllegalArgument", cluster.sdk.scale_out, spare.ip, spare.port, "zone1", port
    )
    assert f"server {second.server} has port {second.sql_port}" in why
    same = {**port, "rpc_port": str(second.node.rpc_port)}
    refused("Agent.AlreadyExists", cluster.sdk.scale_out, spare.ip, spare.port, "zone1", same)


@pytest.mark.long
def test_it_is_done_from_the_command_line(six: SixServers, spare: Spare) -> None:
    member, agent = six.members[0], spare.address
    place = ("--base-dir", str(spare.base_dir), "-s", member.address, "-z", "zone1")
    ports = ("-p", str(spare.sql_port), "-P", str(spare.node.rpc_port))
    told = obshell("scale-out", *place, *ports, "-y", password=six.password)
    assert f"Done: {agent} is a member, its server in zone zone1" in told
    there = ("--base-dir", str(member.base_dir), "-y")
    told = obshell("scale-in", *there, "-s", agent, "--remove-data")
    assert f"Done: the server of {agent} is removed" in told
    assert spare.is_clean()
    assert "is no part of the cluster" in obshell("scale-in", *there, "-z", "zone9")


def obshell(*words: str, password: str | None = None) -> str:
    given = {} if password is None else {"OB_ROOT_PASSWORD": password}
    command = [*OBSHELL, "cluster", *words]
    done = subprocess.run(
        command, text=True, capture_output=True, timeout=90, env=os.environ | given
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# --- failures, and what an operator makes of them ------------------------------------------------


def test_a_scale_out_that_failed_is_retried(six: SixServers, spare: Spare) -> None:
    fault(six, fail=ADD, errno=4179)
    dag = ended(six, spare.scale_out(six))
    assert (dag.state, stages(dag)[dag.stage - 1]) == ("FAILED", "Add server for scale_out")
    assert "4179" in logs(dag)
    fault(six)
    dag = operated(six, dag, "RETRY")
    assert dag.state == "SUCCEED", logs(dag)
    assert status_of(six, spare) == "ACTIVE"


def test_a_scale_out_that_failed_is_rolled_back(six: SixServers, spare: Spare) -> None:
    fault(six, fail=ADD, errno=4179)
    dag = ended(six, spare.scale_out(six, "zone4"))
    assert dag.state == "FAILED"
    assert zones(six) == ["zone1", "zone2", "zone3", "zone4"]
    dag = operated(six, dag, "ROLLBACK")
    assert (dag.state, dag.operator, dag.stage) == ("SUCCEED", "ROLLBACK", 1), logs(dag)
    assert zones(six) == ["zone1", "zone2", "zone3"]
    assert spare.is_clean()


def test_what_was_nearly_done_is_undone_as_well(six: SixServers, spare: Spare) -> None:
    six.knobs.set(service_s=600.0)
    dag = spare.scale_out(six, "zone4")
    at_stage(six, dag, "Check cluster scale_out whether finished")
    everybody = {member.address for member in (*six.members, spare)}
    eventually(lambda: known_to(six.members[2]) == everybody)
    assert operated(six, dag, "CANCEL").state == "FAILED"
    dag = operated(six, dag, "ROLLBACK")
    assert (dag.state, dag.stage) == ("SUCCEED", 1), logs(dag)
    assert zones(six) == ["zone1", "zone2", "zone3"]
    assert [known_to(one) for one in six.members] == [everybody - {spare.address}] * 6
    assert spare.is_clean()


def test_a_scale_in_that_never_ends_is_cancelled_and_the_server_stays(
    six: SixServers, spare: Spare
) -> None:
    ended(six, spare.scale_out(six))
    six.knobs.set(delete_never=True)
    dag = six.sdk.scale_in(spare.ip, spare.port)
    at_stage(six, dag, "Wait delete observer success")
    eventually(lambda: status_of(six, spare) == "DELETING")
    assert spare.identity() == "SCALING IN"
    dag = operated(six, dag, "CANCEL")
    assert (dag.state, dag.operator) == ("FAILED", "CANCEL")
    assert status_of(six, spare) == "ACTIVE"
    dag = operated(six, dag, "ROLLBACK")
    assert (dag.state, dag.stage) == ("SUCCEED", 1), logs(dag)
    assert spare.identity() == "CLUSTER AGENT"
    assert spare.server_pid() is not None
