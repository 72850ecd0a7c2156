"""Which servers a stop that could not flush says are flushed."""

from __future__ import annotations

import pytest

from pyobshell import errors
from pyobshell.cluster.model import Identity
from pyobshell.security.verify import Passwords
from support.agents import ROOT_PASSWORD, a_member, a_view, free_address
from support.undertakings import logs_of, wait_end

pytestmark = pytest.mark.anyio


async def test_an_agent_that_was_out_of_reach_is_named_as_that_and_not_as_flushed(hosts, keys):
    own, other, lost = (free_address() for _ in range(3))
    members = [a_member(one, keys[n], f"zone{n + 1}") for n, one in enumerate((own, other, lost))]
    member, passwords = Identity.CLUSTER_AGENT, Passwords(root=ROOT_PASSWORD)
    async with (
        hosts.serve(a_view(own, member, members), keys[0], passwords) as host,
        hosts.serve(a_view(other, member, members), keys[1], passwords) as fellow,
    ):
        fellow.engine.failures["minor_freeze"] = errors.SERVER_UNAVAILABLE(reason="it hangs")
        order = {"scope": {"type": "GLOBAL"}, "terminate": True}
        asked = await host.local.post("/ob/stop", order)
        dag = await wait_end(host, asked.data["id"])
    assert (dag["state"], dag["stage"]) == ("FAILED", 3)
    last = logs_of(dag["nodes"][2])[-1]
    assert last.endswith(f"No server was killed; not flushed: {other}; flushed: {own}")
    assert f"{lost}: Agent {lost} cannot be reached" in last
    assert "kill" not in host.engine.deeds + fellow.engine.deeds
