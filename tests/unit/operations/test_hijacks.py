"""What a third party tries when agents come together, and what a removed agent tries: in vain."""

from __future__ import annotations

import json

import pytest

from pyobshell import errors
from pyobshell.cluster.model import Identity
from pyobshell.cluster.procedures import Nothing, Procedure
from pyobshell.deadline import Deadline
from pyobshell.errors import OBShellError
from pyobshell.operations import invited, join, server
from pyobshell.operations.invited import Candidate, Invitation, Knock
from pyobshell.operations.join import Admission, Application
from pyobshell.operations.keeper import ServerSettings
from pyobshell.security.backoff import FREE
from pyobshell.security.proof import is_proved, prove
from pyobshell.security.verify import Passwords
from support.agents import a_member, free_address
from support.asking import ROOT_HEADER
from support.fake_cluster import form_cluster
from support.listening import listen
from support.undertakings import logs_of, wait_end
from support.waiting import in_time, soon

__all__ = ["listen"]
pytestmark = pytest.mark.anyio

SINGLE, MASTER, FOLLOWER = Identity.SINGLE, Identity.MASTER, Identity.FOLLOWER
MEMBER = Identity.CLUSTER_AGENT
PASSWORD = "the agent's"
GUARDED = Passwords(agent=PASSWORD)
SERVER = ServerSettings(mysql_port=2881, rpc_port=2882)


async def refusal(awaited):
    with pytest.raises(OBShellError) as caught:
        await soon(awaited)
    return caught.value


def ask(host, other, procedure, request):
    """What another agent answers, or refuses, this one."""
    return host.site.peers.call(other.address, procedure, request, in_time())


async def begin_join(host, master, **more):
    body = {"agentInfo": master.wire, "zoneName": "zone2", **more}
    answer = await host.local.post("/agent/join", body)
    return await wait_end(host, answer.data["id"])


def identity_of(host):
    return host.site.cluster.view.identity


def handled_by(handler, procedure, module, monkeypatch):
    """Have agents that are started from now on answer a procedure in another way."""
    other = Procedure(procedure.name, procedure.request, procedure.response, handler, True)
    table = [other if one is procedure else one for one in module.PROCEDURES]
    monkeypatch.setattr(module, "PROCEDURES", tuple(table))


# --- the proof -----------------------------------------------------------------------------------


async def test_a_proof_is_for_one_prover_and_one_verifier(keys):
    first, second, third = (keys[n].public_text for n in range(3))
    proof = await prove(PASSWORD, first, second)
    assert await is_proved(proof, PASSWORD, first, second)
    assert PASSWORD not in proof
    for password, prover, verifier in [
        ("another", first, second),
        (PASSWORD, second, first),
        (PASSWORD, third, second),
        (PASSWORD, first, third),
    ]:
        assert not await is_proved(proof, password, prover, verifier)


# --- a third party in the place of the master ----------------------------------------------------


async def test_who_answers_in_the_place_of_a_master_learns_no_password_and_gets_no_say(
    listen, keys, monkeypatch
):
    heard = []

    async def mirrored(site, caller, application):
        heard.append(application.proof)
        return Admission(proof=application.proof)

    handled_by(mirrored, join.admit, join, monkeypatch)
    impostor, joining = await a_master(listen, keys), await listen(0)
    dag = await begin_join(joining, impostor.address, masterPassword=PASSWORD)
    assert (dag["state"], dag["stage"]) == ("FAILED", 1)
    assert "has no agent password, or not the one given" in logs_of(dag["nodes"][0])[-1]
    assert heard == [await prove(PASSWORD, joining.key.public_text, impostor.key.public_text)]
    assert identity_of(joining) == SINGLE
    error = await refusal(ask(impostor, joining, server.status, Nothing()))
    assert error.code is errors.INCORRECT_TOKEN


async def a_master(listen, keys, *followers, passwords=Passwords()):  # noqa: B008 (frozen)
    own = free_address()
    members = [a_member(own, keys[1], "zone1", MASTER), *followers]
    return await listen(1, MASTER, members, passwords, own)


