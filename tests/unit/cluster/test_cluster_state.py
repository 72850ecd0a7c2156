"""What an agent knows of its cluster is on disk before it counts, and no secret lies there open."""

from __future__ import annotations

import asyncio
import threading

import pytest
from pydantic import ValidationError

from pyobshell import errors
from pyobshell.address import Address
from pyobshell.cluster.model import ClusterView, Identity
from pyobshell.cluster.state import ClusterState
from pyobshell.security.vault import Vault
from pyobshell.security.verify import Passwords
from support.agents import a_member, a_view

pytestmark = pytest.mark.anyio

OWN, SECOND, THIRD = (Address(f"10.0.0.{n}", 2886) for n in (1, 2, 3))


@pytest.fixture
def vault(tmp_path):
    return Vault.open(tmp_path / "vault.key")


@pytest.fixture
def members(keys):
    return [
        a_member(OWN, keys[0], "zone1", Identity.MASTER),
        a_member(SECOND, keys[1], "zone2", Identity.FOLLOWER),
        a_member(THIRD, keys[1], "zone2", Identity.FOLLOWER),
    ]


@pytest.fixture
def state(database, vault):
    return ClusterState(database, vault, OWN)


@pytest.fixture
async def next_life(anyio_backend, database, vault):
    """The state as the agent reads it when it starts again."""

    async def read():
        state = ClusterState(database, vault, OWN)
        await state.load()
        return state

    return read


async def test_an_agent_that_knows_nothing_is_single(next_life):
    state = await next_life()
    assert state.view == ClusterView(own=OWN)
    assert state.view.identity is Identity.SINGLE
    assert state.passwords == Passwords(None, None)
    assert (state.server_wanted, state.server_settings) == (None, None)


@pytest.mark.parametrize("identity", list(Identity))
async def test_what_an_agent_is_is_known_in_the_next_life(state, next_life, members, identity):
    view = a_view(OWN, identity, members)
    await state.save(view)
    later = await next_life()
    assert later.view == state.view == view
    assert later.view.addresses == [OWN, SECOND, THIRD]


@pytest.mark.parametrize(
    "passwords", [Passwords(), Passwords("r", "a"), Passwords("", None), Passwords("密\ud800'\"\n")]
)
async def test_passwords_are_known_in_the_next_life(state, next_life, passwords):
    await state.save(state.view, passwords)
    assert (await next_life()).passwords == state.passwords == passwords


async def test_what_is_saved_takes_the_place_of_all_that_was(state, next_life, members):
    await state.save(a_view(OWN, Identity.MASTER, members), Passwords("r", "a"))
    await state.save(ClusterView(own=OWN), Passwords(None, "a"))
    later = await next_life()
    assert later.view == ClusterView(own=OWN)
    assert later.passwords == Passwords(None, "a")
    await state.save(a_view(OWN, Identity.MASTER, members[:1]))
    later = await next_life()
    assert later.view.addresses == [OWN]
    assert later.passwords == Passwords(None, "a")


async def test_passwords_lie_sealed_on_disk(state, database, database_file, members):
    await state.save(a_view(OWN, Identity.MASTER, members), Passwords("s3cret-root", "s3cret-own"))
    database.close()
    found = b"".join(file.read_bytes() for file in database_file.parent.glob("meta.db*"))
    assert b"10.0.0.2" in found
    assert b"s3cret" not in found


async def test_what_could_not_be_written_does_not_count(state, database, members):
    database.close()
    before = state.view, state.passwords
    with pytest.raises(RuntimeError, match="closed"):
        await state.save(a_view(OWN, Identity.MASTER, members), Passwords("r"))
    assert (state.view, state.passwords) == before


async def test_of_changes_that_come_at_once_none_is_lost(state, next_life, members):
    await state.save(a_view(OWN, Identity.MASTER, []))

    def add(member):
        return lambda view: view.with_members([*view.members, member])

    await asyncio.gather(*(state.change(add(member)) for member in members))
    assert sorted(state.view.addresses) == [OWN, SECOND, THIRD]
    assert (await next_life()).view == state.view


async def test_a_change_that_is_refused_changes_nothing(state, next_life):
    def refuse(view):
        raise errors.AGENT_NO_MASTER()

    with pytest.raises(errors.OBShellError):
        await state.change(refuse)
    assert (await next_life()).view == state.view == ClusterView(own=OWN)
    await state.change(lambda view: view)  # the next one finds its turn


