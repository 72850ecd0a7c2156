"""Agents that come to a cluster which was deployed without them, or have lost their files."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pyobshell.cli.outcome import Exit
from standin.control import OBSERVER
from support.running import RunningAgent
from support.standin_clusters import Cluster, Node, eventually, free_ports, start_all

PASSWORD = "root's own"
AGENT_FILES = (".obshell", "run/obshell.pid", "run/obshell.sock", "log_obshell")


class Beside(RunningAgent):
    """An agent in the home of a server that it has not deployed."""

    def take_over(self, password: str = PASSWORD, exit_code: int = 0) -> str:
        options = ("--port", str(self.port), "--observer", str(OBSERVER))
        done = self.command("start", *options, password=password)
        assert done.returncode == exit_code, done.stderr
        return done.stderr

    def identity(self) -> str:
        return str(self.sdk(PASSWORD).get_status().agent.identity)

    def is_member(self) -> bool:
        return self.identity() == "CLUSTER AGENT"

    def lose_its_files(self) -> None:
        """As when its disk was replaced; the server goes on."""
        assert self.command("stop").returncode == 0
        for name in AGENT_FILES:
            file = self.base_dir / name
            if file.is_dir():
                shutil.rmtree(file)
            else:
                file.unlink(missing_ok=True)

    def end(self) -> None:
        self.command("stop")


@pytest.fixture(scope="module")
def deployed(tmp_path_factory):
    """Three servers in three zones that nobody looks after, with a password of root."""
    cluster = Cluster(tmp_path_factory.mktemp("t"), cluster_id=11)
    for zone in ("zone1", "zone2", "zone3"):
        cluster.add(zone)
    start_all(cluster.nodes)
    cluster.bootstrap()
    eventually(cluster.all_well)
    first = cluster.nodes[0]
    first.sql(f'ALTER USER root IDENTIFIED BY "{PASSWORD}"')
    for node in cluster.nodes:
        node.password = PASSWORD
    yield cluster
    cluster.destroy()


@pytest.fixture(scope="module")
def agents(deployed):
    beside = [agent_beside(node) for node in deployed.nodes]
    yield beside
    for agent in beside:
        agent.end()


@pytest.fixture
def members(agents):
    """The agents, all of which have taken the cluster over."""
    for agent in agents:
        if not agent.agent_runs():
            agent.take_over()
    eventually(lambda: all(agent.is_member() for agent in agents))
    return agents


def agent_beside(node: Node) -> Beside:
    return Beside("127.0.0.1", free_ports(1)[0], node.sql_port, node.home)


@pytest.mark.long
def test_a_wrong_password_is_refused(agents):
    said = agents[0].take_over("wrong", exit_code=Exit.ROOT_PASSWORD)
    assert "not accepted" in said
    assert "wrong" not in said.replace("Wrong", "")


@pytest.mark.long
def test_an_agent_without_the_password_says_what_it_needs(agents):
    options = ("--port", str(agents[0].port), "--observer", str(OBSERVER))
    started = agents[0].command("start", *options)
    told = agents[0].command("status").stdout
    shown = agents[0].command("show", of="cluster").stdout
    agents[0].end()
    assert "to take it over restart the agent with the password of root@sys" in started.stdout
    assert "UNIDENTIFIED: there is a server of a cluster here" in told
    assert "UNIDENTIFIED" in shown


@pytest.mark.long
def test_the_last_agent_that_comes_makes_members_of_all(agents):
    for agent in agents[:2]:
        agent.take_over()
        eventually(lambda agent=agent: agent.identity() == "TAKE OVER FOLLOWER")
    agents[2].take_over()
    eventually(lambda: all(agent.is_member() for agent in agents))
    info = agents[0].sdk(PASSWORD).get_ob_info()
    assert info.cluster.cluster_id == 11
    assert {agent.identity for agent in info.agents} == {"CLUSTER AGENT"}
    dag = agents[2].sdk(PASSWORD).get_agent_last_maintenance_dag()
    assert (dag.name, dag.state) == ("Take over", "SUCCEED")


@pytest.mark.long
def test_a_cluster_that_was_taken_over_is_stopped_and_started(members, deployed):
    sdk = members[1].sdk(PASSWORD)
    dag = sdk.stop_sync("SERVER", [members[2].address], force=True)
    assert dag.state == "SUCCEED"
    assert not deployed.nodes[2].runs()
    assert sdk.start_sync("SERVER", [members[2].address]).state == "SUCCEED"
    assert deployed.nodes[2].runs()


@pytest.mark.long
def test_an_agent_that_lost_its_files_is_rebuilt_from_the_cluster(members, deployed):
    before = deployed.nodes[0].pid
    members[0].lose_its_files()
    members[0].take_over()
    eventually(members[0].is_member)
    assert deployed.nodes[0].pid == before
    dag = members[0].sdk(PASSWORD).get_agent_last_maintenance_dag()
    assert (dag.name, dag.state) == ("Rebuild CLUSTER AGENT", "SUCCEED")
    # The others know its new key, and it can lead them.
    dag = members[0].sdk(PASSWORD).stop_sync("SERVER", [members[1].address], force=True)
    assert dag.state == "SUCCEED"
    dag = members[1].sdk(PASSWORD).start_sync("SERVER", [members[1].address])
    assert dag.state == "SUCCEED"


@pytest.mark.long
def test_an_agent_told_not_to_take_over_is_a_member_of_nothing(members):
    members[0].lose_its_files()
    options = ("--port", str(members[0].port), "--observer", str(OBSERVER), "--takeover", "0")
    assert members[0].command("start", *options).returncode == 0
    assert members[0].identity() == "SINGLE"
    assert Path(members[0].base_dir, "etc/observer.config.bin").exists()


@pytest.mark.long
def test_a_server_whose_agent_never_comes_is_waited_for_until_it_leaves_the_cluster(
    agents, deployed
):
    for agent in agents:
        agent.lose_its_files()
    asked, *_, alone = [*deployed.nodes, deployed.add("zone1")]
    asked.sql("DROP DATABASE IF EXISTS ocs")
    alone.start()
    asked.sql(f"ALTER SYSTEM ADD SERVER '{alone.address}' ZONE 'zone1'")
    for agent in agents:
        agent.take_over()
    eventually(lambda: {agent.identity() for agent in agents} == {"TAKE OVER FOLLOWER"})
    asked.sql(f"ALTER SYSTEM DELETE SERVER '{alone.address}'")
    eventually(lambda: all(agent.is_member() for agent in agents), patience_s=60)
