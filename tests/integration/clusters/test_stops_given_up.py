"""What was given up for another operation does not come true afterwards."""

from __future__ import annotations

import pytest

from support.observer_clusters import SixServers
from support.running import stage_logs
from support.standin_clusters import eventually


@pytest.mark.long
def test_a_stop_that_hangs_and_is_given_up_for_a_start_stops_nothing_in_the_end(
    cluster: SixServers,
) -> None:
    first, second, *_ = cluster.members
    first.node.faults.set(hang="STANDIN_LOG_STAT|LOG_STAT")
    hanging = first.sdk().stop("ZONE", ["zone3"])
    eventually(lambda: second.sdk().get_dag(hanging.generic_id).stage == 5)
    second.start_servers("ZONE", ["zone3"], force_pass_dag=[hanging.generic_id])
    eventually(lambda: second.sdk().get_dag(hanging.generic_id).state == "FAILED")
    dag = second.sdk().get_dag(hanging.generic_id)
    assert "released by forcePassDag" in stage_logs(dag.nodes[4])
    assert cluster.stopped() == (set(), set())


@pytest.mark.long
def test_a_start_that_hangs_and_is_given_up_for_a_stop_starts_nothing_in_the_end(
    cluster: SixServers,
) -> None:
    first, second, *_ = cluster.members
    cluster.stop("ZONE", ["zone3"])
    first.node.faults.set(hang="START ZONE")
    hanging = first.sdk().start("ZONE", ["zone3"])
    eventually(lambda: second.sdk().get_dag(hanging.generic_id).stage == 5)
    second.stop_servers("ZONE", ["zone3"], force_pass_dag=[hanging.generic_id])
    eventually(lambda: second.sdk().get_dag(hanging.generic_id).state == "FAILED")
    dag = second.sdk().get_dag(hanging.generic_id)
    assert "released by forcePassDag" in stage_logs(dag.nodes[4])
    assert cluster.stopped() == (set(), {"zone3"})
