"""An agent whose own files are not as it left them does not start, and leaves them as they are."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
from contextlib import closing

import pytest

from pyobshell import errors
from pyobshell.agent import Agent
from pyobshell.cli import serve
from pyobshell.cluster.model import Identity
from pyobshell.errors import OBShellError
from pyobshell.home import kept
from pyobshell.home.opening import KeyFileError
from pyobshell.settings import Settings
from pyobshell.store.sqlite import DamagedError
from support.agents import a_member, a_view, free_address
from support.fake_engine import FakeEngine
from support.homes import PASSWORDS
from support.undertakings import wait_end
from support.waiting import soon

pytestmark = pytest.mark.anyio


async def start(settings):
    """Start an agent that is expected to refuse."""
    await soon(Agent(settings, lambda _name, base_dir, *_: FakeEngine(base_dir)).serve())


def overwrite(file, offset, length):
    with file.open("r+b") as opened:
        opened.seek(offset)
        opened.write(b"\xff" * length)


def is_no_database(home):
    overwrite(home.paths.database, 0, 100)


def has_a_broken_page(home):
    overwrite(home.paths.database, 4096, home.paths.database.stat().st_size - 3 * 4096)


def is_truncated(home):
    os.truncate(home.paths.database, 8192)


def is_empty_and_has_lost_its_log(home):
    os.truncate(home.paths.database, 0)


def is_empty_beside_its_log(home):
    os.truncate(home.paths.database, 0)
    home.paths.database.with_name("meta.db-wal").write_text("log")


def is_missing(home):
    home.paths.database.unlink()


def has_lost_its_tables(home):
    with home.database() as connection:
        connection.execute("DROP TABLE alembic_version")


def is_older_than_the_copy(home):
    with home.database() as connection:
        connection.execute("UPDATE setting SET value = '0' WHERE name = 'essential_changes'")


def lacks_the_last_tasks(home):
    copy = kept.load(home.paths.kept_copy)
    assert copy is not None
    kept.store(home.paths.kept_copy, copy.model_copy(update={"numbers": {"dag": 7}}))


DAMAGES = {
    is_no_database: "no database any more",
    has_a_broken_page: "damaged",
    is_truncated: "damaged",
    is_empty_and_has_lost_its_log: "it is empty",
    is_empty_beside_its_log: "it is empty",
    is_missing: "it is missing",
    has_lost_its_tables: "it has lost its tables",
    is_older_than_the_copy: "older than the copy",
    lacks_the_last_tasks: "older than the copy",
}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
async def test_a_database_that_is_damaged_is_refused_and_left_as_it_is(home, damage):
    damage(home)
    before = home.content()
    with pytest.raises(DamagedError, match=DAMAGES[damage]) as refused:
        await start(home.settings)
    assert home.content() == before
    log = home.paths.database.with_name("meta.db-wal")
    if damage is is_empty_beside_its_log:
        assert log.read_text() == "log"
    word = serve._failure({"base_dir": home.settings.base_dir}, refused.value)
    assert word.exit == 33
    assert f"obshell agent doctor --base-dir {home.settings.base_dir}" in word.error
    assert serve._is_foreseen(refused.value)


@pytest.mark.parametrize("scope", ["ZONE", "GLOBAL"])
async def test_a_database_from_before_the_last_task_is_refused(hosts, keys, tmp_path, scope):
    """Of its own server or not: its tasks would be done again, and a stopped server started."""
    own, other = free_address(), free_address()
    members = [a_member(own, keys[0], "zone1"), a_member(other, keys[1], "zone2")]
    view = a_view(own, Identity.CLUSTER_AGENT, members)
    async with hosts.serve(view, keys[0], PASSWORDS) as host:
        settings = host.agent.settings
        before = tmp_path / "before.db"
        with (
            closing(sqlite3.connect(settings.paths.database)) as current,
            closing(sqlite3.connect(before)) as backup,
        ):
            current.backup(backup)
        body = {"scope": {"type": scope, "target": ["zone2"]}, "force": True}
        asked = await host.local.post("/ob/stop", body)
        await wait_end(host, asked.data["id"])
    await start_and_stop(settings)
    shutil.copy(before, settings.paths.database)
    with pytest.raises(DamagedError, match="older than the copy"):
        await start(settings)


async def start_and_stop(settings):
    """An agent that finds its files in order."""
    agent = Agent(settings, lambda _name, base_dir, *_: FakeEngine(base_dir))
    ready = asyncio.Event()
    serving = asyncio.create_task(agent.serve(ready))
    await soon(ready.wait())
    agent.stop()
    await soon(serving)


async def test_a_database_of_a_newer_release_is_refused_and_left_as_it_is(home):
    with home.database() as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    before = home.content()
    with pytest.raises(OBShellError, match=r"newer release.*schema 9999") as refused:
        await start(home.settings)
    assert refused.value.code is errors.STORE_UNAVAILABLE
    assert home.content() == before
    assert serve._failure({"base_dir": "/x"}, refused.value).exit == 20


def vault_key_missing(home):
    home.paths.vault_key.unlink()


def vault_key_of_another_agent(home):
    home.paths.vault_key.write_bytes(bytes(32))


def vault_key_cut_short(home):
    os.truncate(home.paths.vault_key, 10)


def vault_key_for_everybody(home):
    home.paths.vault_key.chmod(0o644)


def agent_key_missing(home):
    home.paths.private_key.unlink()


def agent_key_overwritten(home):
    home.paths.private_key.write_text("x")


KEYS = {
    vault_key_missing: (33, "vault.key is missing"),
    vault_key_of_another_agent: (33, "it is another one's"),
    vault_key_cut_short: (33, "not a vault key"),
    vault_key_for_everybody: (27, "chmod 600"),
    agent_key_missing: (33, "agent.key is missing"),
    agent_key_overwritten: (33, "no RSA private key"),
}


@pytest.mark.parametrize("damage", KEYS, ids=lambda damage: damage.__name__)
async def test_no_key_is_made_anew_in_the_place_of_one_that_is_needed(home, damage):
    exit_code, words = KEYS[damage]
    damage(home)
    before = home.content()
    with pytest.raises(KeyFileError, match=words) as refused:
        await start(home.settings)
    assert home.content() == before
    word = serve._failure({"base_dir": home.settings.base_dir}, refused.value)
    assert word.exit == exit_code
    assert "obshell agent doctor --base-dir" in word.error
    assert serve._is_foreseen(refused.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
async def test_a_key_of_another_user_is_said_to_be_whose_it_is(home):
    home.paths.private_key.chmod(0)
    with pytest.raises(KeyFileError, match="cannot be read by this user, it belongs to"):
        await start(home.settings)


async def test_a_first_start_that_was_cut_off_before_there_were_tables_is_begun_again(
    tmp_path, anyio_backend
):
    """There is no key yet: nobody knows this agent, and nothing is lost."""
    address = free_address()
    settings = Settings(ip=address.ip, port=address.port, base_dir=tmp_path, engine="fake")
    settings.paths.state_dir.mkdir(parents=True)
    settings.paths.database.touch(0o600)
    agent = Agent(settings, lambda _name, base_dir, *_: FakeEngine(base_dir))
    agent.stop()
    await soon(agent.serve())
    assert settings.paths.private_key.exists()