async def test_a_master_without_the_password_that_is_given_is_not_followed(listen, keys):
    master, joining = await a_master(listen, keys), await listen(0)
    dag = await begin_join(joining, master.address, masterPassword=PASSWORD)
    assert dag["state"] == "FAILED"
    assert identity_of(joining) == SINGLE
    await joining.local.post(f"/task/dag/{dag['id']}", {"operator": "ROLLBACK"})
    assert (await wait_end(joining, dag["id"]))["operator"] == "ROLLBACK"
    assert master.site.cluster.view.member(joining.address) is None


async def test_the_master_is_no_other_than_the_one_that_was_met(listen, hosts, keys):
    """Somebody takes its place while the join waits for its turn."""
    master, joining = await a_master(listen, keys), await listen(0)
    joining.site.peers.meet(master.address, keys[2].public_text)
    dag = await begin_join(joining, master.address)
    assert dag["state"] == "FAILED"
    assert identity_of(joining) == SINGLE


# --- a third party that applies ------------------------------------------------------------------


async def applied(host, master, address, key, proof=""):
    """An application in the name of whoever is at an address."""
    member = a_member(address, key, "zone9", FOLLOWER)
    return await ask(host, master, join.admit, Application(member=member, proof=proof))


async def test_who_does_not_answer_at_an_address_cannot_join_from_there(listen, keys, start_host):
    master, victim = await a_master(listen, keys), await listen(2)
    attacker = await start_host(address=free_address())
    error = await refusal(applied(attacker, master, victim.address, keys[0]))
    assert "applies for somebody else" in str(error)
    # In a session of its own in which it claims to be there.
    attacker.site.cluster.view = attacker.site.cluster.view.model_copy(
        update={"own": victim.address}
    )
    attacker.site.peers.forget(master.address)
    error = await refusal(applied(attacker, master, victim.address, keys[0]))
    assert error.code is errors.INCORRECT_TOKEN
    assert "another agent answers" in str(error)
    assert master.site.cluster.view.others == []


async def test_who_claims_the_address_of_a_member_is_not_even_listened_to(listen, keys, start_host):
    follower = a_member(free_address(), keys[2], "zone2", FOLLOWER)
    master = await a_master(listen, keys, follower)
    attacker = await start_host(address=free_address())
    for claimed in (follower.address, master.address):
        view = attacker.site.cluster.view
        attacker.site.cluster.view = view.model_copy(update={"own": claimed})
        error = await refusal(applied(attacker, master, claimed, keys[0]))
        assert error.code is not errors.AGENT_ALREADY_EXISTS
        assert "another key" in str(error) or claimed == master.address
    assert master.site.cluster.view.member(follower.address) == follower


async def test_a_password_is_needed_and_cannot_be_guessed_fast(listen, keys):
    master, attacker = await a_master(listen, keys, passwords=GUARDED), await listen(0)
    overheard = await prove(PASSWORD, keys[2].public_text, keys[1].public_text)
    for proof in ("", "0" * 128, overheard, *("guess" for _ in range(FREE - 3))):
        error = await refusal(applied(attacker, master, attacker.address, keys[0], proof))
        assert error.code is errors.INCORRECT_AGENT_PASSWORD
    slow = attacker.site.peers.call(
        master.address,
        join.admit,
        Application(member=a_member(attacker.address, keys[0], "zone9", FOLLOWER), proof=""),
        Deadline.after(0.3),
    )
    assert (await refusal(slow)).code is errors.RPC_REQUEST_FAILED
    assert master.site.cluster.view.others == []


# --- what was recorded ---------------------------------------------------------------------------


async def test_a_recorded_join_is_not_done_again(start_host):
    host = await start_host()
    body = json.dumps({"agentInfo": host.address.wire, "zoneName": "zone1"}).encode()
    name, value, content = await host.api.seal(ROOT_HEADER, "", "/api/v1/agent/join", body, {})
    first = await host.api.plain("POST", "/api/v1/agent/join", content, {name: value})
    await wait_end(host, first.data["id"])
    removed = await host.local.post("/agent/remove", host.address.wire)
    await wait_end(host, removed.data["id"])
    again = await host.api.plain("POST", "/api/v1/agent/join", content, {name: value})
    assert again.refusal == (errors.HEADER_REPLAYED.name, 401)
    assert identity_of(host) == SINGLE


