"""Brings a database to the newest schema at start, and never back."""

from __future__ import annotations

import threading
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine

from pyobshell.store.tables import metadata

_MIGRATIONS = Path(__file__).parent / "migrations"
# What Alembic works with meanwhile, it keeps in the process and not in its arguments.
_one_at_a_time = threading.Lock()


def migrate(engine: Engine) -> None:
    """Apply every migration that the database lacks."""
    with _one_at_a_time, engine.begin() as connection:
        connection.info["writes"] = True
        command.upgrade(config(connection), "head")


def config(connection: Connection) -> Config:
    """Alembic's view of this package, bound to an open connection."""
    settings = Config()
    settings.set_main_option("script_location", str(_MIGRATIONS))
    settings.attributes["connection"] = connection
    settings.attributes["metadata"] = metadata
    return settings
