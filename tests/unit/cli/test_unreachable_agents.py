"""What is shown when agents cannot be asked: who they are, and nothing that is not known."""

from __future__ import annotations

import json
import socket

import pytest

from pyobshell.address import Address
from pyobshell.cli import agent
from pyobshell.client import ApiError, Client
from pyobshell.wire import (
    AgentInstance,
    AuditTrail,
    DagsOfAgents,
    ObclusterInfo,
    ObInfo,
    ServerInfo,
    UnreachableAgent,
)

HOSTS = ("10.0.0.1", "10.0.0.2")
LOST = UnreachableAgent(agent="10.0.0.2:2886", message="it was paused")
WARNING = "WARNING: 10.0.0.2:2886 is left out: it was paused\n"


@pytest.fixture
def answering(monkeypatch):
    """Have the agent answer what is given, by the name of the client's method."""
    monkeypatch.setenv("OB_ROOT_PASSWORD", "secret")

    def answer(**answers):
        for name, found in answers.items():

            async def told(self, *_, found=found, **__):
                return found

            monkeypatch.setattr(Client, name, told)

    return answer


def a_server(ip: str, status: str) -> ServerInfo:
    return ServerInfo(
        svr_ip=ip,
        svr_port=2882,
        sql_port=2881,
        agent_port=2886,
        with_rootserver="NO",
        status=status,
        build_version="1.3.0.0",
    )


def test_a_server_whose_agent_was_not_reached_is_shown_as_unknown(answering, obshell):
    agents = [
        AgentInstance(ip=ip, port=2886, zone=f"zone{n}", identity="CLUSTER AGENT", version="4.5")
        for n, ip in enumerate(HOSTS, start=1)
    ]
    states = zip(HOSTS, ("ACTIVE", "INACTIVE"), strict=True)
    topology = {f"zone{n}": [a_server(*one)] for n, one in enumerate(states, start=1)}
    cluster = ObclusterInfo(id=1, name="shop", version="1.3", topology=topology)
    answering(ob_info=ObInfo(agent_info=agents, obcluster_info=cluster, unreachable=[LOST]))
    code, out, err = obshell("cluster", "show", "--host", "10.0.0.1:2886")
    shown = [line.split() for line in out.splitlines() if line.startswith("zone")]
    assert (code, err, [row[4] for row in shown]) == (0, WARNING, ["ACTIVE", "UNKNOWN"])


@pytest.mark.parametrize("words", [(), ("--json",)])
def test_tasks_of_agents_that_were_not_reached_are_said_to_be_missing(answering, obshell, words):
    none = DagsOfAgents(contents=[], unreachable=[LOST])
    nothing = AuditTrail(contents=[], unreachable=[LOST])
    answering(main_dags=none, unfinished=none, audit=nothing)
    code, out, err = obshell("task", "show", "--host", "10.0.0.1:2886", *words)
    assert (code, err) == (0, WARNING)
    if words:
        assert json.loads(out) == {"contents": [], "unreachable": [LOST.model_dump()]}


@pytest.mark.parametrize("verb", ["show", "watch", "cancel", "retry", "pass", "rollback"])
def test_of_a_task_whose_own_agent_is_out_of_reach_two_ways_out_are_named(
    monkeypatch, obshell, verb
):
    async def refuse(self, task_id, **_):
        raise ApiError(500, "Agent.RPC.RequestFailed", "Agent 10.0.0.2:2886 cannot be reached")

    monkeypatch.setenv("OB_ROOT_PASSWORD", "secret")
    monkeypatch.setattr(Client, "dag", refuse)
    code, _, err = obshell("task", verb, "-i", "2277", "--host", "10.0.0.1:2886")
    assert code == 3
    assert "Agent 10.0.0.2:2886 cannot be reached" in err
    assert "obshell agent start" in err
    assert "--force-pass-dag 2277" in err


def test_an_agent_that_gives_no_answer_is_not_waited_for_long(obshell, tmp_path, monkeypatch):
    monkeypatch.setattr(agent, "_PATIENCE_S", 0.1)
    (tmp_path / "run").mkdir()
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "run/obshell.sock"))
        silent.listen()
        code, _, err = obshell("agent", "status", "--base-dir", str(tmp_path))
    assert code == 4
    assert "it gives no answer" in err
    assert err.endswith(f"obshell agent doctor --base-dir {tmp_path}\n")


def test_the_same_goes_for_another_host(obshell, monkeypatch):
    monkeypatch.setattr(agent, "_PATIENCE_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = Address("127.0.0.1", silent.getsockname()[1])
        code, _, err = obshell("agent", "status", "--host", str(address))
    assert (code, "it gives no answer" in err) == (4, True)