async def test_a_recorded_session_of_a_join_opens_nothing(listen, keys):
    master, joining = await a_master(listen, keys), await listen(0)
    sent = []
    exchange = joining.site.peers._http.post

    def recorded(url, **more):
        sent.append((url, more))
        return exchange(url, **more)

    joining.site.peers._http.post = recorded
    dag = await begin_join(joining, master.address)
    assert dag["state"] == "SUCCEED"
    removed = await master.local.post("/agent/remove", joining.address.wire)
    await wait_end(master, removed.data["id"])
    for url, more in sent:
        path = url.partition(str(master.address))[2]
        content = more.get("data") or json.dumps(more.get("json")).encode()
        answered = await master.api.plain("POST", path, content, more.get("headers"))
        hello = path.endswith("session")  # opens another session, to which no frame fits
        assert answered.status == (200 if hello else 401), path
    assert [url.rpartition("/")[2] for url, _ in sent] == ["session", "admit", "members"]
    assert master.site.cluster.view.others == []


# --- a third party that invites, or is invited ---------------------------------------------------


def an_invitation(host, victim, keys, ticket=""):
    inviting = a_member(host.address, host.key, "zone1")
    return Invitation(
        ticket=ticket,
        cluster_dag_id="17",
        cluster_id=7,
        cluster_name="evil",
        members=(inviting, a_member(victim.address, victim.key, "zone1")),
        server=SERVER,
        root_password="theirs",
    )


async def test_who_does_not_know_its_password_cannot_take_an_agent_in(listen, keys):
    attacker, victim = await listen(1), await listen(0, passwords=GUARDED)
    cluster, theirs = a_member(free_address(), keys[2], "zone1"), keys[2].public_text
    overheard = await prove(PASSWORD, theirs, victim.key.public_text)
    for proof in ("", overheard):
        error = await refusal(ask(attacker, victim, invited.probe, Knock(proof=proof)))
        assert error.code is errors.ILLEGAL_ARGUMENT
    foreign = attacker.site.vault.seal(PASSWORD)
    for ticket in ("", "AAAA", foreign):
        invitation = an_invitation(attacker, victim, keys, ticket)
        error = await refusal(ask(attacker, victim, invited.begin, invitation))
        assert error.code is errors.ILLEGAL_ARGUMENT
    assert cluster.public_key == theirs
    assert identity_of(victim) == SINGLE
    assert await victim.site.tasks.dags() == []


async def test_a_ticket_is_good_for_the_password_it_was_given_for(listen, keys):
    cluster, new = await listen(1), await listen(0, passwords=GUARDED)
    proof = await prove(PASSWORD, cluster.key.public_text, new.key.public_text)
    found = await soon(ask(cluster, new, invited.probe, Knock(proof=proof)))
    assert PASSWORD not in found.model_dump_json()
    await new.local.post("/agent/password", {"password": "changed"})
    invitation = an_invitation(cluster, new, keys, found.ticket)
    error = await refusal(ask(cluster, new, invited.begin, invitation))
    assert error.code is errors.ILLEGAL_ARGUMENT
    assert identity_of(new) == SINGLE


async def test_who_is_not_where_it_says_takes_nobody_in(listen, keys, start_host):
    victim, bystander = await listen(2), await listen(1)
    attacker = await start_host(address=free_address())
    view = attacker.site.cluster.view
    attacker.site.cluster.view = view.model_copy(update={"own": bystander.address})
    for procedure, request in [
        (invited.probe, Knock(proof="")),
        (invited.begin, an_invitation(bystander, victim, keys)),
    ]:
        error = await refusal(ask(attacker, victim, procedure, request))
        assert error.code is errors.INCORRECT_TOKEN
    assert identity_of(victim) == SINGLE


