"""The copy of the essentials: as new as the database, whole, secret, and without tasks."""

from __future__ import annotations

import asyncio
import json
import os
import stat

import pytest

from pyobshell.address import Address
from pyobshell.cluster.model import Identity
from pyobshell.cluster.state import ClusterState
from pyobshell.home import kept
from pyobshell.home.kept import KeptCopy
from pyobshell.security.vault import Vault
from pyobshell.security.verify import Passwords
from pyobshell.store.sqlite import DamagedError
from support.agents import a_member, a_view
from support.homes import PASSWORDS
from support.waiting import soon

pytestmark = pytest.mark.anyio
OWN = Address("127.0.0.1", 2886)


@pytest.fixture
async def state(database, tmp_path):
    """What an agent knows, and the copy that is kept of it."""
    copy = KeptCopy(database, tmp_path / "kept.json")
    state = ClusterState(database, Vault(bytes(32)), OWN, copy.renew)
    yield state, copy, tmp_path / "kept.json"
    await copy.settled()


async def test_each_change_of_membership_and_passwords_is_in_the_copy(state, keys):
    cluster, copy, file = state
    seen = []
    for passwords in (Passwords(root="one"), Passwords(root="two")):
        await cluster.save(
            a_view(OWN, Identity.MASTER, [a_member(OWN, keys[0], "zone1")]), passwords
        )
        await copy.settled()
        seen.append(kept.load(file))
    await cluster.remember_server("{}")
    await cluster.add_server_options("GLOBAL", [], {"a": "1"})
    await copy.settled()
    last = kept.load(file)
    assert [one.changes for one in (*seen, last)] == [1, 2, 4]
    assert [row["port"] for row in last.tables["member"]] == [OWN.port]
    assert Vault(bytes(32)).open_text(last.setting("root_password")) == "two"
    assert last.setting("server_settings") == "{}"
    assert [row["name"] for row in last.tables["server_setting"]] == ["a"]


async def test_whether_the_server_is_wanted_is_not_in_it(state):
    cluster, copy, file = state
    await cluster.remember_server("{}")
    await cluster.want_server(True)
    await cluster.order_server(False)
    await cluster.note_failed_start("no memory")
    copy.renew()
    await copy.settled()
    settings = {row["name"] for row in kept.load(file).tables["setting"]}
    assert "server_settings" in settings
    assert settings.isdisjoint({"server_wanted", "server_wanted_before", "failed_start"})


async def test_it_is_for_the_agents_user_alone_and_shows_no_password(home):
    file = home.paths.kept_copy
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert PASSWORDS.root not in file.read_text()
    assert PASSWORDS.agent not in file.read_text()
    assert set(json.loads(file.read_text())["essentials"]["tables"]) == {
        "member",
        "setting",
        "server_setting",
    }


async def test_one_that_cannot_be_written_hinders_nothing_and_leaves_the_one_before(
    state, monkeypatch
):
    cluster, copy, file = state
    await cluster.remember_server("one")
    await copy.settled()

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        await cluster.remember_server("two")
        await copy.settled()
    assert cluster.server_settings == "two"
    assert kept.load(file).setting("server_settings") == "one"
    assert [one.name for one in file.parent.iterdir() if "draft" in one.name] == []
    await cluster.remember_server("three")
    await copy.settled()
    assert kept.load(file).setting("server_settings") == "three"


async def test_changes_that_come_while_it_is_written_are_in_it_too(state):
    cluster, copy, file = state
    await soon(asyncio.gather(*(cluster.remember_server(str(n)) for n in range(20))))
    await copy.settled()
    assert kept.load(file).setting("server_settings") == cluster.server_settings
    assert kept.load(file).changes == 20


@pytest.mark.parametrize(
    "alter", [lambda text: text[:100], lambda text: text.replace("zone1", "z")]
)
async def test_one_that_is_not_as_it_was_written_is_not_believed(home, alter):
    file = home.paths.kept_copy
    file.write_text(alter(file.read_text()))
    with pytest.raises(DamagedError, match="not as it was written"):
        kept.load(file)
    file.unlink()
    assert kept.load(file) is None
