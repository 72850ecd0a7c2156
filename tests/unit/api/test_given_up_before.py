"""Requests that were given up before the agent, which was paused or busy, came to look at them."""

from __future__ import annotations

import socket
import time

import pytest

from pyobshell.api import gateway
from pyobshell.cluster.model import Identity
from pyobshell.security.hybrid import seal_request
from pyobshell.security.verify import Passwords
from support.agents import ROOT_PASSWORD, a_member, a_view, free_address
from support.certificates import Certified
from support.waiting import Gate

pytestmark = pytest.mark.anyio

STOP = b'{"scope": {"type": "GLOBAL"}, "force": true}'
KNOWN = Passwords(root=ROOT_PASSWORD)


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"], scope="module")
def anyio_backend(request):
    """Agents run on uvloop, which reads the end of a connection at another moment."""
    return ("asyncio", {"use_uvloop": request.param})


@pytest.fixture(scope="module")
def certified(tmp_path_factory):
    return Certified(tmp_path_factory.mktemp("certified"))


@pytest.fixture(scope="module")
async def agents(anyio_backend, hosts, keys, certified):
    """Two members, of which the second one speaks TLS as well."""
    own, other = free_address(), free_address()
    members = [a_member(own, keys[0], "zone1"), a_member(other, keys[1], "zone2")]
    views = [a_view(one, Identity.CLUSTER_AGENT, members) for one in (own, other)]
    async with (
        hosts.serve(views[0], keys[0], KNOWN) as first,
        hosts.serve(views[1], keys[1], KNOWN, **certified.files(other)) as second,
    ):
        for host in (first, second):
            host.api.password = ROOT_PASSWORD
        yield first, second


@pytest.fixture
def looked(monkeypatch):
    """What was found when it was looked whether somebody has hung up."""
    found, done = [], Gate()

    async def look(receive):
        found.append(await original(receive))
        done._reached.set()
        return found[-1]

    original = gateway.has_hung_up
    monkeypatch.setattr(gateway, "has_hung_up", look)
    return found, done


def a_stop(host, *headers: str, body: bytes = STOP) -> bytes:
    head = ["POST /api/v1/ob/stop HTTP/1.1", "host: x", f"content-length: {len(body)}", *headers]
    return "\r\n".join([*head, "", ""]).encode() + body


def sealed_stop(host) -> bytes:
    sealed = seal_request(
        host.key.public,
        password=ROOT_PASSWORD,
        uri="/api/v1/ob/stop",
        body=STOP,
        now=time.time(),
    )
    return a_stop(host, f"x-ocs-header: {sealed.header_value}", body=sealed.body)


async def begun(host):
    """How many tasks the agent has, and how many requests it has on record."""
    tasks = (await host.local.get("/task/dags/agent")).contents
    return len(tasks), len((await host.local.get("/audit")).data["contents"])


def say_and_hang_up(family, address, what: bytes) -> None:
    """All of it before the agent, in this same process, can have a look."""
    with socket.socket(family) as asking:
        asking.connect(address)
        asking.sendall(what)


async def test_over_the_local_socket(agents, looked):
    host, before = agents[0], await begun(agents[0])
    say_and_hang_up(socket.AF_UNIX, str(host.agent.paths.socket), a_stop(host))
    await looked[1].reached()
    assert looked[0] == [True]
    assert await begun(host) == before


async def test_over_the_network(agents):
    host, before = agents[1], await begun(agents[1])
    say_and_hang_up(socket.AF_INET, host.address, sealed_stop(host))
    # Headers are opened one after the other: when this one was, the first one is through as well.
    assert (await host.api.post("/ob/stop", {"scope": {"type": "NONE"}})).status == 400
    assert (await begun(host))[0] == before[0]


async def test_whoever_waits_for_the_answer_has_not_hung_up(agents, looked):
    host = agents[0]
    for door in (host.local, host.api):
        answer = await door.post("/ob/stop", {"scope": {"type": "NONE"}, "force": True})
        assert answer.status == 400
    assert looked[0] == [False, False]
