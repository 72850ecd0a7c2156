"""A password that was changed in the database, and the agents of a cluster."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from pyobshell.agent import Agent
from pyobshell.cluster.model import Identity
from pyobshell.security.verify import Passwords
from support.agents import ROOT_PASSWORD, a_member, a_view, free_address
from support.waiting import soon

pytestmark = pytest.mark.anyio
TASKS = "/task/dag/unfinish"


async def test_who_notices_a_new_password_tells_those_whose_servers_share_it(hosts):
    async with hosts.serving(3, passwords=Passwords(root=ROOT_PASSWORD)) as (first, second, third):
        while not all(host.engine.logins for host in (first, second, third)):
            await soon(asyncio.sleep(0.01))  # each looks at its start whether it is behind
        first.engine.password = second.engine.password = "changed"
        assert (await first.api.get(TASKS, password="changed")).status == 200
        tried = second.engine.logins
        assert tried == 2
        assert (await second.api.get(TASKS, password="changed")).status == 200
        assert second.engine.logins == tried
        assert third.engine.used_password != "changed"
        assert (await third.api.get(TASKS, password=ROOT_PASSWORD)).status == 200


async def test_an_agent_that_was_down_meanwhile_asks_the_others(hosts):
    places = [free_address() for _ in range(3)]
    members = [a_member(one, hosts.keys[n], f"zone{n + 1}") for n, one in enumerate(places)]
    members.insert(0, a_member(free_address(), hosts.keys[3], "zone4"))  # which is lost
    known = [Passwords(root=one) for one in ("older still", "changed", ROOT_PASSWORD)]

    def beside_a_changed_server(settings, make_engine):
        make_engine().password = "changed"
        return Agent(settings, make_engine)

    async with contextlib.AsyncExitStack() as stack:
        for n, address in enumerate(places):
            view = a_view(address, Identity.CLUSTER_AGENT, members)
            behind = await stack.enter_async_context(
                hosts.serve(view, hosts.keys[n], known[n], beside_a_changed_server)
            )
        while behind.engine.used_password != "changed":
            await soon(asyncio.sleep(0.01))
        logins = behind.engine.logins
        assert logins in (2, 3)  # what it knew, and what the others did: the first may learn it too
        assert (await behind.api.get(TASKS, password="changed")).status == 200
        assert behind.engine.logins == logins
