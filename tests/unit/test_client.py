"""The typed client, where it is not tested by what uses it."""

from __future__ import annotations

import uvicorn

from pyobshell.client import client


def test_a_connection_is_let_go_before_the_agent_closes_it():
    agents = uvicorn.Config(lambda: None)
    assert agents.timeout_keep_alive > 2 * client.IDLE_S
