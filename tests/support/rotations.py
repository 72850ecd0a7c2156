"""Members whose keys are rotated, and keys that are made before."""

from __future__ import annotations

import pytest

from pyobshell.cluster.model import Identity
from pyobshell.cluster.procedures import Nothing
from pyobshell.deadline import Deadline
from pyobshell.operations import server
from pyobshell.security.keyring import Keyring
from pyobshell.security.keys import PrivateKey
from pyobshell.security.verify import Passwords
from support.agents import ROOT_PASSWORD, a_member, free_address
from support.listening import listening
from support.waiting import PATIENCE_S, soon

PATH = "/agent/rotate-key"
BODY = {"key_bits": 2048}
MEMBER, SINGLE = Identity.CLUSTER_AGENT, Identity.SINGLE
MASTER, FOLLOWER = Identity.MASTER, Identity.FOLLOWER
KNOWN = Passwords(root=ROOT_PASSWORD)


@pytest.fixture(autouse=True, scope="module")
def made_before(keys):
    """Keys that are made already take the place of others: it takes long to make one."""
    successor, made = Keyring.successor, (keys[2], keys[3])

    def quick(ring, bits):
        key = next(one for one in made if one.public_text != ring.public_text)
        patch.setattr(PrivateKey, "generate", lambda _: key)
        return successor(ring, bits)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Keyring, "successor", quick)
        yield


@pytest.fixture(scope="module")
async def two_members(anyio_backend, hosts, keys):
    own, other = free_address(), free_address()
    members = [a_member(own, keys[0], "zone1"), a_member(other, keys[1], "zone2")]
    async with (
        listening(hosts, 0, MEMBER, members, KNOWN, own) as first,
        listening(hosts, 1, MEMBER, members, KNOWN, other) as second,
    ):
        yield first, second


@pytest.fixture
async def pair(two_members):
    """Two members of a cluster, with whatever keys they have by now."""
    for host in two_members:
        host.engine.start_afresh()
        host.api._public_key = None
    yield two_members
    first, _ = two_members
    view = first.site.cluster.view
    await first.site.cluster.save(view, KNOWN)


async def ask(host, other):
    """What another agent answers this one."""
    call = host.site.peers.call(other.address, server.status, Nothing(), Deadline.after(PATIENCE_S))
    return await soon(call)


async def rotate(host):
    answer = await host.local.post(PATH, BODY)
    host.api._public_key = None  # the client of this test is none that recovers
    return answer.data


def key_of(host, other):
    """The key by which an agent knows another."""
    return host.site.cluster.view.member(other.address).public_key
