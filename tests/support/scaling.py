"""What tests of a cluster that grows and shrinks ask and do."""

from __future__ import annotations

import shutil
from typing import Any

import pytest
from obshell.service.client_v1 import OBShellHandleError

from standin.control import OBSERVER
from support.observer_clusters import Member, SixServers
from support.running import end_process
from support.standin_clusters import eventually

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
