"""A cluster grows by a server and a zone, and shrinks again, whatever happens in the middle."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from obshell.service.client_v1 import OBShellHandleError

from standin.control import OBSERVER
from support.observer_clusters import Member, SixServers, bring_up, take_down
from support.running import LOOPBACK, OBSHELL, end_process
from support.standin_clusters import Node, eventually, free_ports

ADD = "^alter system add server"


class Spare(Member):
    """An agent that belongs to nothing at first, with ports for a server."""

    def start(self) -> None:
        kind = ("--engine", "oceanbase", "--observer", str(OBSERVER))
        started = self.command("start", "--ip", self.ip, "--port", str(self.port), *kind)
        assert started.returncode == 0, started.stderr

    @property
    def options(self) -> dict[str, str]:
        return {"mysql_port": str(self.sql_port), "rpc_port": str(self.node.rpc_port)}

    def identity(self) -> str:
        return str(self.sdk().get_status().agent.identity)

    def has_files(self) -> bool:
        return (self.base_dir / "etc/observer.config.bin").exists()

    def is_clean(self) -> bool:
        return self.identity() == "SINGLE" and self.server_pid() is None and not self.has_files()

    def scale_out(self, cluster: SixServers, zone: str = "zone1") -> Any:
        return cluster.sdk.scale_out(self.ip, self.port, zone, self.options)

    def remove_files(self) -> None:
        for name in ("etc", "store", "log"):
            shutil.rmtree(self.base_dir / name)


@pytest.fixture(scope="module")
def trio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SixServers]:
    """Three servers in three zones."""
    made = bring_up(tmp_path_factory.mktemp("trio") / "box", 3, 3)
    yield made
    take_down(made)


@pytest.fixture(scope="module")
def newcomer(trio: SixServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Spare]:
    """An agent, started once for all tests."""
    home = tmp_path_factory.mktemp("spare")
    port, sql_port, rpc_port = free_ports(3)
    node = Node(home, "zone1", sql_port, rpc_port, password=trio.password)
    spare = Spare(LOOPBACK, port, sql_port, home, node=node, password=trio.password)
    spare.start()
    yield spare
    spare.end()


@pytest.fixture
def spare(trio: SixServers, newcomer: Spare) -> Iterator[Spare]:
    """That agent, which belongs to nothing before and after a test, as the three alone belong."""
    yield newcomer
    for member in trio.members:
        member.node.faults.clear()
    trio.knobs.clear()
    assert trio.sdk.get_unfinished_dags() == []
    if newcomer.identity() != "SINGLE":
        assert ended(trio, trio.sdk.scale_in(newcomer.ip, newcomer.port)).state == "SUCCEED"
        newcomer.remove_files()
    assert newcomer.is_clean()
    assert servers(trio) == {member.server: member.zone for member in trio.members}
    eventually(trio.all_well)


def ended(cluster: SixServers, dag: Any, asked: Member | None = None) -> Any:
    """A task once it has ended, with its stages; the SDK would ask every three seconds."""
    sdk = (asked or cluster.members[0]).sdk()
    return eventually(lambda: _if_ended(sdk.get_dag(dag.generic_id)))


def _if_ended(dag: Any) -> Any:
    return dag if dag.state in ("SUCCEED", "FAILED") else None


def operated(cluster: SixServers, dag: Any, operator: str) -> Any:
    cluster.sdk.operate_dag(dag.generic_id, operator)
    return ended(cluster, dag)


def at_stage(cluster: SixServers, dag: Any, name: str, asked: Member | None = None) -> None:
    """Return once a task is at this stage."""
    sdk = (asked or cluster.members[0]).sdk()

    def is_there() -> bool:
        found = sdk.get_dag(dag.generic_id)
        return bool(found.nodes[found.stage - 1].name == name)

    eventually(is_there)


def stages(dag: Any) -> list[str]:
    return [node.name for node in dag.nodes]


def logs(dag: Any) -> str:
    return "\n".join(
        line for node in dag.nodes for task in node.sub_tasks for line in task.task_logs or []
    )


def servers(cluster: SixServers) -> dict[str, str]:
    rows = cluster.members[0].node.sql(
        "select svr_ip, svr_port, zone from oceanbase.DBA_OB_SERVERS"
    )
    return {f"{ip}:{port}": zone for ip, port, zone in rows}


def status_of(cluster: SixServers, member: Member) -> str:
    query = f"select status from oceanbase.DBA_OB_SERVERS where svr_port = {member.node.rpc_port}"
    ((status,),) = cluster.members[0].node.sql(query)
    return str(status)


def zones(cluster: SixServers) -> list[str]:
    rows = cluster.members[0].node.sql("select zone from oceanbase.DBA_OB_ZONES order by zone")
    return [zone for (zone,) in rows]


def known_to(member: Member) -> set[str]:
    return {f"{one.ip}:{one.port}" for one in member.sdk().get_ob_info().agents}


def fault(cluster: SixServers, **faults: Any) -> None:
    """Whichever agent is the maintainer: its server has it."""
    for member in cluster.members:
        member.node.faults.set(**faults)


def maintainer(cluster: SixServers) -> Member:
    ((port,),) = cluster.members[0].node.sql("select agent_port from ocs.maintainer")
    return next(member for member in cluster.members if member.port == port)


def kill_agent(member: Member) -> None:
    end_process(member.pid())


def refused(code: str, ask: Any, *arguments: Any, **more: Any) -> str:
    with pytest.raises(OBShellHandleError) as refusal:
        ask(*arguments, **more)
    assert refusal.value.err_code == code
    return str(refusal.value)


# --- as it should be -----------------------------------------------------------------------------


def test_a_server_comes_and_goes(trio: SixServers, spare: Spare) -> None:
    dag = trio.sdk.scale_out_sync(spare.ip, spare.port, "zone1", spare.options)
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
    assert trio.password not in str(dag.__dict__)
    local = trio.sdk.get_dag(dag.additional_data["local_dags"][spare.address])
    assert (local.name, local.state, stages(local)) == ("Local scale out", "SUCCEED", LOCAL_STAGES)
    assert servers(trio)[spare.server] == "zone1"
    assert status_of(trio, spare) == "ACTIVE"
    everybody = {member.address for member in (*trio.members, spare)}
    assert [known_to(member) for member in (*trio.members, spare)] == [everybody] * 4
    # It is a member like any other, which can be asked for anything.
    assert spare.identity() == "CLUSTER AGENT"
    stopped = ended(trio, spare.sdk().stop("SERVER", [spare.address], force=True))
    started = ended(trio, trio.sdk.start("SERVER", [spare.address]))
    assert (stopped.state, started.state) == ("SUCCEED", "SUCCEED")
    where = (spare.ip, spare.port)
    refused("OB.Server.DeleteSelf", spare.sdk().scale_in, *where)
    refused("Agent.Identify.NotSupportOperation", trio.sdk.scale_out, *where, "zone2", {})

    dag = trio.members[1].sdk().scale_in_sync(*where)
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
    assert [known_to(member) for member in trio.members] == [everybody - {spare.address}] * 3
    # What was on it is left to its owner, and in nobody's way unnoticed.
    assert spare.has_files()
    assert "remove them first" in refused("Common.IllegalArgument", spare.scale_out, trio)
    spare.remove_files()
    assert trio.sdk.scale_in_sync(*where) is None


LOCAL_STAGES = [
    "Be scaling agent",
    "Start preparations",
    "Create observer workdir",
    "Start preparations",
    "Start observer",
    "Watch cluster scale_out dag",
    "Sync from observer",
]


def test_a_zone_comes_and_goes(trio: SixServers, spare: Spare) -> None:
    dag = ended(trio, spare.scale_out(trio, "zone4"))
    assert (dag.state, dag.max_stage) == ("SUCCEED", 11), logs(dag)
    new = stages(dag)[6:8]
    assert new == ["Add new zone for scale_out", "Start new zone for scale_out"]
    assert zones(trio) == ["zone1", "zone2", "zone3", "zone4"]
    refused("OB.Zone.DeleteSelf", spare.sdk().delete_zone, "zone4")
    refused("OB.Zone.NotEmpty", trio.members[1].sdk().delete_zone, "zone3")
    trio.sql("ALTER SYSTEM STOP ZONE 'zone2'")
    why = refused("OB.Server.StoppedInMultiZone", trio.sdk.delete_zone, "zone4")
    assert "zone2 is stopped already" in why
    trio.sql("ALTER SYSTEM START ZONE 'zone2'")

    dag = trio.sdk.delete_zone_sync("zone4")
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
    assert zones(trio) == ["zone1", "zone2", "zone3"]
    assert spare.identity() == "SINGLE"
    spare.remove_files()
    assert trio.sdk.delete_zone_sync("zone4") is None


@pytest.mark.long
def test_a_server_is_killed_before_it_is_deleted_if_all_majorities_outlive_it(
    trio: SixServers, spare: Spare
) -> None:
    ended(trio, spare.scale_out(trio))
    dag = ended(trio, trio.sdk.scale_in(spare.ip, spare.port, force_kill=True))
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


def test_what_the_cluster_cannot_do_without_stays(trio: SixServers, spare: Spare) -> None:
    second, third = trio.members[1:]
    where = (second.ip, second.port)
    why = refused("Common.IllegalArgument", trio.sdk.scale_in, *where)
    assert "no other server that could take unit" in why
    trio.knobs.set(out_of_sync=[third.server])
    eventually(lambda: trio.sql("select 1 from oceanbase.GV$OB_LOG_STAT where in_sync = 'NO'"))
    why = refused("OB.Cluster.MultiPaxosNotAlive", trio.sdk.scale_in, *where, force_kill=True)
    assert "tenant sys (LS 1)" in why
    port = {"mysql_port": str(second.sql_port)}
    why = refused("Common.IllegalArgument", trio.sdk.scale_out, spare.ip, spare.port, "zone1", port)
    assert f"server {second.server} has port {second.sql_port}" in why
    same = {**port, "rpc_port": str(second.node.rpc_port)}
    refused("Agent.AlreadyExists", trio.sdk.scale_out, spare.ip, spare.port, "zone1", same)


@pytest.mark.long
def test_it_is_done_from_the_command_line(trio: SixServers, spare: Spare) -> None:
    member, agent = trio.members[0], spare.address
    place = ("--base-dir", str(spare.base_dir), "-s", member.address, "-z", "zone1")
    ports = ("-p", str(spare.sql_port), "-P", str(spare.node.rpc_port))
    told = obshell("scale-out", *place, *ports, "-y", password=trio.password)
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


def test_a_scale_out_that_failed_is_retried(trio: SixServers, spare: Spare) -> None:
    fault(trio, fail=ADD, errno=4179)
    dag = ended(trio, spare.scale_out(trio))
    assert (dag.state, stages(dag)[dag.stage - 1]) == ("FAILED", "Add server for scale_out")
    assert "4179" in logs(dag)
    fault(trio)
    dag = operated(trio, dag, "RETRY")
    assert dag.state == "SUCCEED", logs(dag)
    assert status_of(trio, spare) == "ACTIVE"


def test_a_scale_out_that_failed_is_rolled_back(trio: SixServers, spare: Spare) -> None:
    fault(trio, fail=ADD, errno=4179)
    dag = ended(trio, spare.scale_out(trio, "zone4"))
    assert dag.state == "FAILED"
    assert zones(trio) == ["zone1", "zone2", "zone3", "zone4"]
    dag = operated(trio, dag, "ROLLBACK")
    assert (dag.state, dag.operator, dag.stage) == ("SUCCEED", "ROLLBACK", 1), logs(dag)
    assert zones(trio) == ["zone1", "zone2", "zone3"]
    assert spare.is_clean()


@pytest.mark.long
def test_what_was_nearly_done_is_undone_as_well(trio: SixServers, spare: Spare) -> None:
    trio.knobs.set(service_s=600.0)
    dag = spare.scale_out(trio, "zone4")
    at_stage(trio, dag, "Check cluster scale_out whether finished")
    everybody = {member.address for member in (*trio.members, spare)}
    eventually(lambda: known_to(trio.members[2]) == everybody)
    assert operated(trio, dag, "CANCEL").state == "FAILED"
    dag = operated(trio, dag, "ROLLBACK")
    assert (dag.state, dag.stage) == ("SUCCEED", 1), logs(dag)
    assert zones(trio) == ["zone1", "zone2", "zone3"]
    assert [known_to(one) for one in trio.members] == [everybody - {spare.address}] * 3
    assert spare.is_clean()


def test_a_scale_in_that_never_ends_is_cancelled_and_the_server_stays(
    trio: SixServers, spare: Spare
) -> None:
    ended(trio, spare.scale_out(trio))
    trio.knobs.set(delete_never=True)
    dag = trio.sdk.scale_in(spare.ip, spare.port)
    at_stage(trio, dag, "Wait delete observer success")
    eventually(lambda: status_of(trio, spare) == "DELETING")
    assert spare.identity() == "SCALING IN"
    dag = operated(trio, dag, "CANCEL")
    assert (dag.state, dag.operator) == ("FAILED", "CANCEL")
    assert status_of(trio, spare) == "ACTIVE"
    dag = operated(trio, dag, "ROLLBACK")
    assert (dag.state, dag.stage) == ("SUCCEED", 1), logs(dag)
    assert spare.identity() == "CLUSTER AGENT"
    assert spare.server_pid() is not None


# --- those who die in the middle ------------------------------------------------------------------


@pytest.mark.long
def test_a_scale_out_survives_its_maintainer(trio: SixServers, spare: Spare) -> None:
    fault(trio, hang=ADD)
    dag = spare.scale_out(trio)
    at_stage(trio, dag, "Add server for scale_out")
    lost = maintainer(trio)
    kill_agent(lost)
    fault(trio)
    asked = next(member for member in trio.members if member is not lost)
    dag = ended(trio, dag, asked)
    lost.start()
    assert dag.state == "SUCCEED", logs(dag)
    assert status_of(trio, spare) == "ACTIVE"
    eventually(lambda: spare.address in known_to(lost))


@pytest.mark.long
def test_a_scale_in_survives_its_maintainers(trio: SixServers, spare: Spare) -> None:
    """The first is the one that is to go, the second is killed."""
    ended(trio, spare.scale_out(trio))
    make_maintainer(trio, spare)
    trio.knobs.set(delete_never=True)
    dag = trio.sdk.scale_in(spare.ip, spare.port)
    at_stage(trio, dag, "Wait delete observer success")
    eventually(lambda: status_of(trio, spare) == "DELETING")
    lost = maintainer(trio)
    assert lost is not spare
    kill_agent(lost)
    trio.knobs.clear()
    asked = next(member for member in trio.members if member is not lost)
    dag = ended(trio, dag, asked)
    lost.start()
    assert dag.state == "SUCCEED", logs(dag)
    assert spare.identity() == "SINGLE"
    spare.remove_files()
    eventually(lambda: spare.address not in known_to(lost))


def make_maintainer(cluster: SixServers, member: Member) -> None:
    """Have an agent win the lease."""
    named = f"agent_ip = '{member.ip}', agent_port = {member.port}"
    longer = "expires = utc_timestamp(6) + interval 3 second"
    ((epoch,),) = cluster.sql("select epoch from ocs.maintainer")
    cluster.sql(f"update ocs.maintainer set {named}, {longer}, epoch = epoch + 1")
    won = f"select 1 from ocs.maintainer where epoch = {epoch + 2} and {named.replace(',', ' and')}"
    eventually(lambda: cluster.sql(won))


@pytest.mark.long
def test_an_agent_that_is_lost_undoes_its_part_when_it_is_back(
    trio: SixServers, spare: Spare
) -> None:
    fault(trio, fail=ADD, errno=4179)
    dag = ended(trio, spare.scale_out(trio))
    assert dag.state == "FAILED"
    kill_agent(spare)
    dag = operated(trio, dag, "ROLLBACK")
    assert (dag.state, dag.stage) == ("SUCCEED", 1)
    assert "is to undo its part when it comes back" in logs(dag)
    spare.start()
    eventually(spare.is_clean)


@pytest.mark.long
def test_an_agent_that_was_down_when_it_was_removed_parts_when_it_is_back(
    trio: SixServers, spare: Spare
) -> None:
    ended(trio, spare.scale_out(trio))
    kill_agent(spare)
    dag = ended(trio, trio.sdk.scale_in(spare.ip, spare.port))
    assert dag.state == "SUCCEED", logs(dag)
    assert "is to end its server when it comes back" in logs(dag)
    assert spare.server_pid() is not None
    spare.start()
    eventually(lambda: spare.identity() == "SINGLE")
    assert spare.server_pid() is None
    spare.remove_files()
