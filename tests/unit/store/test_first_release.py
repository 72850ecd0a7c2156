"""What an agent of the first release has written is all there, and this one goes on with it."""

from __future__ import annotations

import json
import shutil

import pytest
from sqlalchemy import text

from pyobshell.agent import Agent
from pyobshell.cluster.model import Identity
from pyobshell.security.keys import PrivateKey
from pyobshell.security.vault import Vault
from pyobshell.settings import Settings
from pyobshell.store.database import sqlite_engine
from pyobshell.store.migrate import migrate, revisions
from support.agents import Api, _running, a_member, free_address, transport
from support.fake_engine import FakeEngine

pytestmark = pytest.mark.anyio
FIRST = "0001"


def insert(connection, table, **values):
    columns, marks = ", ".join(values), ", ".join(f":{name}" for name in values)
    return connection.execute(text(f"INSERT INTO {table} ({columns}) VALUES ({marks})"), values)


def fill(engine, vault, member):
    """A member, its passwords, a task that has ended and one that has failed and holds the lock."""
    task = {"operator": "RUN", "start_time": 1, "end_time": 2}
    with engine.begin() as connection:
        insert(connection, "member", position=0, **member.model_dump())
        settings = {
            "identity": "CLUSTER AGENT",
            "cluster_id": "7",
            "cluster_name": "old",
            "root_password": vault.seal("s3cret"),
            "server_wanted": "no",
        }
        for name, value in settings.items():
            insert(connection, "setting", name=name, value=value)
        insert(connection, "server_setting", scope="GLOBAL", target="", name="a", value="1")
        for number, state in enumerate(("SUCCEED", "FAILED"), start=1):
            insert(
                connection, "dag", id=number, name=f"Task {number}", stage=1, max_stage=1,
                state=state, maintenance_type=2, maintenance_key="", params="{}",
                data=json.dumps({"main_dag_id": "11"}), signals="[]", **task,
            )  # fmt: skip
            insert(
                connection, "node", id=number, dag_id=number, stage=1, name="Stop observer",
                stage_key="stop.stop_observer", state=state, **task,
            )  # fmt: skip
            insert(
                connection, "sub_task", id=number, node_id=number, dag_id=number, data="{}",
                name="Stop observer", state=state, agent_ip=member.ip, agent_port=member.port,
                execute_times=1, abilities=0, **task,
            )  # fmt: skip
            for line in ("one", "two"):
                insert(
                    connection, "sub_task_log", sub_task_id=number, execute_times=1,
                    content=f"{line} of {number}", create_time=1,
                )  # fmt: skip
        insert(connection, "maintenance", kind=2, lock_key="", dag_id=2, locked_at=1)


def content(engine, columns=None):
    """Every row of every table, of these columns; and those columns."""
    with engine.connect() as connection:
        tables = connection.execute(
            text("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
        ).scalars()
        columns = columns or {
            table: [row.name for row in connection.execute(text(f"PRAGMA table_info({table})"))]
            for table in tables.all()
            if table != "alembic_version"
        }
        rows = {}
        for table, names in columns.items():
            every = connection.execute(text(f"SELECT {', '.join(names)} FROM {table}"))
            rows[table] = [tuple(row) for row in every]
    return rows, columns


@pytest.fixture
def settings(tmp_path):
    address = free_address()
    settings = Settings(ip=address.ip, port=address.port, base_dir=tmp_path, engine="fake")
    settings.paths.state_dir.mkdir(mode=0o700)
    return settings


@pytest.fixture
def filled(settings, keys):
    """The files of an agent of the first release."""
    paths, key = settings.paths, keys[0]
    paths.private_key.write_text(key.to_pem())
    engine = sqlite_engine(paths.database)
    migrate(engine, FIRST)
    fill(engine, Vault.open(paths.vault_key), a_member(settings.address, key, "zone1"))
    yield engine
    engine.dispose()


def test_the_first_release_is_where_every_history_begins():
    assert revisions()[0] == FIRST


def test_all_that_was_written_is_there_afterwards(filled):
    before, columns = content(filled)
    assert all(before[table] for table in ("member", "dag", "sub_task_log", "maintenance"))
    migrate(filled)
    assert content(filled, columns)[0] == before
    with filled.connect() as connection:
        revision = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
        assert revision == revisions()[-1]
        assert connection.execute(text("PRAGMA foreign_key_check")).all() == []


def test_each_release_on_the_way_can_be_the_one_that_is_migrated(filled):
    before, columns = content(filled)
    for revision in revisions()[1:]:
        migrate(filled, revision)
        assert content(filled, columns)[0] == before


async def test_an_agent_goes_on_with_what_the_first_release_has_left(settings, filled):
    filled.dispose()
    agent = Agent(settings, lambda _name, base_dir, *_: FakeEngine(base_dir))
    local = Api(transport(settings.paths.socket), settings.address, trusted=True)
    async with _running(agent):
        info = (await local.get("/info")).data
        status = (await local.get("/status")).data
        (held,) = (await local.get("/task/dag/maintain/agents")).contents
        lines = [task["task_logs"] for node in held["nodes"] for task in node["sub_tasks"]]
    await local.close()
    assert info["identity"] == Identity.CLUSTER_AGENT
    assert status["underMaintenance"] is True
    assert (held["name"], held["state"]) == ("Task 2", "FAILED")
    assert lines == [["one of 2", "two of 2"]]
    assert PrivateKey.from_pem(settings.paths.private_key.read_text())
    shutil.rmtree(settings.base_dir)
