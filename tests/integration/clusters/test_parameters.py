"""The parameters of a cluster, as the official SDK lists and sets them."""

from __future__ import annotations

import subprocess

import pytest
from obshell.model.ob import SetClusterParametersParam
from obshell.service.client_v1 import OBShellHandleError

from support.observer_clusters import SixServers
from support.running import OBSHELL


def values(cluster: SixServers, name: str) -> dict[str, str]:
    """The value on each server, as the cluster itself tells it."""
    rows = cluster.sql(
        f"select svr_ip, svr_port, value from oceanbase.GV$OB_PARAMETERS where name = '{name}'"
    )
    return {f"{ip}:{port}": value for ip, port, value in rows}


def test_parameters_are_listed_and_set_where_it_is_said(cluster: SixServers) -> None:
    listed = {one.name: one for one in cluster.sdk.list_cluster_parameters()}
    assert not [name for name in listed if name.startswith("_")]
    assert len(listed["cpu_count"].server_value) == 6
    assert [one.tenant_name for one in listed["undo_retention"].tenant_value] == ["sys"]
    assert listed["cluster"].is_single_value

    odd = 'it\'s \\ "%s"'
    one, two = cluster.members[:2]
    cluster.sdk.set_cluster_parameters(
        [
            SetClusterParametersParam("cpu_count", "16", "CLUSTER"),
            SetClusterParametersParam("cpu_count", "17", "CLUSTER", {"zones": [one.zone]}),
            SetClusterParametersParam("cpu_count", "18", "CLUSTER", {"servers": [two.server]}),
            SetClusterParametersParam("undo_retention", "77", "TENANT", {"tenants": ["sys"]}),
            SetClusterParametersParam("enable_rebalance", odd, "CLUSTER"),
        ]
    )
    assert values(cluster, "cpu_count") == {
        member.server: "17" if member.zone == one.zone else "18" if member is two else "16"
        for member in cluster.members
    }
    assert set(values(cluster, "undo_retention").values()) == {"77"}
    assert set(values(cluster, "enable_rebalance").values()) == {odd}


def test_any_agent_sets_them_also_while_its_own_server_is_down(cluster: SixServers) -> None:
    victim = cluster.members[4]
    victim.sdk().stop_sync("SERVER", [victim.address], force=True)
    param = SetClusterParametersParam("cpu_count", "23", "CLUSTER")
    assert victim.sdk().set_cluster_parameters([param]) is True
    assert set(values(cluster, "cpu_count").values()) == {"23"}
    assert len(victim.sdk().list_cluster_parameters()) > 10


def test_what_cannot_be_set_changes_nothing(six: SixServers) -> None:
    before = values(six, "memory_limit")
    good = SetClusterParametersParam("memory_limit", "7G", "CLUSTER")
    for name, scope, data, why in (
        ("cpu_count", "CLUSTER", {"zones": ["zone9"]}, "the cluster has no zone9"),
        ("cpu_count; drop", "CLUSTER", {}, "no parameter"),
        ("data_dir", "CLUSTER", {}, "read-only"),
        ("cpu_count", "TENANT", {}, "of scope CLUSTER"),
    ):
        bad = SetClusterParametersParam(name, "1", scope, data)
        with pytest.raises(OBShellHandleError, match=why):
            six.sdk.set_cluster_parameters([good, bad])
    assert values(six, "memory_limit") == before


def test_the_command_line_shows_where_values_differ(six: SixServers) -> None:
    one = six.members[0]

    def obshell(*words: str) -> str:
        command = [*OBSHELL, "cluster", *words, "--base-dir", str(one.node.home)]
        return subprocess.run(
            command, text=True, stdout=subprocess.PIPE, timeout=90, check=True
        ).stdout

    assert "cpu_count is 6" in obshell("set-parameter", "cpu_count", "6", "--server", one.server)
    lines = [line.split() for line in obshell("parameters", "CPU_COUN?").splitlines()[1:]]
    assert ["cpu_count", "6", one.server] in [line[:3] for line in lines]
    assert len(lines) > 1
