"""An agent gets a new key: whoever knew it by the old one goes on, and nothing is interrupted."""

from __future__ import annotations

import asyncio
import base64
import json
import time

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from obshell import ClientSet
from obshell.auth import PasswordAuth
from obshell.service.client_v1 import OBShellHandleError

from pyobshell import errors
from pyobshell.client import Client
from pyobshell.cluster.model import Identity
from pyobshell.cluster.peers import Peers
from pyobshell.deadline import Deadline
from pyobshell.errors import OBShellError
from pyobshell.operations import invited, release, rotation
from pyobshell.operations.invited import Invitation, Knock
from pyobshell.operations.release import MainDag
from pyobshell.security import keyring
from pyobshell.security.keyring import Keyring, Succession, life_of, write_successions
from pyobshell.security.keys import PrivateKey
from pyobshell.security.peer import make_hello
from pyobshell.security.proof import prove
from pyobshell.security.turns import Sender
from pyobshell.security.verify import Passwords
from support.agents import ROOT_PASSWORD, SERVER, a_member, free_address
from support.asking import AGENT_HEADER
from support.listening import listen, listening
from support.rotations import (
    BODY,
    FOLLOWER,
    KNOWN,
    MASTER,
    MEMBER,
    PATH,
    ask,
    key_of,
    made_before,
    pair,
    rotate,
    two_members,
)
from support.undertakings import a_stop_that_hangs, locked, logs_of, servers, wait_end
from support.waiting import PATIENCE_S, Gate, soon

__all__ = ["listen", "made_before", "pair", "two_members"]
pytestmark = pytest.mark.anyio


# --- agents --------------------------------------------------------------------------------------


async def test_the_others_are_told_and_speak_with_it_in_both_directions(pair, keys):
    first, second = pair
    await ask(first, second)
    await ask(second, first)
    for key in (await rotate(first), await rotate(first)):
        assert key == {**key, "key_bits": 2048, "unreachable": []}
    assert len({one.public_text for one in (keys[0], first.site.key)}) == 2
    for host in pair:
        assert key_of(host, first) == key["public_key"] == first.site.key.public_text
    await ask(first, second)
    await ask(second, first)
    assert (await first.api.get("/ob/agents")).status == 200


async def test_who_was_down_learns_it_whoever_speaks_first(hosts, listen, keys):
    own, other = free_address(), free_address()
    members = [a_member(own, keys[0], "zone1"), a_member(other, keys[1], "zone2")]
    first = await listen(0, MEMBER, members, KNOWN, own)
    told = await rotate(first)
    (late,) = told["unreachable"]
    assert late["agent"] == str(other)
    for speaks_first in (0, 1):
        async with listening(hosts, 1, MEMBER, members, KNOWN, other) as second:
            both = [first, second]
            await ask(both[speaks_first], both[1 - speaks_first])
            assert key_of(second, first) == first.site.key.public_text != keys[0].public_text
            await ask(both[1 - speaks_first], both[speaks_first])
        first.site.peers.forget_all()


async def test_the_old_key_and_what_it_had_signed_open_nothing_any_more(pair, keys):
    first, second = pair
    await ask(first, second)
    await ask(second, first)
    session, *_ = first.site.peers._sessions[second.address]
    inbound, *_ = second.site.peers._sessions[first.address]
    old = keys[0]  # its first: keys of tests come again
    await rotate(first)
    for host, opened in ((second, session), (first, inbound)):
        with pytest.raises(OBShellError) as unknown:
            host.site.doorway.is_members(opened.id, "server/status")
        assert unknown.value.code is errors.PEER_SESSION_UNKNOWN
    backwards = Keyring(keys[1]).successor(2048).successions[0].signature
    new = first.site.key.public_text
    claim = Succession(old=new, new=old.public_text, signature=backwards)
    _, hello = make_hello(first.address, old, second.address, keys[1].public, time.time())
    for successions in ((), first.site.keyring.successions, [claim]):
        hello["successions"] = write_successions(successions)
        with pytest.raises(OBShellError, match="another key"):
            await second.site.doorway.welcome(hello, Sender())
    assert key_of(second, first) == new


