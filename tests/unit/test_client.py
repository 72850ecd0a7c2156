"""The typed client, where it is not tested by what uses it."""

from __future__ import annotations

import pytest

from pyobshell import agent
from pyobshell.client import transport
from pyobshell.cluster import peers


@pytest.mark.parametrize("kept_s", [transport.IDLE_S, peers._KEEPALIVE_S])
def test_a_connection_is_let_go_before_the_agent_closes_it(kept_s):
    assert kept_s + 10 <= agent._KEEP_ALIVE_S
