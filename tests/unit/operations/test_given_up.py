"""A task whose agents were released by somebody else has been given up, and does nothing more."""

from __future__ import annotations

import pytest

from pyobshell.operations import ordered
from support.fake_cluster import form_cluster
from support.undertakings import logs_of, servers, states, stop

pytestmark = pytest.mark.anyio


async def test_a_stop_that_has_not_been_given_up_asks_for_its_locks_and_goes_on(
    cluster, monkeypatch
):
    monkeypatch.setattr(ordered, "_MOMENT_S", 0.0)
    dag = await stop(cluster[0], servers(cluster[1]), force=True)
    assert dag["state"] == "SUCCEED"
    assert await states(cluster) == [3, 0, 3]


async def test_what_is_asked_for_long_ago_is_not_stopped_in_sql(cluster, monkeypatch):
    ob = form_cluster(cluster, ("zone1", "zone2", "zone3"))
    monkeypatch.setattr("pyobshell.operations.in_sql.FRESH_S", -1.0)
    dag = await stop(cluster[0], servers(cluster[1]))
    for host in cluster:
        del host.engine.cluster
    assert (dag["state"], dag["stage"]) == ("FAILED", 5)
    assert "came to it only after" in logs_of(dag["nodes"][4])[-1]
    assert ob.deeds == []
