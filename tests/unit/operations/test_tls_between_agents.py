"""Agents speak TLS with each other and with the official SDK, or say why they do not."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import ssl
import threading
import time

import pytest
from obshell import ClientSet
from obshell.auth import PasswordAuth
from obshell.request import ProtocolOptions

from pyobshell import errors
from pyobshell.address import Address
from pyobshell.cluster.model import Identity
from pyobshell.cluster.procedures import Nothing
from pyobshell.cluster.roads import Roads
from pyobshell.deadline import Deadline
from pyobshell.operations import server
from pyobshell.operations.renew_tls import renew_tls
from pyobshell.security.tls import Tls
from pyobshell.security.verify import Passwords
from pyobshell.settings import Settings
from support.agents import a_member, a_view, free_address
from support.certificates import Certified, secured
from support.undertakings import wait_end
from support.waiting import PATIENCE_S, soon

pytestmark = pytest.mark.anyio

MASTER, SINGLE, MEMBER = Identity.MASTER, Identity.SINGLE, Identity.CLUSTER_AGENT
PASSWORD = "sdk"


@pytest.fixture(scope="module")
def certified(tmp_path_factory):
    return Certified(tmp_path_factory.mktemp("certified"))


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    return Certified(tmp_path_factory.mktemp("foreign"), "another CA")


# --- a whole cluster ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spoken", [pytest.param("http", marks=pytest.mark.long), "https", "mutual TLS"]
)
async def test_the_official_sdk_stops_and_starts_a_cluster(hosts, certified, spoken, capsys):
    ca, (cert, key) = str(certified.ca), certified.client
    protocol, own = {
        "http": (ProtocolOptions.http(), lambda _: {}),
        "https": (ProtocolOptions.https(ca), certified.files),
        "mutual TLS": (ProtocolOptions.https(ca, (str(cert), str(key))), certified.mutual),
    }[spoken]
    passwords = Passwords(root=PASSWORD)
    async with hosts.serving(3, passwords=passwords, own=own, dag_hold_ms=5000) as made:

        def stop_and_start():
            address = made[0].address
            auth = PasswordAuth(PASSWORD)
            sdk = ClientSet(address.ip, address.port, auth, protocol_options=protocol).v1
            assert [one.ip for one in sdk.get_ob_info().agents] == [h.address.ip for h in made]
            return sdk.stop_sync("GLOBAL", [], force=True), sdk.start_sync("GLOBAL", [])

        stopped, started = await asyncio.to_thread(stop_and_start)
        assert (stopped.name, stopped.state) == ("Stop OB", "SUCCEED")
        assert (started.name, started.state) == ("Start OB", "SUCCEED")
        assert ["kill" in host.engine.deeds for host in made] == [True] * 3
    assert "speaks no TLS" not in capsys.readouterr().out


async def test_an_agent_joins_over_mutual_tls_and_a_follower_hands_on(hosts, certified):
    async with hosts.serving(2, [MASTER, SINGLE], own=certified.mutual) as (master, single):
        body = {"agentInfo": master.address.wire, "zoneName": "zone2"}
        answer = await single.local.post("/agent/join", body)
        assert (await wait_end(single, answer.data["id"]))["state"] == "SUCCEED"
        async with secured(single, certified.context(*certified.client)) as follower:
            known = (await follower.get("/ob/info")).data["agent_info"]
        assert [one["identity"] for one in known] == [Identity.MASTER, Identity.FOLLOWER]


# --- two agents, each with its own idea of TLS ---------------------------------------------------


@pytest.fixture
async def meet(hosts, keys, anyio_backend):
    """Start two members with these settings; one without sockets, that asks, and its fellow."""
    own, other = free_address(), free_address()
    members = [a_member(own, keys[0], "zone1"), a_member(other, keys[1], "zone2")]
    async with contextlib.AsyncExitStack() as stack:

        async def meet(asking, asked):
            serving = hosts.serve(a_view(other, MEMBER, members), keys[1], Passwords(), **asked)
            fellow = await stack.enter_async_context(serving)
            living = hosts.in_process(MEMBER, members, address=own, **asking)
            return await stack.enter_async_context(living), fellow

        meet.own, meet.other = own, other
        yield meet


async def ask(asking, asked):
    """What the one hears from the other."""
    call = asking.site.peers.call(asked, server.status, Nothing(), Deadline.after(PATIENCE_S))
    return await soon(call)


async def refusal(asking, asked):
    with pytest.raises(errors.OBShellError) as caught:
        await ask(asking, asked)
    assert caught.value.code is errors.RPC_REQUEST_FAILED
    return str(caught.value)


def scheme(asking, asked):
    """By which road the session goes."""
    return asking.site.peers._sessions[asked][1]


async def test_as_long_as_it_is_optional_one_without_tls_is_spoken_to_in_plain(
    meet, certified, capsys
):
    asking, asked = await meet(certified.files(meet.own), {})
    await ask(asking, asked.address)
    assert scheme(asking, asked.address) == "http"
    assert "speaks no TLS" in capsys.readouterr().out


async def test_one_without_tls_speaks_to_one_with_it_while_it_is_optional(meet, certified):
    asking, asked = await meet({}, {**certified.files(meet.other), "tls_ca": certified.ca})
    await ask(asking, asked.address)
    assert scheme(asking, asked.address) == "http"


async def test_who_requires_tls_speaks_to_nobody_without(meet, certified):
    asking, asked = await meet(certified.mutual(meet.own), {})
    assert "speaks no TLS, and this agent requires it" in await refusal(asking, asked.address)


async def test_who_has_no_tls_is_told_that_it_is_required(meet, certified):
    asking, asked = await meet({}, certified.mutual(meet.other))
    assert "over TLS only" in await refusal(asking, asked.address)


async def test_an_agent_with_a_certificate_of_another_ca_is_not_spoken_to(meet, certified, foreign):
    own = {**certified.files(meet.own), "tls_ca": certified.ca}
    asking, asked = await meet(own, foreign.files(meet.other))
    assert "unable to get local issuer certificate" in await refusal(asking, asked.address)


async def test_an_agent_with_the_certificate_of_another_agent_is_not_spoken_to(meet, certified):
    own = {**certified.files(meet.own), "tls_ca": certified.ca}
    asking, asked = await meet(own, certified.files(meet.own._replace(ip="127.0.0.77")))
    assert "IP address mismatch" in await refusal(asking, asked.address)


async def test_an_agent_whose_certificate_is_of_no_known_ca_is_not_let_in(meet, certified, foreign):
    asking, asked = await meet(foreign.files(meet.own), certified.mutual(meet.other))
    assert "unknown ca" in (await refusal(asking, asked.address)).lower().replace("_", " ")


async def test_an_agent_that_has_learnt_of_another_ca_speaks_to_its_agents(
    meet, certified, foreign, tmp_path
):
    both = tmp_path / "ca.crt"
    both.write_bytes(certified.ca.read_bytes())
    asking, asked = await meet(
        {**certified.files(meet.own), "tls_ca": both}, foreign.files(meet.other)
    )
    await refusal(asking, asked.address)
    both.write_bytes(certified.ca.read_bytes() + foreign.ca.read_bytes())
    assert (await asking.local.post("/agent/tls/reload")).status == 200
    await ask(asking, asked.address)
    assert scheme(asking, asked.address) == "https"


async def test_what_was_read_first_is_not_taken_up_last(start_host, certified, monkeypatch):
    own = free_address()
    host = await start_host(SINGLE, address=own, **certified.mutual(own))
    spoken, reads, done, taken_up = host.site.tls, itertools.count(), threading.Event(), []

    def read():
        number = next(reads)
        if number == 0:
            done.wait(0.1)  # for the other, which has read what is newer
        return number

    def renew(number):
        taken_up.append(number)
        done.set()

    monkeypatch.setattr(spoken, "read", read)
    monkeypatch.setattr(spoken, "renew", renew)
    await asyncio.gather(*(renew_tls(host.site) for _ in range(2)))
    assert taken_up == [0, 1]


async def test_one_that_speaks_other_tls_is_not_spoken_to_in_plain(meet, certified, capsys):
    asking, _ = await meet(certified.files(meet.own), {})
    out_of_date = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    out_of_date.load_cert_chain(*certified.keep("old", certified.authority.for_agent(["::1"])))
    out_of_date.maximum_version = ssl.TLSVersion.TLSv1_2
    out_of_date.set_ciphers("ECDHE-ECDSA-AES128-SHA256")
    old = free_address()
    with socket.create_server(old) as listening:

        def greet():
            with listening.accept()[0] as one, contextlib.suppress(ssl.SSLError):
                out_of_date.wrap_socket(one, server_side=True)

        greeting = asyncio.create_task(asyncio.to_thread(greet))
        why = "no TLS can be agreed upon: sslv3 alert handshake failure"
        with pytest.raises(errors.OBShellError, match=why):
            await soon(asking.site.peers.ask(old, "/api/v1/secret"))
        await soon(greeting)
    assert "speaks no TLS" not in capsys.readouterr().out


async def test_an_agent_that_changes_its_mind_is_found_again(hosts, keys, certified):
    own, other = free_address(), free_address()
    members = [a_member(own, keys[0], "zone1"), a_member(other, keys[1], "zone2")]
    view = a_view(other, MEMBER, members)
    async with hosts.in_process(MEMBER, members, address=own, **certified.files(own)) as asking:
        for tls, road in (({}, "http"), (certified.mutual(other), "https"), ({}, "http")):
            async with hosts.serve(view, keys[1], Passwords(), **tls):
                await ask(asking, other)
                assert scheme(asking, other) == road


@pytest.mark.long
async def test_a_host_that_is_lost_is_noticed_as_soon_as_without_tls(certified):
    files = certified.files(Address("127.0.0.1", 2886))
    roads = Roads(Tls(Settings(ip="127.0.0.1", base_dir=certified.directory, **files)))
    with socket.socket() as listening, contextlib.ExitStack() as waiting:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for _ in range(2):  # who comes next is not answered
            one = waiting.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(listening.getsockname())
        family = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
        asking = waiting.enter_context(roads.a_socket((*family, listening.getsockname())))
        asking.setblocking(False)
        begun = time.monotonic()
        with pytest.raises(TimeoutError):
            await soon(asyncio.get_running_loop().sock_connect(asking, listening.getsockname()))
        assert 2 < time.monotonic() - begun < 5
