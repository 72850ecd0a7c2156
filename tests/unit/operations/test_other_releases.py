"""Agents of two releases together: what one says in its own way does not disturb the other."""

from __future__ import annotations

import pytest

from support.undertakings import logs_of, servers, stop

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("code", "arguments"),
    [
        ("Agent.Store.Unavailable", {"file": "meta.db", "cause": "no space"}),
        ("Agent.RPC.RequestFailed", {"agent": "10.0.0.1:2886"}),
    ],
)
async def test_a_bystander_that_is_lost_is_left_out_however_its_release_puts_it(
    start_member, monkeypatch, code, arguments
):
    host = await start_member()

    async def answer(*_):
        return {"error": {"code": code, "arguments": arguments, "message": "its disk is full"}}

    monkeypatch.setattr(host.site.peers, "_exchange", answer)
    dag = await stop(host, servers(host), force=True)
    assert (dag["state"], host.engine.deeds) == ("SUCCEED", ["kill"])
    warnings = [line for line in logs_of(dag["nodes"][1]) if line.startswith("WARNING")]
    assert len(warnings) == 2
    assert all("its disk is full" in line for line in warnings)