async def test_who_answers_in_the_place_of_a_new_agent_gets_neither_passwords_nor_an_invitation(
    listen, keys, monkeypatch
):
    heard = []

    async def mirrored(site, caller, knock):
        heard.append(knock)
        member = await join.own_member(site, MEMBER, "")
        return Candidate(member=member, proof=knock.proof, ticket="")

    handled_by(mirrored, invited.probe, invited, monkeypatch)
    own = free_address()
    members = [a_member(own, keys[1], "zone1")]
    cluster = await listen(1, MEMBER, members, Passwords("root's"), own)
    form_cluster([cluster], ["zone1"])
    impostor = await listen(0)
    body = {"agentInfo": impostor.address.wire, "zone": "zone1", "targetAgentPassword": PASSWORD}
    body["obConfigs"] = {"mysql_port": "3881", "rpc_port": "3882"}
    answer = await cluster.local.post("/ob/scale_out", body)
    assert answer.refusal == (errors.ILLEGAL_ARGUMENT.name, 400)
    assert "has no agent password, or another one" in answer.message
    (knock,) = heard
    expected = await prove(PASSWORD, keys[1].public_text, keys[0].public_text)
    assert knock == Knock(proof=expected)


# --- a removed agent -----------------------------------------------------------------------------


async def test_a_removed_follower_is_listened_to_by_nobody(listen, keys):
    removed, stays = free_address(), free_address()
    followers = [
        a_member(removed, keys[0], "zone2", FOLLOWER),
        a_member(stays, keys[2], "zone3", FOLLOWER),
    ]
    master = await a_master(listen, keys, *followers)
    members = master.site.cluster.view.members
    gone = await listen(0, FOLLOWER, members, address=removed)
    other = await listen(2, FOLLOWER, members, address=stays)
    assert (await soon(ask(gone, master, join.members, Nothing()))).members == members
    # It keeps what it knew, as if it had been out of reach, and its open sessions.
    await master.site.cluster.change(
        lambda view: view.with_members(m for m in members if m.address != removed)
    )
    for host in (master, other):
        for procedure in (server.status, join.members, join.leaves):
            error = await refusal(ask(gone, host, procedure, Nothing()))
            assert error.code is errors.INCORRECT_TOKEN
        host_view = host.site.cluster.view
        gone.site.peers.forget(host.address)
        error = await refusal(ask(gone, host, server.kill, Nothing()))
        assert error.code is errors.INCORRECT_TOKEN
        assert host.site.cluster.view == host_view
        assert host.engine.deeds == []


async def test_a_follower_takes_orders_from_its_master_alone(listen, keys):
    one, two = free_address(), free_address()
    followers = [
        a_member(one, keys[0], "zone2", FOLLOWER),
        a_member(two, keys[2], "zone3", FOLLOWER),
    ]
    master = await a_master(listen, keys, *followers)
    members = master.site.cluster.view.members
    first = await listen(0, FOLLOWER, members, address=one)
    second = await listen(2, FOLLOWER, members, address=two)
    assert (await refusal(ask(first, second, server.status, Nothing()))).code is (
        errors.INCORRECT_TOKEN
    )
    await soon(ask(master, second, server.status, Nothing()))
    await soon(ask(first, master, server.status, Nothing()))


async def test_an_agent_that_was_struck_off_a_cluster_is_refused_with_its_old_session_too(
    listen, keys
):
    gone, stays = free_address(), free_address()
    members = [a_member(gone, keys[0], "zone1"), a_member(stays, keys[1], "zone2")]
    removed = await listen(0, MEMBER, members, address=gone)
    other = await listen(1, MEMBER, members, address=stays)
    await soon(ask(removed, other, server.status, Nothing()))
    await other.site.cluster.change(lambda view: view.with_members(members[1:]))
    for _ in range(2):
        error = await refusal(ask(removed, other, server.kill, Nothing()))
        assert error.code is errors.INCORRECT_TOKEN
        removed.site.peers.forget(stays)
    assert other.engine.deeds == []
