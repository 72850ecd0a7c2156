"""Brings a database to the newest schema at start, and never back."""

from __future__ import annotations

import threading
from contextlib import closing
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine

from pyobshell.store import mysql
from pyobshell.store.tables import metadata

_MIGRATIONS = Path(__file__).parent / "migrations"
# What Alembic works with meanwhile, it keeps in the process and not in its arguments.
_one_at_a_time = threading.Lock()

_CREATE_DATABASE = (
    f"CREATE DATABASE IF NOT EXISTS {mysql.OCS} CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
)
# GET_LOCK would do on seekdb, but stays with a connection that was lost for some seconds.
_LOCK_MIGRATION = (
    "CREATE TABLE IF NOT EXISTS migration (id INT PRIMARY KEY)",
    "INSERT IGNORE INTO migration (id) VALUES (1)",
    "COMMIT",
    "SELECT id FROM migration WHERE id = 1 FOR UPDATE",
)


def migrate(engine: Engine, target: str = "head") -> None:
    """Apply every migration that the database lacks, up to one of them or all."""
    with _one_at_a_time, engine.begin() as connection:
        connection.info["writes"] = True
        command.upgrade(config(connection), target)


def revisions() -> list[str]:
    """The migrations there are, oldest first."""
    scripts = ScriptDirectory(str(_MIGRATIONS))
    return [script.revision for script in scripts.walk_revisions()][::-1]


def migrate_ocs(connect: mysql.Connect) -> None:
    """Make the database ``ocs`` if there is none, and apply every migration that it lacks.

    Several agents may do so at once: the first one does it, the others wait. Errors of the server
    are those of the catalogue.
    """
    engine = mysql.mysql_engine(connect, statement_s=mysql.DDL_S)
    try:
        with closing(connect(None)) as connection, connection.cursor() as cursor:
            cursor.execute(_CREATE_DATABASE)
        if not _is_newest(engine):
            with engine.connect() as lock:  # a table's change would commit, and so unlock
                for statement in _LOCK_MIGRATION:
                    lock.exec_driver_sql(statement)
                migrate(engine)
    except Exception as error:
        raise mysql.coded(error) from None
    finally:
        engine.dispose()


def _is_newest(engine: Engine) -> bool:
    with _one_at_a_time, engine.connect() as connection:
        newest = ScriptDirectory.from_config(config(connection)).get_current_head()
        return MigrationContext.configure(connection).get_current_revision() == newest


def config(connection: Connection) -> Config:
    """Alembic's view of this package, bound to an open connection."""
    settings = Config()
    settings.set_main_option("script_location", str(_MIGRATIONS))
    settings.attributes["connection"] = connection
    settings.attributes["metadata"] = metadata
    return settings
