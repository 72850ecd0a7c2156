"""A database is brought to the schema of the tables, from nothing and from any earlier one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text
from sqlalchemy.exc import IntegrityError

from pyobshell.store.database import sqlite_engine
from pyobshell.store.migrate import config, migrate
from pyobshell.store.tables import metadata
from pyobshell.tasks import records


@pytest.fixture
def engine(tmp_path):
    engine = sqlite_engine(tmp_path / "new.db")
    yield engine
    engine.dispose()


@pytest.fixture
def migrated(engine):
    migrate(engine)
    return engine


def test_an_empty_file_gets_exactly_the_tables_there_are(migrated):
    with migrated.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
        found = set(inspect(connection).get_table_names())
    assert found - {"sqlite_sequence"} == {*metadata.tables, "alembic_version"}


def test_indexes_and_foreign_keys_are_those_of_the_tables(migrated, tmp_path):
    declared = sqlite_engine(tmp_path / "declared.db")
    metadata.create_all(declared)

    def shape(engine):
        with engine.connect() as connection:
            found = inspect(connection)
            return {
                name: (
                    {one["name"]: (one["column_names"], one["unique"])
                     for one in found.get_indexes(name)},
                    [(one["constrained_columns"], one["referred_table"], one["options"])
                     for one in found.get_foreign_keys(name)],
                    found.get_pk_constraint(name)["constrained_columns"],
                    {one["name"]: (str(one["type"]), one["nullable"])
                     for one in found.get_columns(name)},
                )
                for name in metadata.tables
            }  # fmt: skip

    assert shape(migrated) == shape(declared)
    declared.dispose()


def test_migrating_again_changes_nothing(migrated):
    def schema():
        with migrated.connect() as connection:
            return connection.execute(text("SELECT name, sql FROM sqlite_master")).all()

    before = schema()
    migrate(migrated)
    assert schema() == before


def test_the_schema_has_one_history(migrated):
    with migrated.connect() as connection:
        (head,) = ScriptDirectory.from_config(config(connection)).get_heads()
        assert MigrationContext.configure(connection).get_current_revision() == head


def test_a_lock_goes_with_its_dag_and_cannot_be_without_one(migrated):
    lock = text("INSERT INTO maintenance (kind, lock_key, dag_id, locked_at) VALUES (2, '', 1, 1)")
    dag = text(
        "INSERT INTO dag (name, stage, max_stage, state, operator, maintenance_type,"
        " maintenance_key, params, data, signals, start_time, end_time)"
        " VALUES ('Task', 1, 1, 'READY', 'RUN', 2, '', '{}', '{}', '[]', 1, 1)"
    )
    with migrated.connect() as connection:
        with pytest.raises(IntegrityError, match="FOREIGN KEY"):
            connection.execute(lock)
        connection.rollback()
        connection.execute(dag)
        connection.execute(lock)
        connection.execute(text("DELETE FROM dag"))
        assert connection.execute(text("SELECT count(*) FROM maintenance")).scalar() == 0


def test_several_agents_of_one_process_may_migrate_at_once(tmp_path):
    engines = [sqlite_engine(tmp_path / f"{n}.db") for n in range(8)]
    with ThreadPoolExecutor(len(engines)) as threads:
        for migrating in [threads.submit(migrate, engine) for engine in engines]:
            migrating.result(20)
    for engine in engines:
        with engine.connect() as connection:
            assert "dag" in inspect(connection).get_table_names()
        engine.dispose()


OLD_DAG = (
    "INSERT INTO dag (id, name, stage, max_stage, state, operator, maintenance_type,"
    " maintenance_key, params, data, signals, start_time, end_time)"
    " VALUES (7, 'Stop OB', 1, 1, 'FAILED', 'RUN', 2, '', '{\"a\": 1}', '{}', '[\"s\"]', 1, 2)",
    "INSERT INTO node (id, dag_id, stage, name, stage_key, state, operator, start_time, end_time)"
    " VALUES (8, 7, 1, 'Stage', 'stage', 'FAILED', 'RUN', 1, 2)",
    "INSERT INTO sub_task (id, node_id, dag_id, name, state, operator, agent_ip, agent_port,"
    " execute_times, abilities, data, start_time, end_time)"
    " VALUES (9, 8, 7, 'Stage', 'FAILED', 'RUN', '10.0.0.1', 2886, 1, 16, '{}', 1, 2)",
    "INSERT INTO sub_task_log (sub_task_id, execute_times, content, create_time)"
    " VALUES (9, 1, 'a line', 2)",
    "INSERT INTO maintenance (kind, lock_key, dag_id, locked_at) VALUES (2, '', 7, 1)",
)


@pytest.mark.parametrize("released", ["0001", "0002"])
def test_an_older_database_is_brought_up_with_all_that_is_in_it(engine, released):
    def content(connection):
        tables = ("dag", "node", "sub_task", "sub_task_log", "maintenance")
        rows = {one: connection.execute(text(f"SELECT * FROM {one}")).mappings() for one in tables}
        return {one: [dict(row) for row in rows[one]] for one in tables}

    with engine.begin() as connection:
        command.upgrade(config(connection), released)
        for statement in OLD_DAG:
            connection.exec_driver_sql(statement)
        before = content(connection)
        assert "audit_record" not in inspect(connection).get_table_names()
    migrate(engine)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
        after = content(connection)
        for node in (*before["node"], *after["node"]):
            assert node.pop("parallel", 0) == 0
        assert [dag.pop("ordered_at") for dag in after["dag"]] == [1]
        assert after == before
        assert len(after["sub_task_log"]) == 1
        dag = records.read_dag(connection, 7, logs=True)
        assert dag is not None
        assert (dag.state, dag.signals, dag.nodes[0].lines) == ("FAILED", {"s"}, ["[Stage] a line"])
