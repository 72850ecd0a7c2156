"""An agent and its server on an IPv6 address."""

from __future__ import annotations

import pytest

from support.running import running_cluster


@pytest.mark.long
def test_a_cluster_on_ipv6_is_stopped_and_started_by_bracketed_address() -> None:
    with running_cluster(1, "::1") as cluster:
        agent = cluster.agents[0]
        dag = cluster.sdk.stop_sync("SERVER", [agent.address], force=True)
        assert dag.generic_id.startswith("3" + "0" * 38 + "1")
        assert agent.server_pid() is None
        assert cluster.sdk.start_sync("SERVER", [f"[0:0::1]:{agent.port}"]).state == "SUCCEED"
        assert agent.sql("SELECT 1") == ((1,),)