async def test_a_session_that_is_being_opened_with_the_old_key_is_not_used(pair, monkeypatch):
    first, second = pair
    peers, greet, gate, changed = first.site.peers, Peers._greet, Gate(), asyncio.Event()
    peers.forget_all()

    async def slow(self, *peer):
        opened = await greet(self, *peer)
        if self is peers and not changed.is_set():
            await gate.pass_through()
        return opened

    def forget_all():
        Peers.forget_all(peers)
        changed.set()

    monkeypatch.setattr(Peers, "_greet", slow)
    monkeypatch.setattr(peers, "forget_all", forget_all)
    asking = asyncio.create_task(ask(first, second))
    await gate.reached()
    rotating = asyncio.create_task(rotate(first))
    await soon(changed.wait())
    gate.open()
    assert (await soon(rotating))["unreachable"] == []
    await asking
    assert key_of(second, first) == first.site.keyring.public_text


async def test_nobody_takes_the_place_of_a_member_with_a_succession_of_his_own(pair, keys):
    first, second = pair
    known, evil = key_of(second, first), keys[0]
    signature = Keyring(evil).successor(2048).successions[0].signature
    claim = Succession(old=known, new=evil.public_text, signature=signature)
    _, hello = make_hello(first.address, evil, second.address, keys[1].public, time.time())
    hello["successions"] = write_successions([claim])
    with pytest.raises(OBShellError, match="another key"):
        await second.site.doorway.welcome(hello, Sender())
    assert key_of(second, first) == known


async def test_tasks_go_on_when_the_key_of_either_side_changes(pair):
    first, second = pair
    life = first.site.keyring.life
    async with a_stop_that_hangs(first, second) as task_id:
        await rotate(first)
        await rotate(second)
        assert first.site.keyring.life == life != life_of(first.site.keyring.public_text)
        (part,) = [dag for dag in await second.site.tasks.dags() if release.is_sub_dag(dag)]
        needed = await release.is_needed(second.site, part, Deadline.after(PATIENCE_S))
        assert needed
        assert await locked([first, second]) == [True, True]
    done = await wait_end(first, task_id)
    assert (done["state"], done["name"]) == ("SUCCEED", "Stop OB")
    assert await locked([first, second]) == [False, False]
    assert not any("WARNING" in line for node in done["nodes"] for line in logs_of(node))
    again = await first.api.post("/ob/start", {"scope": servers(second)})
    assert (await wait_end(first, again.data["id"]))["state"] == "SUCCEED"


async def test_a_follower_and_its_master_go_on(listen, keys):
    one, two = free_address(), free_address()
    members = [a_member(one, keys[0], "zone1", MASTER), a_member(two, keys[1], "zone2", FOLLOWER)]
    master = await listen(0, MASTER, members, KNOWN, one)
    follower = await listen(1, FOLLOWER, members, KNOWN, two)
    assert (await follower.api.get("/ob/agents")).status == 200
    for rotated in (master, follower):
        assert (await rotate(rotated))["unreachable"] == []
        answer = await follower.api.get("/ob/agents")
        assert [one["port"] for one in answer.contents] == [one.port, two.port]
    assert key_of(master, follower) == follower.site.keyring.public_text


async def test_an_agent_that_changes_its_key_while_it_is_waited_for_is_taken_in(listen, keys):
    """What it has given out for that, and what it was met with, are as good as before."""
    cluster, new = await listen(1), await listen(0, passwords=Passwords(agent="own"))
    proof = await prove("own", keys[1].public_text, keys[0].public_text)
    patience = Deadline.after(PATIENCE_S)
    peers, agent = cluster.site.peers, new.address
    found = await soon(peers.call(agent, invited.probe, Knock(proof=proof), patience))
    await rotate(new)
    peers.meet(agent, keys[0].public_text)
    invitation = Invitation(
        ticket=found.ticket,
        cluster_dag_id="17",
        cluster_id=7,
        cluster_name="test",
        members=(a_member(cluster.address, keys[1], "zone1"), found.member),
        server=SERVER,
        root_password="root's",
    )
    await soon(peers.call(agent, invited.begin, invitation, patience))
    assert new.site.cluster.view.identity is Identity.SCALING_OUT


# --- who may -------------------------------------------------------------------------------------


async def test_over_the_network_a_password_is_needed(start_host, start_member):
    single = await start_host()
    answer = await single.api.post(PATH, BODY)
    name = "Security.Authentication.AgentPasswordNotInitialized"
    assert answer.refusal == (name, 401)
    guarded = await start_host(passwords=Passwords(agent="a"))
    more = {"sealed_with": AGENT_HEADER, "password": "x"}
    refused = await guarded.api.post(PATH, BODY, **more)
    assert refused.refusal == ("Security.Authentication.IncorrectAgentPassword", 401)
    assert (await guarded.api.post(PATH, BODY, **{**more, "password": "a"})).status == 200
    member = await start_member(zones=("zone1",))
    refused = await member.api.post(PATH, BODY, password="x")
    assert refused.refusal == ("Security.Authentication.IncorrectOceanbasePassword", 401)
    assert (await member.api.post(PATH, BODY)).status == 200


