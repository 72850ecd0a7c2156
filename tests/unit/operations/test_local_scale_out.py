"""An agent that a cluster takes in: who may do that, step by step, and all of it undone."""

from __future__ import annotations

import pytest

from pyobshell import errors
from pyobshell.cluster.model import Identity
from pyobshell.cluster.procedures import Caller
from pyobshell.deadline import Deadline
from pyobshell.errors import OBShellError
from pyobshell.operations import invited
from pyobshell.operations.invited import Fate, Invitation, Step, Undoing
from pyobshell.operations.keeper import ServerSettings
from pyobshell.operations.local_scale_out import DEPLOY, DEPLOYED, START, STARTED
from pyobshell.security.verify import Passwords
from support.agents import a_member, free_address
from support.undertakings import locked
from support.waiting import PATIENCE_S, soon

pytestmark = pytest.mark.anyio
SERVER = ServerSettings(mysql_port=2881, rpc_port=2882, zone="zone1")


class Coordinator:
    """An agent of the cluster, as the new agent sees it; ``answers`` has the key at its address."""

    def __init__(self, keys, host):
        self.member = a_member(free_address(), keys[1], "zone1")
        self.answers = self.member.public_key
        self.lines: list[str] = []
        self._host = host
        host.site.peers.ask = self._secret

    async def _secret(self, peer, path):
        assert (peer, path) == (self.member.address, "/api/v1/secret")
        return {"public_key": self.answers}

    @property
    def caller(self):
        who = (self.member.address, self.member.public_key)
        return Caller(*who, False, Deadline.after(PATIENCE_S), self.lines.append)

    def invitation(self, password=""):
        own = self._host.site.own
        return Invitation(
            ticket=self._host.site.vault.seal(password),
            cluster_dag_id="17",
            cluster_id=7,
            cluster_name="test",
            members=(self.member, a_member(own, self._host.key, "zone1")),
            server=SERVER,
            root_password="root's",
        )

    async def begin(self, password=""):
        return await invited.begin.handler(self._host.site, self.caller, self.invitation(password))

    async def advance(self, signal, until_stage):
        step = Step(cluster_dag_id="17", signal=signal, until_stage=until_stage)
        await invited.advance.handler(self._host.site, self.caller, step)

    async def undo(self):
        await invited.undo.handler(self._host.site, self.caller, Undoing(cluster_dag_id="17"))


@pytest.fixture
async def host(start_host):
    return await start_host()


@pytest.fixture
def coordinator(keys, host, monkeypatch):
    async def open_still(*_):
        return Fate(ended=False, member=False)

    monkeypatch.setattr(host.site.peers, "call_any", open_still)
    return Coordinator(keys, host)


async def test_it_is_taken_in_step_by_step_and_all_of_it_is_undone(host, coordinator):
    made = await coordinator.begin()
    assert (await coordinator.begin()).id == made.id
    view = host.site.cluster.view
    assert (view.identity, view.cluster_name) == (Identity.SCALING_OUT, "test")
    assert host.site.cluster.knows(coordinator.member.address, coordinator.member.public_key)
    assert host.site.cluster.passwords.root == "root's"
    assert await locked([host]) == [True]

    await coordinator.advance(DEPLOY, DEPLOYED)
    assert host.engine.deeds == ["check_start", "deploy"]
    await coordinator.advance(START, STARTED)
    assert host.engine.deeds == ["check_start", "deploy", "start"]
    assert any("the fake server does start" in line for line in coordinator.lines)
    assert "root's" not in "".join(coordinator.lines)

    await coordinator.undo()
    assert host.engine.deeds[3:] == ["kill", "destroy"]
    assert host.site.cluster.view.identity is Identity.SINGLE
    assert host.site.cluster.passwords.root is None
    assert not host.site.keeper.deployed
    assert await locked([host]) == [False]
    await coordinator.undo()
    assert host.engine.deeds[5:] == []


async def test_a_step_that_failed_says_why_and_is_taken_again(host, coordinator):
    await coordinator.begin()
    host.engine.failures["deploy"] = errors.ILLEGAL_ARGUMENT(name="home", reason="no room")
    with pytest.raises(OBShellError, match=r"'Create observer workdir'.*no room"):
        await coordinator.advance(DEPLOY, DEPLOYED)
    host.engine.failures.clear()
    await coordinator.advance(DEPLOY, DEPLOYED)
    assert host.site.keeper.deployed


async def test_without_its_coordinator_it_goes_back_by_itself(host, coordinator, monkeypatch):
    async def undone(members, *_):
        assert coordinator.member.address in members
        return Fate(ended=True, member=False)

    monkeypatch.setattr(invited, "_FIRST_LOOK_S", 0.05)
    await coordinator.begin()
    monkeypatch.setattr(host.site.peers, "call_any", undone)
    (dag,) = await host.site.tasks.dags()
    done = host.site.tasks.wait(
        dag.id, lambda seen: True if seen.state == "SUCCEED" else None, Deadline.after(PATIENCE_S)
    )
    await soon(done)
    assert host.site.cluster.view.identity is Identity.SINGLE


async def test_nobody_else_takes_it_in(start_host, coordinator, keys):
    coordinator.answers = keys[2].public_text
    with pytest.raises(OBShellError, match="another agent answers"):
        await coordinator.begin()
    guarded = await start_host(passwords=Passwords(agent="the agent's"))
    with pytest.raises(OBShellError, match="targetAgentPassword"):
        await Coordinator(keys, guarded).begin("another")
    await Coordinator(keys, guarded).begin("the agent's")


async def test_it_is_taken_in_by_one_cluster_at_a_time(host, coordinator):
    await coordinator.begin()
    other = coordinator.invitation().model_copy(update={"cluster_dag_id": "18"})
    with pytest.raises(OBShellError) as refused:
        await invited.begin.handler(host.site, coordinator.caller, other)
    assert refused.value.code is errors.IDENTITY_NOT_SUPPORTED
