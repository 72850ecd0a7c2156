"""A cluster is made although its agents die on the way."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from support.running import PASSWORD, RunningAgent, end_process, logs, running_agents
from support.standin_clusters import eventually


@pytest.mark.long
def test_agents_that_die_while_servers_are_started_finish_it() -> None:
    """The leading one knows the password that is to be, and its server does not have it yet."""
    with running_agents(2) as agents:
        sdk = agents[0].sdk()
        for number, agent in enumerate(agents, start=1):
            sdk.join_sync(agent.ip, agent.port, f"zone{number}")
            options = {"mysql_port": str(agent.sql_port)}
            sdk.config_observer_sync(options, "SERVER", [agent.address])
        sdk.config_obcluster_sync("test", 7, PASSWORD)
        dag_id = sdk.init().generic_id
        eventually(lambda: sdk.get_dag(dag_id).stage == 3)
        for agent in agents:
            end_process(agent.pid())
        with ThreadPoolExecutor(2) as starting:
            list(starting.map(RunningAgent.start, agents))
        eventually(lambda: sdk.get_dag(dag_id).state in ("SUCCEED", "FAILED"))
        dag = sdk.get_dag(dag_id)
        assert dag.state == "SUCCEED", logs(dag)
        for agent in agents:
            assert agent.sql("select 1") == ((1,),)
            assert agent.sdk().get_status().ob_state == 3