async def test_a_change_whose_caller_gives_up_is_the_same_in_memory_and_on_disk(
    state, next_life, database, members
):
    view = a_view(OWN, Identity.MASTER, members)
    writing, release = threading.Event(), threading.Event()

    def hold(connection):
        writing.set()
        assert release.wait(10)

    held = database.submit(hold)
    assert await asyncio.to_thread(writing.wait, 10)
    for change in (state.save(view), state.want_server(True), state.remember_server("{}")):
        caller = asyncio.create_task(change)
        await asyncio.sleep(0)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
    release.set()
    held.result(10)
    await state.change(lambda view: view)  # comes after them
    later = await next_life()
    assert later.view == state.view == view
    assert (later.server_wanted, later.server_settings) == (True, "{}")
    assert (state.server_wanted, state.server_settings) == (True, "{}")


async def test_whether_the_server_shall_run_is_known_in_the_next_life(state, next_life):
    await state.want_server(True)
    await state.remember_server('{"mysql_port": 1}')
    later = await next_life()
    assert (later.server_wanted, later.server_settings) == (True, '{"mysql_port": 1}')
    await state.want_server(False)
    await state.remember_server(None)
    later = await next_life()
    assert (later.server_wanted, later.server_settings) == (False, None)


async def test_of_two_values_of_an_option_the_later_counts_for_whom_it_was_set(state, members):
    first, second, third = members
    await state.add_server_options("SERVER", [str(SECOND)], {"a": "server", "b": "server"})
    await state.add_server_options("GLOBAL", [], {"a": "global"})
    await state.add_server_options("ZONE", ["zone2", "zone9"], {"c": "zone"})
    await state.add_server_options("ZONE", ["zone1"], {"c": "other zone"})
    assert await state.server_options(first) == {"a": "global", "c": "other zone"}
    assert await state.server_options(second) == {"a": "global", "b": "server", "c": "zone"}
    assert await state.server_options(third) == {"a": "global", "c": "zone"}
    await state.forget_server_options()
    assert await state.server_options(second) == {}


async def test_an_agent_is_known_by_its_key_and_not_by_its_address_alone(state, keys, members):
    await state.save(a_view(OWN, Identity.MASTER, members[:2]))
    assert state.knows(SECOND, keys[1].public_text)
    assert not state.knows(SECOND, keys[0].public_text)
    assert not state.knows(THIRD, keys[1].public_text)
    state.acquaintances[THIRD] = keys[1].public_text
    assert state.knows(THIRD, keys[1].public_text)


# --- the snapshot --------------------------------------------------------------------------------


def test_a_snapshot_tells_who_is_where(members):
    view = a_view(SECOND, Identity.FOLLOWER, members)
    assert view.zone == "zone2"
    assert view.zones == ["zone1", "zone2"]
    assert view.others == [OWN, THIRD]
    assert view.master == OWN
    assert view.in_zones(["zone2"]) == [SECOND, THIRD]
    assert view.in_zones(["zone9"]) == []
    assert view.member(THIRD) == members[2]
    assert view.member(Address("10.0.0.9", 2886)) is None
    assert view.with_members(members[:1]).addresses == [OWN]
    assert ClusterView(own=OWN).zone == ""


def test_a_snapshot_does_not_change(members):
    view = a_view(OWN, Identity.MASTER, members)
    with pytest.raises(ValidationError):
        view.identity = Identity.SINGLE
    with pytest.raises(ValidationError):
        members[0].zone = "zone9"


def test_a_follower_of_nobody_has_no_master(members):
    with pytest.raises(errors.OBShellError) as caught:
        _ = a_view(SECOND, Identity.FOLLOWER, members[1:]).master
    assert caught.value.code is errors.AGENT_NO_MASTER


def test_a_wrong_identity_is_refused_with_those_that_would_do(members):
    view = a_view(OWN, Identity.MASTER, members)
    view.require(Identity.SINGLE, Identity.MASTER)
    with pytest.raises(errors.OBShellError) as caught:
        view.require(Identity.SINGLE, Identity.CLUSTER_AGENT)
    assert caught.value.code is errors.IDENTITY_NOT_SUPPORTED
    assert str(caught.value).endswith("is MASTER; this operation needs SINGLE or CLUSTER AGENT")