@pytest.mark.parametrize("bits", [None, 512, 1024, 2047, "2048", 8192])
async def test_no_other_lengths_are_made(unchanged_single, bits):
    answer = await unchanged_single.local.post(PATH, {"key_bits": bits})
    assert answer.refusal == ("Common.BindJsonFailed", 400)


@pytest.mark.parametrize("identity", [Identity.SCALING_OUT, Identity.SCALING_IN])
async def test_an_agent_that_comes_or_goes_keeps_its_key(start_member, keys, identity):
    host = await start_member(identity)
    answer = await host.local.post(PATH, BODY)
    assert answer.refusal == ("Agent.Identify.NotSupportOperation", 400)
    assert host.site.key.public_text == keys[0].public_text


async def test_of_two_rotations_at_once_one_comes_after_the_other(start_host, keys):
    host = await start_host()
    await asyncio.gather(rotation.rotate_key(host.site, 2048), rotation.rotate_key(host.site, 2048))
    first, second = host.site.keyring.successions
    assert (first.old, first.new) == (keys[0].public_text, second.old)
    assert second.new == host.site.keyring.public_text


def _signed(ring, key):
    """The keyring with this key next."""
    signature = ring.key.sign(keyring._signed(ring.public_text, key.public_text))
    claim = {"old": ring.public_text, "new": key.public_text}
    made = Succession(**claim, signature=base64.b64encode(signature).decode())
    return Keyring(key, ring.life, (*ring.successions, made))


@pytest.mark.long
async def test_a_longer_key_serves_clients_as_well(start_member, monkeypatch):
    made = PrivateKey(rsa.generate_private_key(public_exponent=65537, key_size=3072))
    monkeypatch.setattr(Keyring, "successor", lambda ring, bits: _signed(ring, made))
    host = await start_member(zones=("zone1",))
    answer = await host.local.post(PATH, {"key_bits": 3072})
    assert answer.data["key_bits"] == 3072
    host.api._public_key = None
    assert (await host.api.get("/ob/agents")).status == 200
    assert (await host.api.public_key()).bits == 3072


# --- clients that hold the old key ---------------------------------------------------------------


async def test_the_official_sdk_recovers_by_itself(pair):
    first, _ = pair
    sdk = ClientSet(*first.address, PasswordAuth(ROOT_PASSWORD)).v1
    assert len((await asyncio.to_thread(sdk.get_ob_info)).agents) == 2
    await rotate(first)
    assert len((await asyncio.to_thread(sdk.get_ob_info)).agents) == 2
    await rotate(first)
    # It sends the request twice then, and takes the second answer.
    with pytest.raises(OBShellHandleError) as again:
        await asyncio.to_thread(sdk.set_agent_password, "new")
    assert again.value.err_code == "Security.Authentication.WithAgentPassword"
    assert first.site.cluster.passwords.agent == "new"


async def test_our_client_recovers_by_itself(pair):
    first, _ = pair
    async with Client(first.address, ROOT_PASSWORD) as client:
        assert await client.unfinished_here() == []
        await rotate(first)
        assert await client.unfinished_here() == []
        key = await client.rotate_key(2048)
        assert key.public_key == first.site.keyring.public_text
        assert await client.unfinished_here() == []


async def test_what_is_made_with_the_old_key_is_answered_with_the_code_clients_act_on(pair):
    first, _ = pair
    _, value, body = await first.api.seal(
        "X-OCS-Header", ROOT_PASSWORD, "/api/v1/agent/password", json.dumps({}).encode(), {}
    )
    await rotate(first)
    answer = await first.api.plain("POST", "/api/v1/agent/password", body, {"X-OCS-Header": value})
    assert answer.refusal == (errors.HEADER_DECRYPT_FAILED.name, 401)
    assert answer.envelope["error"]["code"] == 1


async def test_a_main_dag_is_known_by_the_life_of_its_coordinator(pair):
    first, second = pair
    unheard = MainDag(number=99, life=first.site.keyring.life)
    await rotate(first)
    call = second.site.peers.call(first.address, release.needs, unheard, Deadline.after(PATIENCE_S))
    assert (await soon(call)).needed is False
