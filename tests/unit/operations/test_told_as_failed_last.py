"""What `obshell task show` tells of stops that met each other, from the agents' own records."""

from __future__ import annotations

import pytest

from pyobshell import errors
from pyobshell.cli.failed import failed_last
from pyobshell.cli.place import Place
from pyobshell.client import Client
from support.agents import ROOT_PASSWORD
from support.undertakings import FORCE_ALL, servers, stop, wait_end

pytestmark = pytest.mark.anyio


async def told(host):
    """The id of the task that is told of; "" if none is."""
    async with Client(host.address, ROOT_PASSWORD) as client:
        lines = await failed_last(client, Place(address=host.address))
    return lines[0].split(",")[0].split()[-1] if lines else ""


async def test_it_is_what_failed_after_all_others_until_a_later_order_has_succeeded(cluster):
    first, second, third = cluster
    gate = third.engine.hold("kill")
    third.engine.failures["kill"] = errors.SERVER_PROCESS_CHECK_FAILED(reason="foreign")
    asked = await first.api.post("/ob/stop", {"scope": servers(third), "force": True})
    await gate.reached()
    blocked = await stop(second, servers(second), force=True)
    assert blocked["state"] == "FAILED"
    assert await told(first) == blocked["id"]
    gate.open()
    earlier = await wait_end(first, asked.data["id"])
    assert earlier["state"] == "FAILED"
    assert await told(second) == earlier["id"]
    third.engine.failures.clear()
    assert (await stop(second, FORCE_ALL["scope"], force=True))["state"] == "SUCCEED"
    assert await told(first) == ""
