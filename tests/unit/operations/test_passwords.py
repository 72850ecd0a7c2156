"""A password that was changed in the database, and the agents of a cluster."""

from __future__ import annotations

import pytest

from pyobshell.security.verify import Passwords
from support.agents import ROOT_PASSWORD

pytestmark = pytest.mark.anyio
TASKS = "/task/dag/unfinish"


async def test_who_notices_a_new_password_tells_those_whose_servers_share_it(hosts):
    async with hosts.serving(3, passwords=Passwords(root=ROOT_PASSWORD)) as (first, second, third):
        first.engine.password = second.engine.password = "changed"
        assert (await first.api.get(TASKS, password="changed")).status == 200
        tried = second.engine.deeds.count("login")
        assert tried == 1
        assert (await second.api.get(TASKS, password="changed")).status == 200
        assert second.engine.deeds.count("login") == tried
        assert third.engine.used_password != "changed"
        assert (await third.api.get(TASKS, password=ROOT_PASSWORD)).status == 200
