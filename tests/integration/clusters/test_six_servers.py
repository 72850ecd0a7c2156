"""The cluster that the tests of this folder share."""

from __future__ import annotations

from support.observer_clusters import SixServers


def test_all_is_well_and_what_went_wrong_is_mended(cluster: SixServers) -> None:
    assert cluster.all_well()
    victim, stopped = cluster.members[1], cluster.members[2]
    victim.sdk().stop_sync("SERVER", [victim.address], force=True)
    cluster.sql("ALTER SYSTEM STOP ZONE 'zone2'")
    cluster.sql(f"ALTER SYSTEM ISOLATE SERVER '{stopped.server}'")
    cluster.knobs.set(resync_s=60.0)
    assert not cluster.all_well()
    cluster.restore()
    assert cluster.all_well()
