"""What was given up for another operation does not come true afterwards."""

from __future__ import annotations

import pytest

from support.observer_clusters import SixServers
from support.restarting import Restart, last_logs
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


@pytest.mark.long
@pytest.mark.parametrize(
    ("hanging", "stage"),
    [("STANDIN_LOG_STAT|LOG_STAT", "Check before restart of zone2"), ("STOP ZONE", "Stop zone2")],
)
def test_a_rolling_restart_that_hangs_and_is_given_up_touches_nothing_in_the_end(
    cluster: SixServers, hanging: str, stage: str
) -> None:
    first, second, *_ = cluster.members
    before = cluster.pids()
    first.node.faults.set(hang=hanging)
    restart = Restart(first)
    eventually(lambda: restart.stage() == stage)
    second.start_servers("GLOBAL", [], force_pass_dag=[restart.id])
    dag = restart.ended()
    assert dag["state"] == "FAILED"
    *_, advice, error = last_logs(dag)
    assert advice.endswith("It has been given up: begin a new one")
    assert "released by forcePassDag" in error
    assert cluster.pids() == before
    assert cluster.stopped() == (set(), set())
